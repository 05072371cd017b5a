//! A signature as people see it: who, when, what it means, what was said. 21 CFR 11.50: name, time and meaning are
//! shown wherever the reading is.
//! Errors: the log or the vault cannot be read; a patient's erased words are left out.

use serde_json::{Value, json};
use vidimus_log::{Body, Entry, EntryId};
use vidimus_store::VaultError;

use crate::{fhir::publish::instant, http::Problem, site::House};

/// Under which name the clinician's words lie beside the `sign_off` entry.
pub(super) const SAID: &str = "said";

/// The signature under a reading; none while it is unsigned.
pub(crate) fn view(house: &House, reading: &EntryId) -> Result<Option<Value>, Problem> {
    let Some(signed) = house.site.published_reading(reading)?.and_then(|row| row.signed) else { return Ok(None) };
    let id = signed.sign_off;
    let index = house.site.find(&id)?.ok_or_else(|| anyhow::anyhow!("a signature is not in the log"))?;
    let entry = Entry::parse(&house.site.entry(index)?).map_err(anyhow::Error::from)?;
    let Body::SignOff(body) = entry.body else {
        return Err(anyhow::anyhow!("a reading's signature is an entry of another kind").into());
    };
    let manifest: Value = opened(house, &id, "manifest")?;
    let said: Value = opened(house, &id, SAID)?;
    let reason = said["reason"].as_str().map(|code| {
        let known = house.terms.override_reasons();
        let display = known.into_iter().find(|(known, _)| known == code).map(|(_, display)| display);
        json!({ "code": code, "display": display })
    });
    Ok(Some(json!({
        "sign_off": id.to_string(),
        "index": index,
        "agrees": signed.agrees,
        "by": manifest["printed_name"],
        "at": manifest["t_ms"].as_u64().map(instant),
        "meaning": body.meaning.as_str(),
        "decision": said["decision"],
        "reason": reason,
        "comment": said["comment"],
    })))
}

/// A sealed document of an entry; null once its key was erased.
fn opened(house: &House, entry: &EntryId, field: &str) -> Result<Value, Problem> {
    match house.site.vault().opening(entry, field) {
        Ok(opening) => Ok(serde_json::from_slice(opening.value.open()).map_err(anyhow::Error::from)?),
        Err(VaultError::Erased) => Ok(Value::Null),
        Err(error) => Err(error.into()),
    }
}

/// The reasons that a clinician can give for a disagreement.
pub(crate) fn reasons(house: &House) -> Value {
    let reasons = house.terms.override_reasons().into_iter();
    reasons.map(|(code, display)| json!({ "code": code, "display": display })).collect()
}
