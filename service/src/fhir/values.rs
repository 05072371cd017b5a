//! Values of DICOM as values of FHIR. What is no valid value is no value: the element is left out, never invented.
//! Source: DICOM PS3.5 section 6.2 (DA, PN, LO, CS, UI); HL7 FHIR R4 (4.0.1), data types and search.

use serde_json::{Map, Value, json};
use time::{Date, Month};

/// A text without the padding of DICOM; none where nothing is left or FHIR's `string` would not hold it.
pub(super) fn text(dicom: &str) -> Option<&str> {
    let text = dicom.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// A code string of DICOM.
pub(super) fn code(dicom: &str) -> Option<&str> {
    text(dicom).filter(|code| {
        code.len() <= 16 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// A day of the calendar, from `YYYYMMDD` or the older `YYYY.MM.DD`. DICOM times lack a zone, and FHIR times need one:
/// so the day is all that is said.
pub(super) fn date(dicom: &str) -> Option<String> {
    let text = text(dicom)?;
    let digits = match text.as_bytes() {
        [_, _, _, _, b'.', _, _, b'.', _, _] => text.replace('.', ""),
        _ => text.to_owned(),
    };
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i32 = digits.get(..4)?.parse().ok()?;
    let month: u8 = digits.get(4..6)?.parse().ok()?;
    let day: u8 = digits.get(6..)?.parse().ok()?;
    Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    (year > 0).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// A name of a person: the alphabetic group's family, given, middle, prefix and suffix.
pub(super) fn name(dicom: &str) -> Option<Value> {
    let alphabetic = dicom.split('=').next()?;
    let parts: Vec<Option<&str>> = alphabetic.split('^').map(text).collect();
    let part = |place: usize| parts.get(place).copied().flatten();
    parts.iter().take(5).any(Option::is_some).then(|| {
        json!({
            "family": part(0),
            "given": [part(1), part(2)],
            "prefix": [part(3)],
            "suffix": [part(4)],
        })
    })
}

/// A unique identifier: digits and dots, at most 64.
pub(super) fn uid(dicom: &str) -> Option<&str> {
    text(dicom).filter(|uid| uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// A unique identifier as the address of an object identifier, which is stricter: it begins with 0, 1 or 2, and no
/// component is empty or has a leading zero.
pub(super) fn oid(dicom: &str) -> Option<String> {
    let uid = uid(dicom)?;
    let (first, rest) = uid.split_once('.')?;
    let component = |text: &str| !text.is_empty() && (text == "0" || !text.starts_with('0'));
    (matches!(first, "0" | "1" | "2") && rest.split('.').all(component)).then(|| format!("urn:oid:{uid}"))
}

/// A value within a query: what separates values in FHIR is escaped, then everything that an address may not hold.
pub(super) fn query(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '|' | '$') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    percent(&escaped)
}

/// A text within a query, as an address may hold it.
pub(super) fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// A quantity; none for a number that JSON does not have. Four decimals are more than any figure here holds.
pub(super) fn quantity(value: f64, unit: &str) -> Option<Value> {
    value
        .is_finite()
        .then(|| json!({ "value": rounded(value), "unit": unit, "system": super::terms::UCUM, "code": unit }))
}

pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The resource without nulls, empty texts, empty lists and empty objects: FHIR has none of them.
pub(crate) fn without_empty(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            Value::Array(items.into_iter().map(without_empty).filter(|item| !is_empty(item)).collect())
        }
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(name, value)| (name, without_empty(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
