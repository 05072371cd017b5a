//! The release step: a reading becomes visible, in the list, on its page and under `/fhir`.
//!
//! Its documents are sealed first; then one entry makes it visible, and carries every row of it: `finding_released` for
//! what was evaluated, `access` of the operation `publish` for what was not evaluated or failed, as there is no outcome
//! that it could refer to. Where a study waited for the reading the same entry ends the wait: a crash before it leaves
//! the study waiting, a crash after it leaves nothing to do.
//! Errors: the vault, the log, or files of the command line that cannot be written.

use vidimus_log::{
    Digest, EntryId, Receipt, Recorder as _,
    body::{Access, AccessAction, AccessResult, AccessWhat, FindingReleased},
    values::Sha256,
};
use vidimus_reader::Accepted;
use vidimus_store::{ObjectId, Row, attention};

use super::{
    Pipeline, Status, StudyReading, Timing,
    files::{self, Files, Pictures},
    record::{Parts, Sealed},
    study::Study,
};
use crate::fhir::publish::{self, Keys};

/// The rule under which the program publishes by itself, as the entry's `policy` names it.
const POLICY: &str = "vidimus publish 1: what was read of a study is published, whatever came of it";
/// Who publishes, as the entry's `client` is committed to.
const CLIENT: &str = "program";

/// What of a reading is handed out.
pub(super) struct Handed<'a> {
    /// The Bundle with receipt and signature.
    pub fhir: &'a [u8],
    pub pictures: Option<&'a Pictures>,
    /// Where the guard let the study through.
    pub accepted: Option<&'a Accepted>,
}

impl Pipeline<'_> {
    /// Makes a reading visible whose outcome or refusal is durable, and gives it its files where there is a folder.
    pub(super) fn publish(
        &self,
        study: &Study,
        receipt: &Receipt,
        result: &mut StudyReading,
        handed: &Handed<'_>,
    ) -> anyhow::Result<()> {
        let mut timing = result.timing.clone();
        let published = self.publish_timed(study, receipt, result, handed, &mut timing);
        result.timing = timing;
        result.files = published?;
        Ok(())
    }

    fn publish_timed(
        &self,
        study: &Study,
        receipt: &Receipt,
        result: &mut StudyReading,
        handed: &Handed<'_>,
        timing: &mut Timing,
    ) -> anyhow::Result<Files> {
        let prepare = |out| files::prepare(out, receipt, handed.fhir, handed.pictures);
        let prepared = timing.step("write", || self.out.map(prepare).transpose())?;
        let document = timing.step("seal", || self.seal(study, result, handed))?;
        timing.step("release", || self.record_release(study, receipt, result, handed.fhir, document))?;
        result.published = true;
        prepared.map_or_else(|| Ok(Files::default()), files::Prepared::publish)
    }

    /// Seals what the pages and the API show of the reading.
    fn seal(&self, study: &Study, result: &StudyReading, handed: &Handed<'_>) -> anyhow::Result<ObjectId> {
        let package = self.model.as_ref().ok().map(|model| model.candidate().bundle().package());
        let limits = package.map_or(&[][..], |package| &package.intended_use.limits);
        let parts = Parts { result, study, accepted: handed.accepted, limits };
        self.house.site.vault().batch(|batch| {
            let mut put = |bytes: &[u8]| batch.put(&study.subject, bytes);
            let sealed = Sealed {
                saliency: handed.pictures.map(|pictures| put(&pictures.saliency)).transpose()?,
                overlay: handed.pictures.map(|pictures| put(&pictures.overlay)).transpose()?,
                fhir: put(handed.fhir)?,
            };
            parts.record(&sealed).seal(batch, &study.subject)
        })
    }

    /// The entry that makes it visible, with every row.
    fn record_release(
        &self,
        study: &Study,
        receipt: &Receipt,
        result: &StudyReading,
        fhir: &[u8],
        document: ObjectId,
    ) -> anyhow::Result<()> {
        let site = &self.house.site;
        let (id, issued_ms) = (site.new_id(), self.house.now_ms());
        let draft = if result.status == Status::Evaluated {
            let [resource] = self.house.commits(&study.subject, &id, [("resource", fhir)])?;
            let channel = if self.out.is_some() { "file" } else { "worklist" };
            let body = FindingReleased { resource, recipient: "local".into(), channel: channel.into() };
            self.draft(id, vec![receipt.as_ref_to("outcome")], body)
        } else {
            self.draft(id, Vec::new(), self.unevaluated(study, &id, result.status)?)
        };
        let mut rows = vec![self.published_row(study, receipt.entry_id, result, document, issued_ms)];
        rows.extend(study.arrival.map(|arrival| Row::WorkDone { study: study.key, arrival }));
        // Held until the rows are recorded: nobody else may make the next version of a resource meanwhile.
        let _turn = publish::turn();
        // A study without a film that can be opened says nothing of a patient: what is known of one is left as it is.
        if !study.films.is_empty() {
            let keys =
                Keys { patient: study.patient, study: study.key, reading: receipt.entry_id, arrival: study.arrival };
            rows.extend(publish::rows(self.house, &study.subject, fhir, &keys, issued_ms)?);
        }
        site.record_with(draft, rows)?;
        Ok(())
    }

    /// What was not evaluated or failed is published all the same.
    fn unevaluated(&self, study: &Study, id: &EntryId, status: Status) -> anyhow::Result<Access> {
        let patient = study.patient.hex();
        let fields = [("subject", patient.as_bytes()), ("client", CLIENT.as_bytes())];
        let [subject, client] = self.house.commits(&study.subject, id, fields)?;
        Ok(Access {
            operation: "publish".into(),
            action: AccessAction::Create,
            what: AccessWhat::Finding,
            subject: Some(subject),
            result: AccessResult::Granted,
            why: status.as_str().into(),
            policy: Sha256(Digest::of(POLICY.as_bytes())),
            client,
        })
    }

    fn published_row(
        &self,
        study: &Study,
        reading: EntryId,
        result: &StudyReading,
        document: ObjectId,
        issued_ms: u64,
    ) -> Row {
        let finding = result.reading.as_ref().and_then(|reading| reading.findings.first());
        let attention = match result.status {
            Status::Failed => attention::FAILED,
            Status::NotEvaluated => attention::NOT_EVALUATED,
            Status::Evaluated if finding.is_some_and(|finding| finding.decision == "absent") => attention::ABSENT,
            Status::Evaluated => attention::PRESENT,
        };
        Row::Published {
            reading,
            study: study.key,
            patient: study.patient,
            status: result.status.as_str().into(),
            decision: finding.map(|finding| finding.decision.into()),
            attention,
            model_root: self.model_root(),
            document,
            issued_ms,
        }
    }

    /// Root of the model's package; without an admitted model the digest of nothing.
    pub(super) fn model_root(&self) -> Digest {
        self.model.as_ref().map_or_else(|_| Digest::of(&[]), |model| model.candidate().bundle().root())
    }
}
