//! Handlers: from a request that the gatekeeper let through to an answer. They know neither sockets nor tokens.

pub(super) mod log;
pub(super) mod models;
pub(super) mod pages;
pub(super) mod readings;
pub(super) mod replay;
pub(super) mod session;
pub(super) mod status;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Answer, Call, Kind, Problem};

/// The place of a handler in rows whose body streams: those never get here.
pub(super) fn none(_: &Call<'_>) -> Result<Answer, Problem> {
    Err(Problem::new(Kind::Internal, "the body of this operation streams"))
}

/// An opaque cursor: a keyed digest over what it holds, and over the list that it belongs to, keeps it whole.
pub(super) fn cursor(call: &Call<'_>, held: &str) -> String {
    // Another filter or order is another list; the number of items of a page is not.
    let mut list: Vec<String> = call.queries().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    list.retain(|pair| !pair.starts_with("cursor=") && !pair.starts_with("limit="));
    list.sort_unstable();
    let named = format!("{}\n{}{held}", call.operation.id, list.concat());
    let mark = call.house().site.keyed("cursor", named.as_bytes()).hex();
    let mark = mark.get(..16).unwrap_or(&mark);
    URL_SAFE_NO_PAD.encode(format!("{held} {mark}"))
}

/// What a cursor of this operation holds.
pub(super) fn open_cursor(call: &Call<'_>, text: &str) -> Result<String, Problem> {
    let held = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let held = held.as_deref().and_then(|text| text.rsplit_once(' ')).map(|(held, _)| held.to_owned());
    held.filter(|held| cursor(call, held) == text).ok_or_else(|| {
        Problem::new(Kind::BadRequest, "cursor: it is none that this service gave out for this list; begin without one")
    })
}

/// Milliseconds of an RFC 3339 parameter, whose form the gatekeeper held.
pub(super) fn time_ms(call: &Call<'_>, name: &str) -> Option<u64> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let time = OffsetDateTime::parse(call.query(name)?, &Rfc3339).ok()?;
    Some(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
}

/// RFC 3339 of UTC milliseconds.
pub(super) fn time_text(ms: u64) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The asked number of items of a page.
pub(super) fn limit(call: &Call<'_>) -> usize {
    call.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(50)
}
