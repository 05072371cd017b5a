//! `vidimus log`: the audit log of this site, checked and exported. What it prints, `vidimus-verify` checks without
//! this program.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use vidimus_log::EntryId;
use vidimus_store::Site;

use super::Common;

/// Verbs of `vidimus log`.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  vidimus log verify                           the whole log of this site
  vidimus log proof 13 --out 13.tlog-proof     the receipt of entry 13
  vidimus log tiles tiles/                     then: vidimus-verify log tiles/ --key SITE/log.vkey")]
pub(crate) enum Log {
    /// Print the newest signed checkpoint.
    Checkpoint,
    /// Write the receipt (C2SP tlog-proof) of an entry.
    Proof {
        /// The entry's id, or its index.
        entry: String,
        /// The file to write (default: standard output).
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check the whole log of this site: every entry, tile, root, signature and rule.
    Verify,
    /// Write the whole log as C2SP tlog-tiles.
    Tiles {
        /// The folder to write; made if it is not there.
        #[arg(value_name = "DIR")]
        out: PathBuf,
    },
}

pub(super) fn run(verb: &Log, common: &Common) -> anyhow::Result<ExitCode> {
    let output = common.output();
    let site = Site::open_read(&common.dir()?)?;
    match verb {
        Log::Checkpoint => {
            let checkpoint = site.checkpoint();
            output.result(&json!({ "checkpoint": checkpoint }), || checkpoint.trim_end().to_owned())?;
        }
        Log::Proof { entry, out } => {
            let id = entry_id(&site, entry)?;
            let receipt = site.receipt(&id)?;
            let text = receipt.to_tlog_proof();
            if let Some(file) = out {
                fs::write(file, &text).with_context(|| format!("{}: cannot be written", file.display()))?;
                output.result(
                    &json!({ "file": file.to_string_lossy(), "entry_id": id.to_string(), "index": receipt.index }),
                    || format!("receipt of entry {} written to {}", receipt.index, file.display()),
                )?;
            } else {
                output.result(&json!({ "entry_id": id.to_string(), "index": receipt.index, "proof": text }), || {
                    text.trim_end().to_owned()
                })?;
            }
        }
        Log::Verify => {
            return match site.verify() {
                Ok(facts) => {
                    let object = json!({ "verified": true, "size": facts.size, "root": facts.root });
                    output.result(&object, || format!("{} entries verify, root {}", facts.size, facts.root))?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => {
                    let text = error.to_string();
                    output.result(&json!({ "verified": false, "error": text }), || format!("NOT verified: {text}"))?;
                    Ok(ExitCode::FAILURE)
                }
            };
        }
        Log::Tiles { out } => {
            site.write_tiles(out)?;
            let size = site.size();
            output.result(&json!({ "dir": out.to_string_lossy(), "size": size }), || {
                format!("{size} entries written to {}", out.display())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An entry by id or by index.
pub(super) fn entry_id(site: &Site, text: &str) -> anyhow::Result<EntryId> {
    if let Ok(id) = EntryId::parse(text) {
        return Ok(id);
    }
    let index: u64 = text
        .parse()
        .with_context(|| format!("{text}: expected an entry id (32 hexadecimal characters) or an index"))?;
    let bytes = site.entry(index).with_context(|| format!("the log holds no entry {index}"))?;
    Ok(vidimus_log::Entry::parse(&bytes)?.entry_id)
}
