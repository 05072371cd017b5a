//! Sign-in, who is signed in, sign-out; the keys of the site's own issuer.
//! Every sign-in and sign-out, granted or denied, is an `access` entry of its own, though the operations are public.

use serde::Deserialize;
use serde_json::json;
use vidimus_log::body::AccessResult;

use super::super::{Answer, Call, Kind, Problem, audit, request::credentials as credentials_of};
use crate::access::{Caller, Credentials, Proof};

/// The public keys (RFC 7517).
pub(in super::super) fn jwks(call: &Call<'_>) -> Result<Answer, Problem> {
    Ok(Answer::bytes("application/json", call.service.access.jwks()).header("cache-control", "public, max-age=300"))
}

/// What signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    code: Option<String>,
    token: Option<String>,
}

fn credentials<'a>(call: &'a Call<'_>, safe_method: bool) -> Credentials<'a> {
    credentials_of(call.service, &call.headers, safe_method, safe_method)
}

/// Exchanges a one-time code or a token for a session.
pub(in super::super) fn start(call: &Call<'_>) -> Result<Answer, Problem> {
    let given: Given = call.json()?;
    let proof = match (&given.code, &given.token) {
        (Some(code), None) => Proof::Code(code),
        (None, Some(token)) => Proof::Token(token),
        _ => return Err(Problem::new(Kind::BadRequest, "the body: either `code` or `token`")),
    };
    let now_s = call.house().now_ms() / 1000;
    match call.service.access.sign_in(proof, &credentials(call, false), now_s) {
        Ok((caller, cookie)) => {
            audit::record_session(call, Some(&caller), AccessResult::Granted, "sign-in")?;
            Ok(Answer::json(&shown(call, Some(&caller), now_s))?.header("set-cookie", cookie))
        }
        Err(denial) => {
            audit::record_session(call, None, AccessResult::Denied, denial.code)?;
            Err(denial.into())
        }
    }
}

/// Who is signed in.
pub(in super::super) fn show(call: &Call<'_>) -> Result<Answer, Problem> {
    let now_s = call.house().now_ms() / 1000;
    let caller = call.service.access.authenticate(&credentials(call, true), now_s).ok();
    Answer::json(&shown(call, caller.as_ref(), now_s))
}

fn shown(call: &Call<'_>, caller: Option<&Caller>, now_s: u64) -> serde_json::Value {
    let Some(caller) = caller else { return json!({ "signed_in": false }) };
    json!({
        "signed_in": true,
        "name": caller.name,
        "role": caller.role.as_str(),
        "actor": caller.actor.id,
        "auth_age_s": now_s.saturating_sub(caller.auth_time_s),
        "ends_s": caller.ends_s.saturating_sub(now_s),
        "can": caller.capabilities(),
        "site": call.house().site.origin(),
    })
}

/// Signs out.
pub(in super::super) fn end(call: &Call<'_>) -> Result<Answer, Problem> {
    let now_s = call.house().now_ms() / 1000;
    let (caller, cookie) = call.service.access.sign_out(&credentials(call, false), now_s)?;
    audit::record_session(call, Some(&caller), AccessResult::Granted, "sign-out")?;
    Ok(Answer::empty(204).header("set-cookie", cookie))
}
