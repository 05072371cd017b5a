//! Instances on their last step: from the spool, one at a time, through the rules of arrival into the vault and the
//! log, and only then to the answer.
//!
//! All good instances of a request are sealed first, and become durable together; then one `access` entry carries every
//! new row and the work that follows from it, in one transaction. A request whose body did not arrive whole never gets
//! here, so nothing of it is stored. Where another request changed what the rules depend on meanwhile, they are asked
//! again.
//! Memory: one instance of a request at a time, within the budget of all. Errors: [`ArrivalError`]; a part that cannot
//! be stored is a [`Failure`] of its own. Requirement: REQ-SVC-161 to REQ-SVC-165.

use std::collections::BTreeMap;

use vidimus_imaging::{Instance, import::ImportFacts, syntaxes};
use vidimus_log::{Digest, Draft, EntryId, Phi, Receipt, RecordError};
use vidimus_store::{Batch, ObjectId, Order, Row, SiteError, VaultError, WorklistQuery};

use super::{
    budget::{Arrivals, Busy},
    failure::{self, Failure, Refused},
    multipart::DICOM,
    spool::{Span, Spool},
};
use crate::{
    pipeline::holding::{Holding, Verdict, instance_of, is_picture, is_uid, patient_key},
    site::House,
};

/// How often the rules are asked again before a request is told to come later.
const TRIES: u32 = 3;

/// Why a request stored nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalError {
    /// Memory stayed taken, or another request was at the same study: it may be sent again.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The spool, the vault or the log failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<VaultError> for ArrivalError {
    fn from(error: VaultError) -> Self {
        Self::Failed(error.into())
    }
}

/// A part that has come whole.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its media type.
    pub media: String,
    /// Where its bytes lie.
    pub span: Span,
}

/// The parts of one request, and what is asked of them.
pub(crate) struct Parts<'a> {
    pub spool: &'a Spool,
    pub parts: &'a [Part],
    pub sort: Sort<'a>,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Sort<'a> {
    /// STOW-RS: each part for itself.
    Stow {
        /// The study that the address names.
        study: Option<&'a str>,
    },
    /// One film or picture: nothing but its storing is granted.
    Upload {
        /// Of a picture: what the sender states about it.
        picture: Option<&'a ImportFacts>,
    },
}

/// How a part is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is new: its study will be read.
    New,
    /// The same image was held already.
    Known,
}

/// Names of an instance, as its file gives them.
pub(crate) struct Names {
    pub sop_class: String,
    pub sop_instance: Phi<String>,
    pub study: Phi<String>,
}

/// What became of a part.
pub(crate) struct Judged {
    /// Its names, where it is an instance.
    pub names: Option<Names>,
    /// Keyed digests of study and patient.
    pub study: Option<(Digest, Digest)>,
    /// Digest of its bytes.
    input: Option<Digest>,
    /// How it is held, or why it was not stored.
    pub outcome: Result<Stored, Failure>,
}

/// What became of a request.
pub(crate) struct Received {
    /// Of its `access` entry; none where nothing was stored and the caller records the refusal itself.
    pub receipt: Option<Receipt>,
    /// One for each part, in order.
    pub parts: Vec<Judged>,
    /// The patient concerned, if it is one.
    pub patient: Option<Digest>,
}

/// Stores the parts of a request. `audit` makes the request's own `access` entry, for the patient concerned and with
/// the code of what became of it. An upload that stored nothing gets none from here.
pub(crate) fn receive<E: From<ArrivalError>>(
    house: &House,
    arrivals: &Arrivals,
    parts: &Parts<'_>,
    audit: impl Fn(Option<&Digest>, &str) -> Result<Draft, E>,
) -> Result<Received, E> {
    let failed = |error: anyhow::Error| E::from(ArrivalError::Failed(error));
    for again in (0..TRIES).rev() {
        let mut holding = Holding::new(house, &arrivals.people);
        let mut rows = Rows::default();
        let judged = house.site.vault().batch(|batch| -> Result<Vec<Judged>, ArrivalError> {
            let mut judged = Vec::with_capacity(parts.parts.len());
            for part in parts.parts {
                let length = part.span.digest.map_or(0, |_| part.span.length);
                let _memory = arrivals.memory(length)?;
                judged.push(judge(house, (&mut holding, batch), parts, part, &mut rows)?);
            }
            Ok(judged)
        })?;
        let _held = arrivals.hold(holding.new_studies());
        if !holding.still_true().map_err(failed)? {
            continue;
        }
        let patient = only_patient(&judged);
        let stored = judged.iter().filter(|part| part.outcome.is_ok()).count();
        let draft = audit(patient.as_ref(), said(stored, judged.len()))?;
        let by = (draft.actor.clone(), draft.trace.clone());
        let receipt = if stored == 0 && matches!(parts.sort, Sort::Upload { .. }) {
            None
        } else {
            match house.site.record_with(draft.clone(), rows.into_rows(&draft)) {
                Ok(receipt) => Some(receipt),
                // Another request recorded the same UID meanwhile.
                Err(RecordError::Refused { .. }) if again > 0 => continue,
                Err(error) => return Err(failed(error.into())),
            }
        };
        holding.recorded();
        failure::record(house, (&by.0, by.1.as_ref()), &refusals(&judged)).map_err(failed)?;
        return Ok(Received { receipt, parts: judged, patient });
    }
    Err(ArrivalError::from(Busy).into())
}

/// The code of what became of a request.
const fn said(stored: usize, parts: usize) -> &'static str {
    match stored {
        0 => "none-stored",
        _ if stored < parts => "some-stored",
        _ => "stored",
    }
}

/// The patient of all parts that were stored, if it is one.
fn only_patient(judged: &[Judged]) -> Option<Digest> {
    let mut patients = judged.iter().filter(|part| part.outcome.is_ok()).filter_map(|part| part.study);
    let (_, first) = patients.next()?;
    patients.all(|(_, patient)| patient == first).then_some(first)
}

/// The rows that the request's entry carries.
#[derive(Default)]
struct Rows {
    instances: Vec<Row>,
    /// Studies with new instances, or never read: patient, and the first of the instances.
    work: BTreeMap<Digest, (Digest, ObjectId)>,
}

impl Rows {
    fn into_rows(self, draft: &Draft) -> Vec<Row> {
        let work = self.work.into_iter().map(|(study, (patient, document))| Row::Work {
            study,
            patient,
            arrival: draft.entry_id,
            document,
        });
        self.instances.into_iter().chain(work).collect()
    }
}

/// Judges one part.
fn judge(
    house: &House,
    (holding, batch): (&mut Holding<'_>, &mut Batch<'_>),
    parts: &Parts<'_>,
    part: &Part,
    rows: &mut Rows,
) -> Result<Judged, ArrivalError> {
    let fail = |failure| Ok(Judged { names: None, study: None, input: part.span.digest, outcome: Err(failure) });
    let (address, picture) = match parts.sort {
        Sort::Stow { .. } if part.media != DICOM => return fail(Failure::Media),
        Sort::Stow { study } => (study, None),
        Sort::Upload { picture } => (None, picture),
    };
    let Some(bytes) = parts.spool.read(&part.span).map_err(anyhow::Error::from)? else {
        return fail(Failure::TooLong);
    };
    if picture.is_some() && !is_picture(&bytes) {
        return fail(Failure::NotUnderstood("the bytes are no PNG and no JPEG".into()));
    }
    let (instance, bytes) = match instance_of(bytes, picture) {
        Ok(read) => read,
        Err(why) => return fail(Failure::NotUnderstood(why)),
    };
    let study = house.site.keyed("study", instance.study_instance_uid.open().as_bytes());
    let mut judged = Judged {
        names: Some(Names {
            sop_class: instance.sop_class_uid.clone(),
            sop_instance: Phi::new(instance.sop_instance_uid.open().clone()),
            study: Phi::new(instance.study_instance_uid.open().clone()),
        }),
        study: Some((study, patient_key(house, &instance))),
        input: Some(instance.bytes_digest),
        outcome: Ok(Stored::Known),
    };
    if let Some(failure) = unfit(&instance, address) {
        judged.outcome = Err(failure);
        return Ok(judged);
    }
    judged.outcome = match holding.hold(batch, &instance, &bytes)? {
        Verdict::New { object, row } => {
            if let Some(patient) = holding.patient(&study) {
                rows.work.entry(study).or_insert((patient, object));
            }
            rows.instances.push(row);
            Ok(Stored::New)
        }
        Verdict::Known { object, .. } => {
            // What is held, was never read and does not wait would be lost: its first reading died elsewhere.
            if let Some(patient) = holding.patient(&study)
                && !house.site.waits(&study).map_err(anyhow::Error::from)?
                && newest_reading(house, study).map_err(anyhow::Error::from)?.is_none()
            {
                rows.work.entry(study).or_insert((patient, object));
            }
            Ok(Stored::Known)
        }
        Verdict::Conflict(kind) => Err(Failure::Conflict(kind)),
    };
    Ok(judged)
}

/// The newest reading of a study that can be seen.
pub(super) fn newest_reading(house: &House, study: Digest) -> Result<Option<EntryId>, SiteError> {
    let query = WorklistQuery { order: Order::Newest, study: Some(study), limit: 1, ..WorklistQuery::default() };
    Ok(house.site.worklist(&query)?.first().map(|row| row.reading))
}

/// Why an instance is not taken, whatever is held.
fn unfit(instance: &Instance, study: Option<&str>) -> Option<Failure> {
    if study.is_some_and(|study| study != instance.study_instance_uid.open()) {
        return Some(Failure::OtherStudy);
    }
    if !is_uid(&instance.sop_class_uid) {
        return Some(Failure::SopClass);
    }
    let syntax = syntaxes::find(&instance.transfer_syntax_uid);
    (instance.has_pixels() && syntax.is_none()).then_some(Failure::TransferSyntax)
}

fn refusals(judged: &[Judged]) -> Vec<Refused<'_>> {
    fn refused(part: &Judged) -> Option<Refused<'_>> {
        let failure = part.outcome.as_ref().err()?;
        let input = part.input.zip(part.study.map(|(_, patient)| patient));
        Some(Refused { failure, input })
    }
    judged.iter().filter_map(refused).collect()
}
