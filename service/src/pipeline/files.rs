//! What a reading leaves in a folder: FHIR Bundle, saliency, overlay, receipt. Folder and files are named by the entry
//! of the log, never by a patient. Each file is written whole or not at all.
//! Errors: the folder cannot be written; the outcome is in the log all the same.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use vidimus_imaging::Image;
use vidimus_log::{EntryId, Receipt};
use vidimus_reader::{Coding, ModelFacts, Reading, explain::badge::Trust, overlay_png, saliency_png};

pub(super) use super::result::Files;
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
    pub saliency: Vec<u8>,
    pub overlay: Vec<u8>,
    /// Whether the map may be handed on as an explanation: not where its checks found it unreliable.
    pub shown: bool,
}

impl Pictures {
    /// Draws the map alone and over the film, there as strong as the finding is probable.
    pub(super) fn draw(display: &Image<f32>, reading: &Reading) -> anyhow::Result<Self> {
        // a map that is not to be believed is not laid over the film, and the bare film explains nothing
        let shown = reading.badge.trust != Trust::Unreliable;
        let probable = reading.findings.first().map_or(1.0, |finding| finding.probability.get());
        let strength = if shown { probable } else { 0.0 };
        let saliency = &reading.saliency;
        Ok(Self { saliency: saliency_png(saliency)?, overlay: overlay_png(display, saliency, strength as f32)?, shown })
    }
}

/// What the FHIR Bundle of a study is made from, before and after its outcome is in the log.
pub(super) struct FhirSource<'a> {
    pub house: &'a House,
    /// None where no model is admitted.
    pub model: Option<&'a ModelFacts>,
    /// The finding that was asked for.
    pub about: &'a Coding,
    pub issued: &'a str,
    /// Who asked: the id of the log's actor.
    pub requester: &'a str,
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
            about: self.about,
            requester: self.requester,
            terms: &self.house.terms,
            study,
            model: self.model,
            service: &self.house.service,
            result,
            issued: self.issued,
            overlay: pictures.filter(|pictures| pictures.shown).map(|pictures| (OVERLAY, pictures.overlay.as_slice())),
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
        let seed = outcome.to_string();
        fhir::bundle(&self.source(study, result, pictures, &seed), None)
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

/// Files of a reading in a folder that nobody looks into yet.
pub(super) struct Prepared {
    part: PathBuf,
    folder: PathBuf,
    receipt: String,
    with_pictures: bool,
}

impl Prepared {
    /// Gives the folder its name: from here on the reading has left.
    pub(super) fn publish(self) -> anyhow::Result<Files> {
        fs::rename(&self.part, &self.folder)
            .map_err(full)
            .with_context(|| format!("{}: the folder cannot be made", self.folder.display()))?;
        let named = |name: &str| Some(shown(&self.folder.join(name)));
        let picture = |name| self.with_pictures.then(|| shown(&self.folder.join(name)));
        Ok(Files {
            fhir: named(FHIR),
            saliency_png: picture(SALIENCY),
            overlay_png: picture(OVERLAY),
            receipt: named(&self.receipt),
        })
    }
}

/// Writes the files of a reading, durable, into a folder beside the one that they will have.
pub(super) fn prepare(
    out: &Path,
    outcome: &Receipt,
    fhir: &[u8],
    pictures: Option<&Pictures>,
) -> anyhow::Result<Prepared> {
    let id = outcome.entry_id.to_string();
    let part = out.join(format!(".part-{id}"));
    make_folder(&part)?;
    let receipt = outcome.file_name();
    put(&part.join(FHIR), fhir)?;
    put(&part.join(&receipt), outcome.to_tlog_proof().as_bytes())?;
    if let Some(pictures) = pictures {
        put(&part.join(SALIENCY), &pictures.saliency)?;
        put(&part.join(OVERLAY), &pictures.overlay)?;
    }
    Ok(Prepared { part, folder: out.join(id), receipt, with_pictures: pictures.is_some() })
}

/// Writes the receipt of a study that was not read. Where that fails the receipt can still be had by `vidimus log
/// proof`.
pub(super) fn write_receipt(out: &Path, receipt: &Receipt) -> Files {
    let folder = out.join(receipt.entry_id.to_string());
    let path = folder.join(receipt.file_name());
    let written = make_folder(&folder).and_then(|()| put(&path, receipt.to_tlog_proof().as_bytes()));
    Files { receipt: written.ok().map(|()| shown(&path)), ..Files::default() }
}

/// Whether readings can be written into `out`: asked before the first intent, so that nothing is read in vain.
pub(crate) fn probe(out: &Path) -> anyhow::Result<()> {
    make_folder(out)?;
    let path = out.join(format!(".probe-{}", std::process::id()));
    put(&path, b"vidimus")?;
    fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))
}

/// A path as a program reads it back; a name that is no Unicode is shown with replacement characters.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes a folder that only its owner may enter: what lies there names a patient.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(full)
        .with_context(|| format!("{}: the folder cannot be made", path.display()))
}

/// Writes a file that only its owner may read, durable.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(full).with_context(|| format!("{}: cannot be written", path.display()))
}

/// A full disk says what to do.
fn full(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            io::Error::new(error.kind(), "disk full: make room and read again")
        }
        _ => error,
    }
}
