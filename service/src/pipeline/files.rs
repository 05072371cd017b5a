//! What a reading leaves in a folder: FHIR Bundle, saliency, overlay, receipt. Folder and files are named by the entry
//! of the log, never by a patient. Each file is written whole or not at all.
//! Errors: the folder cannot be written; the outcome is in the log all the same.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use vidimus_imaging::Image;
use vidimus_log::{EntryId, Receipt};
use vidimus_reader::{ModelFacts, Reading, overlay_png, saliency_png};

use super::result::Files;
use crate::{
    fhir::{self, Release, Source, StudyFacts},
    sign,
    site::House,
};

const OVERLAY: &str = "overlay.png";
const SALIENCY: &str = "saliency.png";
const FHIR: &str = "fhir.json";

/// The two pictures of an explanation.
pub(super) struct Pictures {
    saliency: Vec<u8>,
    overlay: Vec<u8>,
}

impl Pictures {
    /// Draws the map alone and over the film, there as strong as the finding is probable.
    pub(super) fn draw(display: &Image<f32>, reading: &Reading) -> anyhow::Result<Self> {
        let strength = reading.findings.first().map_or(1.0, |finding| finding.probability.get());
        let saliency = &reading.saliency;
        Ok(Self { saliency: saliency_png(saliency)?, overlay: overlay_png(display, saliency, strength as f32)? })
    }
}

/// What the FHIR Bundle of a study is made from, before and after its outcome is in the log.
pub(super) struct FhirSource<'a> {
    pub house: &'a House,
    pub model: &'a ModelFacts,
    pub issued: &'a str,
    pub started: Instant,
}

impl FhirSource<'_> {
    fn source<'a>(
        &'a self,
        study: &'a StudyFacts,
        result: fhir::Result<'a>,
        pictures: Option<&'a Pictures>,
        seed: &'a str,
    ) -> Source<'a> {
        Source {
            terms: &self.house.terms,
            study,
            model: self.model,
            service: &self.house.service,
            result,
            issued: self.issued,
            overlay: pictures.map(|pictures| (OVERLAY, pictures.overlay.as_slice())),
            seed,
        }
    }

    /// The Bundle that the outcome commits to.
    pub(super) fn draft(
        &self,
        study: &StudyFacts,
        result: fhir::Result<'_>,
        pictures: Option<&Pictures>,
        outcome: &EntryId,
    ) -> Vec<u8> {
        fhir::bundle(&self.source(study, result, pictures, &outcome.to_string()), None)
    }

    /// The Bundle that leaves: with the receipt, and signed by the service.
    pub(super) fn released(
        &self,
        study: &StudyFacts,
        result: fhir::Result<'_>,
        pictures: Option<&Pictures>,
        outcome: &Receipt,
    ) -> anyhow::Result<Vec<u8>> {
        let signer = sign::ServiceKey::open(self.house)?;
        let release =
            Release { receipt: outcome, origin: self.house.site.origin(), sign: &|bytes| signer.detached(bytes) };
        let seed = outcome.entry_id.to_string();
        Ok(fhir::bundle(&self.source(study, result, pictures, &seed), Some(&release)))
    }
}

/// Writes the files of a reading.
pub(super) fn write(out: &Path, outcome: &Receipt, fhir: &[u8], pictures: Option<&Pictures>) -> anyhow::Result<Files> {
    let folder = folder(out, outcome)?;
    let mut files = Files {
        fhir: Some(put(&folder.join(FHIR), fhir)?),
        receipt: Some(put(&folder.join(outcome.file_name()), outcome.to_tlog_proof().as_bytes())?),
        ..Files::default()
    };
    if let Some(pictures) = pictures {
        files.saliency_png = Some(put(&folder.join(SALIENCY), &pictures.saliency)?);
        files.overlay_png = Some(put(&folder.join(OVERLAY), &pictures.overlay)?);
    }
    Ok(files)
}

/// Writes the receipt of a study that was not read.
pub(super) fn write_receipt(out: &Path, receipt: &Receipt) -> anyhow::Result<PathBuf> {
    put(&folder(out, receipt)?.join(receipt.file_name()), receipt.to_tlog_proof().as_bytes())
}

fn folder(out: &Path, receipt: &Receipt) -> anyhow::Result<PathBuf> {
    let folder = out.join(receipt.entry_id.to_string());
    fs::create_dir_all(&folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    Ok(folder)
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let part = path.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(full).with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path.to_owned())
}

/// A full disk says what to do.
fn full(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => io::Error::new(
            error.kind(),
            "disk full; the reading is in the log and in the vault: make room and read again",
        ),
        _ => error,
    }
}
