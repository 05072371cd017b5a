//! A clinician's signature under a reading: the only way to `final`.
//!
//! One transaction holds the request's own entry, the `override` where the clinician disagrees, the `sign_off`, and the
//! release of the new versions: all or nothing. What is signed is the manifest, which names the outcome's leaf and the
//! exact bytes of the report that was shown; it lies sealed under the signer, what was said about the patient under the
//! patient. A reading that was not evaluated has no outcome to sign, and nothing is signed twice.
//! Errors: [`Problem`]: 401 with a challenge where the authentication is not fresh, 404, 409, 412, 422.
//! Source: AUDIT_LOG section 9; INTERFACES section 1.3; 21 CFR 11.50, 11.70, 11.200; RFC 9470.

mod requests;
#[cfg(test)]
mod tests;
mod versions;
mod view;

use serde_json::{Value, json};
use vidimus_log::{
    Body, Digest, Draft, EntryId, Receipt, Recorder as _, Ref,
    body::{Authentication, FindingReleased, Meaning, Override, SignOff},
    canonical,
};
use vidimus_store::{EntryQuery, PublishedRow, ResourceQuery, ResourceRow, Row, Subject};

pub(crate) use requests::{operation, override_, sign_off};
pub(crate) use view::{reasons, view};

use crate::{
    access::Caller,
    fhir::{
        publish::{self, Edition, Keys},
        shelf::Opened,
    },
    http::{Kind, Problem},
    sign::StaffKey,
    site::House,
};

/// Characters of a comment.
const COMMENT_CHARS_MAX: usize = 2_000;

/// What a clinician holds of the finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Present,
    Absent,
    Undetermined,
}

impl Decision {
    const ALL: [Self; 3] = [Self::Present, Self::Absent, Self::Undetermined];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Undetermined => "undetermined",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// Whether the clinician says the same as the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Agrees,
    Disagrees {
        decision: Decision,
        /// Code of the table of reasons.
        reason: String,
    },
}

/// One signature to be given.
pub(crate) struct Act<'a> {
    pub house: &'a House,
    pub caller: &'a Caller,
    pub reading: EntryId,
    pub judgement: Judgement,
    pub meaning: Meaning,
    pub comment: Option<String>,
    /// The version of the report that the caller saw.
    pub if_match: Option<u32>,
}

/// A signature that is in the log.
pub(crate) struct Signed {
    pub receipt: Receipt,
    pub agrees: bool,
    pub at_ms: u64,
    pub patient: Digest,
    /// The report, now final.
    pub report: ResourceRow,
    pub bytes: String,
}

fn conflict(detail: &str) -> Problem {
    Problem::new(Kind::Conflict, detail)
}

/// What is signed, as it stands before.
struct Subjects {
    row: PublishedRow,
    report: ResourceRow,
    shown: String,
    outcome: Receipt,
    patient: Subject,
    staff: Subject,
}

/// Makes the draft of the request's own entry: about this patient, with these references.
pub(crate) type Own<'a> = dyn Fn(&Digest, Vec<Ref>) -> Result<Draft, Problem> + 'a;

/// Signs. `own` makes the request's own `access` entry, about this patient and with these references.
pub(crate) fn sign(act: &Act<'_>, own: &Own<'_>) -> Result<Signed, Problem> {
    let house = act.house;
    let reason = judge(act)?;
    let turn = publish::turn();
    let subjects = subjects(act)?;
    let key = StaffKey::open(house, &act.caller.actor)?;
    let at_ms = house.now_ms();
    let keys = Keys { patient: subjects.row.patient, study: subjects.row.study, reading: act.reading, arrival: None };
    let id = house.site.new_id();
    let mut edition = Edition::new(house, keys, at_ms);
    let made = versions::add(&mut edition, act, &subjects, &key, (id, at_ms, reason.as_deref()))?;
    let agrees = act.judgement == Judgement::Agrees;
    let mut drafts = vec![(own(&keys.patient, vec![subjects.outcome.as_ref_to("outcome")])?, Vec::new())];
    if let Judgement::Disagrees { decision, reason } = &act.judgement {
        drafts.push((override_draft(act, &subjects, *decision, reason)?, Vec::new()));
    }
    let signed = Row::Signed { reading: act.reading, sign_off: id, agrees };
    drafts.push((sign_off_draft(act, &subjects, &key, (id, at_ms))?, vec![signed]));
    let (release, bytes) = release_draft(act, &subjects, &edition, &made)?;
    drafts.push((release, edition.seal(&subjects.patient, Some(&subjects.staff))?));
    house.site.record_all(drafts)?;
    drop(turn);
    let receipt = house.site.receipt(&id)?;
    let report = house.site.resource_version("DiagnosticReport", &subjects.report.id, made.version)?;
    let report = report.ok_or_else(|| anyhow::anyhow!("the signed report is not in the registry"))?;
    Ok(Signed { receipt, agrees, at_ms, patient: keys.patient, report, bytes })
}

/// Holds the request to the rules that need no reading; the display of the reason of a disagreement.
fn judge(act: &Act<'_>) -> Result<Option<String>, Problem> {
    let unprocessable = |detail: &str| Problem::new(Kind::Unprocessable, detail);
    if act.caller.role != crate::access::Role::Clinician {
        return Err(Problem::new(Kind::Forbidden, "only a clinician signs readings"));
    }
    if act.meaning == Meaning::Rejection {
        return Err(unprocessable("meaning: whoever rejects what the program says overrides it"));
    }
    if let Some(comment) = &act.comment {
        let control = |c: char| c.is_control() && c != '\n' && c != '\t';
        if comment.trim().is_empty() || comment.chars().count() > COMMENT_CHARS_MAX || comment.chars().any(control) {
            let detail = format!("comment: expected 1 to {COMMENT_CHARS_MAX} characters of plain text");
            return Err(unprocessable(&detail));
        }
    }
    let Judgement::Disagrees { reason, .. } = &act.judgement else { return Ok(None) };
    let known = act.house.terms.override_reasons();
    let display = known.iter().find(|(code, _)| code == reason).map(|(_, display)| display.clone());
    display.map(Some).ok_or_else(|| {
        let codes: Vec<&str> = known.iter().map(|(code, _)| code.as_str()).collect();
        unprocessable(&format!("reason: expected one of {}", codes.join(", ")))
    })
}

/// The reading, if it can be signed.
fn subjects(act: &Act<'_>) -> Result<Subjects, Problem> {
    let site = &act.house.site;
    let row = site.published_reading(&act.reading)?;
    let row = row.ok_or_else(|| Problem::new(Kind::NotFound, "there is no reading of this id"))?;
    match row.status.as_str() {
        "evaluated" => {}
        "not_evaluated" => {
            return Err(conflict(
                "the study was not evaluated: there is no finding to sign; report it without the program",
            ));
        }
        _ => return Err(conflict("the reading failed: there is no finding to sign; have the study read again")),
    }
    if row.signed.is_some() {
        return Err(conflict("the reading is signed already; a signature is given once"));
    }
    let query = ResourceQuery {
        kind: "DiagnosticReport".into(),
        reading: Some(act.reading),
        limit: 1,
        ..ResourceQuery::default()
    };
    let report = site.resources(&query)?.pop();
    let report = report.ok_or_else(|| anyhow::anyhow!("a published reading has no report"))?;
    if act.if_match.is_some_and(|version| version != report.version) {
        let detail = format!("If-Match: the report's newest version is W/\"{}\"; look at it first", report.version);
        return Err(Problem::new(Kind::PreconditionFailed, detail));
    }
    let shown = Opened::new(act.house).bytes(&report)?.to_owned();
    let outcome = site.receipt(&act.reading)?;
    let patient = act.house.subject(&row.patient)?;
    let staff = staff(act.house, &act.caller.actor.id)?;
    Ok(Subjects { row, report, shown, outcome, patient, staff })
}

/// The vault's subject of a member of staff.
fn staff(house: &House, actor: &str) -> anyhow::Result<Subject> {
    Ok(house.site.vault().staff(&house.site.keyed("staff", actor.as_bytes()))?)
}

fn draft(act: &Act<'_>, entry_id: EntryId, subjects: &Subjects, body: impl Into<Body>) -> Draft {
    Draft {
        entry_id,
        actor: act.caller.actor.clone(),
        refs: vec![subjects.outcome.as_ref_to("outcome")],
        body: body.into(),
        trace: act.house.trace(),
    }
}

/// `override`: the clinician's result, committed to.
fn override_draft(act: &Act<'_>, subjects: &Subjects, decision: Decision, reason: &str) -> Result<Draft, Problem> {
    let id = act.house.site.new_id();
    let result = json!({ "decision": decision.as_str(), "reason": reason, "v": 1 });
    let result = canonical::to_bytes(&result).map_err(anyhow::Error::from)?;
    let clinician_result = act.house.site.vault().commit(&subjects.patient, &id, "clinician_result", &result)?;
    // what is said in free text may name the patient: it stands in the vault alone
    let body = Override { clinician_result, agrees: false, reason_code: reason.into(), reason: None };
    Ok(draft(act, id, subjects, body))
}

/// `sign_off` over the manifest; what was said about the patient lies beside it, under the patient's key.
fn sign_off_draft(
    act: &Act<'_>,
    subjects: &Subjects,
    key: &StaffKey,
    (id, at_ms): (EntryId, u64),
) -> Result<Draft, Problem> {
    let manifest = canonical::to_bytes(&json!({
        "meaning": act.meaning.as_str(),
        "outcome_leaf": subjects.outcome.leaf.hex(),
        "printed_name": act.caller.name,
        "report": Digest::of(subjects.shown.as_bytes()).hex(),
        "signer": act.caller.actor.id,
        "t_ms": at_ms,
        "tz": "UTC",
        "v": 1,
    }));
    let manifest = manifest.map_err(anyhow::Error::from)?;
    let vault = act.house.site.vault();
    vault.commit(&subjects.patient, &id, view::SAID, &serde_json::to_vec(&said(act)).map_err(anyhow::Error::from)?)?;
    let body = SignOff {
        manifest: vault.commit(&subjects.staff, &id, "manifest", &manifest)?,
        meaning: act.meaning,
        signed_leaf: subjects.outcome.leaf,
        auth: authentication(act)?,
        signer_kid: key.kid().into(),
        jws: key.sign_off(&manifest).into(),
    };
    Ok(draft(act, id, subjects, body))
}

/// What the clinician said, for people.
fn said(act: &Act<'_>) -> Value {
    let (decision, reason) = match &act.judgement {
        Judgement::Agrees => (None, None),
        Judgement::Disagrees { decision, reason } => (Some(decision.as_str()), Some(reason)),
    };
    json!({ "decision": decision, "reason": reason, "comment": act.comment })
}

/// How the signer was authenticated, and whether it is the first signature since.
fn authentication(act: &Act<'_>) -> Result<Authentication, Problem> {
    let auth_ms = act.caller.auth_time_s.saturating_mul(1_000);
    let query = EntryQuery {
        kind: Some("sign_off".into()),
        actor: Some(act.caller.actor.id.clone()),
        from_ms: Some(auth_ms),
        limit: 1,
        ..EntryQuery::default()
    };
    let first_in_session = act.house.site.search_entries(&query)?.is_empty();
    let method = if act.caller.session { "session" } else { "token" };
    Ok(Authentication { method: method.into(), factors: 1, auth_ms, first_in_session })
}

/// `finding_released` of the signed report, committed to byte for byte.
fn release_draft(
    act: &Act<'_>,
    subjects: &Subjects,
    edition: &Edition<'_>,
    made: &versions::Made,
) -> Result<(Draft, String), Problem> {
    let bytes = edition.report(&subjects.report.id, made.version).unwrap_or_default().to_owned();
    let id = act.house.site.new_id();
    let resource = act.house.site.vault().commit(&subjects.patient, &id, "resource", bytes.as_bytes())?;
    let body = FindingReleased { resource, recipient: "local".into(), channel: "fhir".into() };
    Ok((draft(act, id, subjects, body), bytes))
}
