//! `vidimus-verify`: checks receipts, checkpoints and whole logs offline, trusting nothing but the log's public key.
//! Exit codes: 0 verified, 1 not verified (a missing or unreadable file included), 2 usage. With `--json` one object on
//! standard output; where not verified its `reason` is one word of `vidimus_log::Reason`.
//! Source: AUDIT_LOG section 11. It holds no network and no database code.

mod files;
mod verbs;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  vidimus-verify receipt 0190c7d2.tlog-proof --key log.vkey
  vidimus-verify log tiles/ --key log.vkey
  vidimus-verify consistency checkpoint.old tiles/checkpoint --tiles tiles/ --key log.vkey

Exit codes: 0 verified, 1 not verified, 2 usage.";

#[derive(Parser)]
#[command(name = "vidimus-verify", version, about = "Check Vidimus receipts and logs offline", after_help = EXAMPLES)]
struct Arguments {
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check a receipt (.tlog-proof): signature, inclusion, canonical form, schema.
    Receipt {
        /// The receipt.
        file: PathBuf,
        /// The log's public key (log.vkey).
        #[arg(long)]
        key: PathBuf,
        /// The entry's bytes, for a proof that does not hold them.
        #[arg(long)]
        entry: Option<PathBuf>,
    },
    /// Check a whole log: every entry, tile, reference and rule.
    Log {
        /// Folder with `checkpoint` and `tile/` (C2SP tlog-tiles).
        folder: PathBuf,
        /// The log's public key (log.vkey).
        #[arg(long)]
        key: PathBuf,
    },
    /// Check a checkpoint's signature.
    Checkpoint {
        /// The signed checkpoint.
        file: PathBuf,
        /// The log's public key (log.vkey).
        #[arg(long)]
        key: PathBuf,
    },
    /// Check one entry's canonical form and schema; with a proof and a key also its inclusion.
    Entry {
        /// The entry's bytes.
        file: PathBuf,
        /// A proof for it.
        #[arg(long, requires = "key")]
        proof: Option<PathBuf>,
        /// The log's public key (log.vkey).
        #[arg(long, requires = "proof")]
        key: Option<PathBuf>,
    },
    /// Check that an older checkpoint's log is a prefix of a newer one's.
    Consistency {
        /// The older signed checkpoint.
        old: PathBuf,
        /// The newer signed checkpoint.
        new: PathBuf,
        /// Folder with the newer log's `tile/`.
        #[arg(long)]
        tiles: PathBuf,
        /// The log's public key (log.vkey).
        #[arg(long)]
        key: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verdict = match &arguments.verb {
        Verb::Receipt { file, key, entry } => verbs::receipt(file, key, entry.as_deref()),
        Verb::Log { folder, key } => verbs::log(folder, key),
        Verb::Checkpoint { file, key } => verbs::checkpoint(file, key),
        Verb::Entry { file, proof, key } => verbs::entry(file, proof.as_deref().zip(key.as_deref())),
        Verb::Consistency { old, new, tiles, key } => verbs::consistency(old, new, tiles, key),
    };
    let (code, text, object) = match verdict {
        Ok(verified) => (ExitCode::SUCCESS, verified.text, verified.object),
        Err(error) => {
            let reason = error.reason().as_str();
            let object = serde_json::json!({ "verified": false, "reason": reason, "detail": error.to_string() });
            (ExitCode::FAILURE, format!("NOT VERIFIED: {error}"), object)
        }
    };
    let printed = if arguments.json {
        writeln!(std::io::stdout(), "{object}")
    } else if code == ExitCode::SUCCESS {
        writeln!(std::io::stdout(), "{text}")
    } else {
        writeln!(std::io::stderr(), "{text}")
    };
    // A verdict that nobody could read is no verdict.
    if printed.is_ok() { code } else { ExitCode::FAILURE }
}
