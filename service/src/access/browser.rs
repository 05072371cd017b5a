//! What only browsers do: cookies by themselves, and requests that another page made them send.
//! A cookie counts only in a request of our own pages: `Origin` or `Sec-Fetch-Site` must say so wherever the method
//! changes something, and may not say otherwise anywhere. `SameSite=Strict` alone is not enough: to a browser every
//! port of one host is the same site. A token in `Authorization` needs none of this: no browser adds one by itself.
//! Errors: [`Denial`] with `origin` or `malformed`. Source: RFC 6265 and its revision (`__Host-`), Fetch Metadata.

use super::{Credentials, Denial};

/// Name of the session's cookie over TLS: the prefix binds it to this host, the root path and TLS.
const SECURE: &str = "__Host-vidimus";
/// Name of the session's cookie over plain HTTP, on loopback.
const PLAIN: &str = "vidimus_session";

const fn name(https: bool) -> &'static str {
    if https { SECURE } else { PLAIN }
}

/// The session's secret in the request's cookies. Two of that name are refused: one of them was put there by somebody
/// else.
pub(super) fn session_cookie(from: &Credentials<'_>) -> Result<Option<String>, Denial> {
    let pairs = from.cookie.unwrap_or_default().split(';').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(key, _)| key.trim() == name(from.https)).map(|(_, value)| value.trim());
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.len() == 43 => Ok(Some(value.to_owned())),
        _ => Err(Denial::new("malformed")),
    }
}

/// Refuses a request with a cookie unless our own pages sent it, or a tool that is no browser reads.
pub(super) fn same_origin(from: &Credentials<'_>) -> Result<(), Denial> {
    not_foreign(from)?;
    // Every browser names the origin of a request that changes something.
    let silent = from.origin.is_none() && from.fetch_site.is_none();
    if silent && !from.safe_method { Err(Denial::new("origin")) } else { Ok(()) }
}

/// Refuses a request that says that another page sent it.
pub(super) fn not_foreign(from: &Credentials<'_>) -> Result<(), Denial> {
    let own_origin = from.origin.is_none_or(|origin| is_own(origin, from));
    let own_site = match from.fetch_site {
        None | Some("same-origin") => true,
        // A person's own act: an address typed, a bookmark. It never changes anything.
        Some("none") => from.safe_method,
        Some(_) => false,
    };
    if own_origin && own_site { Ok(()) } else { Err(Denial::new("origin")) }
}

/// Whether `Origin` names the host and scheme that the request went to.
fn is_own(origin: &str, from: &Credentials<'_>) -> bool {
    let scheme = if from.https { "https://" } else { "http://" };
    let default = if from.https { ":443" } else { ":80" };
    let plain = |host: &str| host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
    let host = origin.strip_prefix(scheme).map(plain);
    host.is_some_and(|host| !host.is_empty() && from.host.map(plain) == Some(host))
}

/// The line that hands the session to the browser.
pub(super) fn set_cookie(secret: &str, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}", name(https))
}

/// The line that takes it back.
pub(super) fn clear_cookie(https: bool) -> String {
    format!("{}; Max-Age=0", set_cookie("", https))
}
