//! Why a part of a request was not stored, as DICOM says it and as the log keeps it.
//!
//! Each failed part leaves a `read_refused` entry with the reason `unreadable`, as a file on the command line does: its
//! receipt says that the part came and was not read. A part that contradicts what is held leaves an `incident` beside
//! it, which is the alarm. Errors: the vault or the log cannot be written.
//! Source: DICOM PS3.18 section I.2.2, AUDIT_LOG section 2. Requirement: REQ-SVC-163, REQ-SVC-164.

use vidimus_log::{
    Actor, Digest, Draft, Receipt, Recorder as _,
    body::{Incident, ReadRefused},
    values::Sha256,
};

use crate::{http::Kind, pipeline::holding::ConflictKind, site::House};

/// The log's reason for a read that failed before it began.
const UNREADABLE: &str = "unreadable";
/// Refusals of one transaction at most.
const BATCH: usize = 64;

/// Why a part was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is longer than a part may be.
    TooLong,
    /// Its media type is another than application/dicom.
    Media,
    /// It is no instance; the text names the attribute or the culprit.
    NotUnderstood(String),
    /// Its study is not the one that the request's address names.
    OtherStudy,
    /// Its SOP Class UID is missing or none.
    SopClass,
    /// Its pixels are encoded in a way that cannot be decoded.
    TransferSyntax,
    /// It contradicts what is held.
    Conflict(ConflictKind),
}

impl Failure {
    /// Failure Reason (0008,1197).
    pub(crate) const fn reason(&self) -> u16 {
        match self {
            Self::TooLong => Kind::TooLarge.dicom(),
            Self::OtherStudy | Self::SopClass => Kind::Unprocessable.dicom(),
            Self::Media | Self::NotUnderstood(_) => Kind::BadRequest.dicom(),
            // No problem of HTTP: of one instance, and DICOM's own word.
            Self::TransferSyntax => 0xc122,
            Self::Conflict(_) => Kind::Conflict.dicom(),
        }
    }

    /// What to tell a person; no patient data.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::TooLong => "the instance is longer than 512 MiB".into(),
            Self::Media => "the media type is another than application/dicom".into(),
            Self::NotUnderstood(why) => why.clone(),
            Self::OtherStudy => "Study Instance UID (0020,000D): another study than the address names".into(),
            Self::SopClass => "SOP Class UID (0008,0016): expected a UID of digits and dots".into(),
            Self::TransferSyntax => "Transfer Syntax UID (0002,0010): pixels in this encoding cannot be decoded".into(),
            Self::Conflict(kind) => kind.text().into(),
        }
    }
}

/// A part that failed, as the log is to know it.
pub(super) struct Refused<'a> {
    pub failure: &'a Failure,
    /// Digest of its bytes and the patient under whose key it is committed to; none where nobody can be named.
    pub input: Option<(Digest, Digest)>,
}

/// Writes the entries of failed parts.
pub(super) fn record(
    house: &House,
    (actor, trace): (&Actor, Option<&String>),
    refused: &[Refused<'_>],
) -> anyhow::Result<Vec<Receipt>> {
    let site = &house.site;
    let draft = |body: vidimus_log::Body, id| Draft {
        entry_id: id,
        actor: actor.clone(),
        refs: Vec::new(),
        body,
        trace: trace.cloned(),
    };
    let mut receipts = Vec::with_capacity(refused.len());
    for batch in refused.chunks(BATCH) {
        let mut drafts = Vec::with_capacity(batch.len());
        for one in batch {
            let id = site.new_id();
            drafts.push((draft(refusal(house, &id, one)?.into(), id), Vec::new()));
        }
        let recorded = site.record_all(drafts)?;
        for (one, receipt) in batch.iter().zip(&recorded) {
            if let Failure::Conflict(kind) = one.failure {
                let body = Incident {
                    code: kind.code().into(),
                    severity: "warning".into(),
                    detail: Sha256(receipt.leaf),
                    text: kind.text().into(),
                };
                site.record(draft(body.into(), site.new_id()))?;
            }
        }
        receipts.extend(recorded);
    }
    Ok(receipts)
}

fn refusal(house: &House, id: &vidimus_log::EntryId, refused: &Refused<'_>) -> anyhow::Result<ReadRefused> {
    let vault = house.site.vault();
    let request = ("request", b"{\"verb\":\"store\"}".as_slice());
    let (input, request) = match &refused.input {
        Some((digest, patient)) => {
            let digest = digest.hex();
            let fields = [("input", digest.as_bytes()), request];
            let commits = vault.commit_all(&house.subject(patient)?, id, &fields)?;
            let [input, request] =
                commits.try_into().map_err(|_| anyhow::anyhow!("the vault did not commit to all"))?;
            (Some(input), request)
        }
        None => (None, vault.commit(&vault.site()?, id, request.0, request.1)?),
    };
    // No guard and no model looked at it: both digests are those of nothing.
    let nothing = Sha256(Digest::of(&[]));
    Ok(ReadRefused { input, reason: UNREADABLE.into(), guard: nothing, model: nothing, request })
}
