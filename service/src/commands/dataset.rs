//! `vidimus dataset`: locked reference sets. Importing and locking copy labels and never look at them.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use serde_json::json;
use vidimus_imaging::{
    Instance,
    import::{ImportFacts as PictureFacts, picture_to_instance},
};
use vidimus_log::Digest;
use vidimus_validation::{ImportFacts, LockedSet, import, lock};

use super::Common;

/// Verbs of `vidimus dataset`.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  vidimus dataset show validation/datasets/cxr-pneumonia-test
  vidimus dataset import source/ my-set --name my-set
  vidimus dataset lock my-set")]
pub(crate) enum Dataset {
    /// Copy one split of a source (archive and label table) into a folder and write its manifest.
    Import {
        /// The source's folder.
        from: PathBuf,
        /// The folder to make.
        into: PathBuf,
        /// The set's code.
        #[arg(long)]
        name: String,
        /// Its version.
        #[arg(long, default_value = "1.0.0")]
        set_version: String,
        /// The archive in the source folder.
        #[arg(long, default_value = "test.tar")]
        archive: String,
        /// The label table in the source folder.
        #[arg(long, default_value = "labels.csv")]
        labels: String,
        /// The split to take.
        #[arg(long, default_value = "test")]
        split: String,
    },
    /// Commit to every case of an imported folder, once its datasheet, provenance and licence are there.
    Lock {
        /// The folder.
        folder: PathBuf,
    },
    /// Verify a locked set, whole, and say what it is. No label is shown.
    Show {
        /// The folder.
        folder: PathBuf,
    },
}

pub(super) fn run(verb: &Dataset, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    match verb {
        Dataset::Import { from, into, name, set_version, archive, labels, split } => {
            let facts = ImportFacts {
                name: name.clone(),
                version: set_version.clone(),
                archive: archive.clone(),
                labels: labels.clone(),
                split: split.clone(),
            };
            let made = import(from, into, &facts, &pixel_digest)?;
            output.result(
                &json!({ "dir": into.to_string_lossy(), "items": made.items, "manifest_sha256": made.manifest }),
                || {
                    format!(
                        "{} cases imported into {}; add datasheet, provenance and licence, then lock it",
                        made.items,
                        into.display()
                    )
                },
            )?;
        }
        Dataset::Lock { folder } => {
            let made = lock(folder)?;
            output.result(
                &json!({ "dir": folder.to_string_lossy(), "items": made.items, "root": made.root }),
                || {
                    format!(
                        "{} cases locked, root {}",
                        made.items,
                        made.root.map(|root| root.hex()).unwrap_or_default()
                    )
                },
            )?;
        }
        Dataset::Show { folder } => {
            let set = LockedSet::open_manifest(folder)?;
            let sheet = set.datasheet();
            let object = json!({
                "name": sheet.name, "version": sheet.version, "root": set.root(), "items": set.items(),
                "patients": set.patients(), "class": sheet.class.letter(), "class_reasons": sheet.class_reasons,
                "licence": sheet.licence, "verified": true,
            });
            output.result(&object, || {
                format!(
                    "{} {}: {} images of {} patients, class {} ({}), {}\nroot {}: every file verifies",
                    sheet.name,
                    sheet.version,
                    set.items(),
                    set.patients(),
                    sheet.class.letter(),
                    sheet.class_reasons.join("; "),
                    sheet.licence,
                    set.root()
                )
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Canonical digest of a picture's decoded pixels.
fn pixel_digest(bytes: &[u8]) -> Result<Digest, String> {
    let instance = picture_to_instance(bytes, &PictureFacts::default()).and_then(Instance::from_vec);
    let decoded = instance.and_then(|instance| instance.decode()).map_err(|error| error.to_string())?;
    Ok(decoded.pixel_digest())
}
