//! `vidimus token`: a bearer token of the site's own issuer, beside a running service or before it.
//! The token goes to standard output and nothing else does: it is a secret.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Common;
use crate::{
    access::{self, Issuer, Role, TOKEN_MINUTES, TOKEN_MINUTES_MAX},
    site::now_ms,
};

/// Arguments of `vidimus token`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus token --role clinician --name 'Demo Reader'        a token for eight hours
  curl -H \"Authorization: Bearer $(vidimus token --role quality)\" http://127.0.0.1:8042/log/entries

Whoever can read the site's keys/ can make tokens: keep the folder private.")]
pub(crate) struct Token {
    /// clinician, quality, regulator, admin or modality.
    #[arg(long)]
    role: Role,
    /// The person's or device's name, as signatures and pages show it; the log knows a pseudonym of it.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How long the token is good.
    #[arg(long, value_name = "N", default_value_t = TOKEN_MINUTES,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(TOKEN_MINUTES_MAX)))]
    minutes: u32,
}

pub(super) fn run(verb: &Token, common: &Common) -> anyhow::Result<ExitCode> {
    let dir = common.dir()?;
    // Not `House`: it would take the site's lock, which `vidimus serve` holds.
    let issuer = Issuer::open(&dir, &access::origin(&dir)?)?;
    let name = verb.name.clone().unwrap_or_else(|| format!("Unnamed {}", verb.role.as_str()));
    let token = issuer.token(verb.role, &name, verb.minutes, now_ms() / 1_000)?;
    common.output().result(&json!({"token": token}), || token.clone())?;
    Ok(ExitCode::SUCCESS)
}
