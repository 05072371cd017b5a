//! What a request says before its body is read, and whether its parameters have the form that the table states.
//! Nothing here is believed: the caller's name comes from `access`, the values from a [`Shape`](super::Shape).
//! Errors: [`Problem`] that names the parameter and never its value.

use actix_web::{HttpRequest, web};
use vidimus_log::{EntryId, Recorder as _};

use super::{Kind, Operation, Problem, Service, audit, operation::Place};
use crate::access::Credentials;

/// Longest query.
const QUERY_BYTES_MAX: usize = 32 * 1024;
/// Longest value of a header that is looked at.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What is known of a request before its body is read.
pub(crate) struct Request {
    pub id: EntryId,
    pub base: String,
    pub path: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
    pub raw_query: String,
    pub headers: Vec<(String, String)>,
    pub(super) client: audit::Client,
    pub(super) safe: bool,
    malformed: bool,
}

impl Request {
    pub(super) fn new(service: &Service, request: &HttpRequest) -> Self {
        let mut malformed = false;
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in request.headers() {
            let Some(value) = value.to_str().ok().filter(|value| value.len() <= HEADER_BYTES_MAX) else {
                malformed = true;
                continue;
            };
            // Lines of one name are one list (RFC 9110 section 5.3): a second one is seen too.
            match headers.iter_mut().find(|(known, _)| known == name.as_str()) {
                Some((known, list)) => {
                    list.push_str(if known == "cookie" { "; " } else { ", " });
                    list.push_str(value);
                }
                None => headers.push((name.as_str().to_owned(), value.to_owned())),
            }
        }
        let raw_query = request.query_string().to_owned();
        let query = pairs(raw_query.as_bytes()).unwrap_or_else(|| {
            malformed = true;
            Vec::new()
        });
        let path = request.match_info().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let host = super::find(&headers, "host").filter(|host| is_authority(host)).unwrap_or("localhost");
        let scheme = if service.tls { "https" } else { "http" };
        let base = service.public_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
        let agent: String = super::find(&headers, "user-agent").unwrap_or_default().chars().take(256).collect();
        let address = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        let client = serde_json::json!({ "address": address, "user_agent": agent }).to_string();
        Self {
            id: service.house.site.new_id(),
            base,
            path,
            query,
            raw_query,
            headers,
            client: audit::Client(client),
            safe: request.method().is_safe(),
            malformed,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        super::find(&self.headers, name)
    }
}

/// Host and port, as they may stand in an address that the service makes.
fn is_authority(host: &str) -> bool {
    (1..=255).contains(&host.len())
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':' | b'[' | b']'))
}

/// Decoded pairs of a query or form; none where it is no such thing.
pub(super) fn pairs(raw: &[u8]) -> Option<Vec<(String, String)>> {
    if raw.len() > QUERY_BYTES_MAX {
        return None;
    }
    let raw = std::str::from_utf8(raw).ok()?;
    web::Query::<Vec<(String, String)>>::from_query(raw).ok().map(web::Query::into_inner)
}

/// What the headers say about the sender, unchecked. Behind a proxy the browser is at the public address: its origin
/// and its TLS count, not those of the last hop.
pub(super) fn credentials<'a>(
    service: &'a Service,
    headers: &'a [(String, String)],
    safe_method: bool,
    passive: bool,
) -> Credentials<'a> {
    let header = |name| super::find(headers, name);
    let public = service.public_url.as_deref().and_then(|url| url.split_once("://"));
    let (https, host) = match public {
        Some((scheme, rest)) => (scheme == "https", rest.split('/').next()),
        None => (service.tls, header("host")),
    };
    Credentials {
        authorization: header("authorization"),
        cookie: header("cookie"),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
        host,
        https,
        safe_method,
        passive,
    }
}

/// Holds the parameters to the row.
pub(super) fn judge(operation: &Operation, request: &Request) -> Result<(), Problem> {
    let bad = |detail: String| Err(Problem::new(Kind::BadRequest, detail));
    if request.malformed {
        return bad(format!("a header or the query is no text, or longer than {QUERY_BYTES_MAX} bytes"));
    }
    for parameter in &operation.parameters {
        let name = parameter.name;
        let value = match parameter.place {
            Place::Path => {
                let value = super::find(&request.path, name).unwrap_or_default();
                if !parameter.shape.holds(value) {
                    let detail = format!("{name}: there is none of this name; expected {}", parameter.shape.expected());
                    return Err(Problem::new(Kind::NotFound, detail));
                }
                continue;
            }
            Place::Query if operation.is_fhir() => continue,
            Place::Query => super::find(&request.query, name),
            Place::Header => super::find(&request.headers, &name.to_ascii_lowercase()),
        };
        match value {
            None if parameter.required => {
                return bad(format!("{name}: missing; expected {}", parameter.shape.expected()));
            }
            Some(value) if !parameter.shape.holds(value) => {
                return bad(format!("{name}: expected {}", parameter.shape.expected()));
            }
            _ => {}
        }
    }
    if operation.is_fhir() {
        return Ok(());
    }
    let known: Vec<&str> =
        operation.parameters.iter().filter(|one| one.place == Place::Query).map(|one| one.name).collect();
    for (place, (name, _)) in request.query.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return bad(format!("the query holds a parameter that is not known here; known: {list}"));
        }
        if request.query.iter().take(place).any(|(earlier, _)| earlier == name) {
            return bad(format!("{name}: given twice"));
        }
    }
    Ok(())
}
