//! One row of the table of operations: method, path, roles, audit kind, limits, parameters, body, answers, handler.
//! Router, access check, audit, OpenAPI document and coverage tests are made from these rows and from nothing else.

use std::borrow::Cow;

use vidimus_log::body::{AccessAction, AccessWhat};

use super::{Answer, Call, Problem};
use crate::access::Role;

/// Method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Seconds until the answer begins.
    pub seconds: u64,
}

impl Limits {
    /// Without a body, answered from what is there.
    pub(crate) const READ: Self = Self { body_bytes: 0, seconds: 30 };
    /// A small body.
    pub(crate) const FORM: Self = Self { body_bytes: 64 * 1024, seconds: 30 };
}

/// The form of a parameter's value: held by the gatekeeper, written into the OpenAPI document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Text of at most so many bytes.
    Text(u32),
    /// Whole number in a range.
    Integer(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// RFC 3339.
    Time,
    /// DICOM UID.
    Uid,
    /// DICOM age string, such as 003Y.
    Age,
    /// DICOM code string (PS3.5 section 6.2): capital letters, digits, space and underscore, at most 16.
    CodeString,
    /// Entry id, 32 lower-case hexadecimal characters.
    EntryId,
    /// SHA-256 or keyed digest, 64 lower-case hexadecimal characters.
    Digest,
    /// Lower-case code of the log, `[a-z0-9_.-]{1,64}`.
    Code,
    /// Id of a FHIR resource.
    FhirId,
    /// The rest of a path, with its slashes.
    Tail,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub shape: Shape,
    pub required: bool,
    pub summary: &'static str,
}

/// A parameter of the query.
pub(crate) const fn query(name: &'static str, shape: Shape, summary: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, shape, required: false, summary }
}

/// A parameter of the path.
pub(crate) const fn path(name: &'static str, shape: Shape, summary: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, shape, required: true, summary }
}

/// A header.
pub(crate) const fn header(name: &'static str, shape: Shape, summary: &'static str) -> Parameter {
    Parameter { name, place: Place::Header, shape, required: false, summary }
}

/// A body that an operation takes: its media types and the schema of its JSON (a name in `schemas.json`), none for
/// bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub media: &'static [&'static str],
    pub schema: Option<&'static str>,
}

/// An answer without fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub media: &'static [&'static str],
    /// A name in `schemas.json`; none for bytes and for an empty body.
    pub schema: Option<&'static str>,
    pub summary: &'static str,
}

/// An answer of 200 with JSON.
pub(crate) const fn ok(schema: &'static str, summary: &'static str) -> Reply {
    Reply { status: 200, media: &["application/json"], schema: Some(schema), summary }
}

/// How the work is done.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// On a blocking thread, the body already read and held to its limit.
    Blocking(fn(&Call<'_>) -> Result<Answer, Problem>),
    /// The body streams (STOW-RS, upload).
    Streaming(Stream),
}

/// The operations whose body streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stow,
    Upload,
}

/// One row of the table.
#[derive(Clone)]
pub(crate) struct Operation {
    /// Its code in the log and in the OpenAPI document.
    pub id: Cow<'static, str>,
    pub verb: Verb,
    /// Template with `{name}`.
    pub path: Cow<'static, str>,
    pub tag: &'static str,
    pub summary: Cow<'static, str>,
    /// Who may; empty for the short list of public operations.
    pub roles: &'static [Role],
    pub action: AccessAction,
    pub what: AccessWhat,
    pub limits: Limits,
    /// It comes by itself, without a person's act: it keeps no session alive.
    pub passive: bool,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    pub replies: Vec<Reply>,
    /// Faults beyond those that every operation can answer with.
    pub faults: &'static [u16],
    pub work: Work,
}

impl Operation {
    /// A row with the least that it needs; the rest is set by the methods below.
    pub(crate) fn new(
        id: impl Into<Cow<'static, str>>,
        verb: Verb,
        path: impl Into<Cow<'static, str>>,
        roles: &'static [Role],
        handler: fn(&Call<'_>) -> Result<Answer, Problem>,
    ) -> Self {
        let (action, limits) = match verb {
            Verb::Get => (AccessAction::Read, Limits::READ),
            Verb::Post => (AccessAction::Create, Limits::FORM),
            Verb::Delete => (AccessAction::Update, Limits::READ),
        };
        Self {
            id: id.into(),
            verb,
            path: path.into(),
            tag: "service",
            summary: Cow::Borrowed(""),
            roles,
            action,
            what: AccessWhat::Query,
            limits,
            passive: false,
            parameters: Vec::new(),
            body: None,
            replies: Vec::new(),
            faults: &[],
            work: Work::Blocking(handler),
        }
    }

    /// What it is about: tag, sort of thing, one sentence.
    pub(crate) fn about(self, tag: &'static str, what: AccessWhat, summary: impl Into<Cow<'static, str>>) -> Self {
        Self { tag, what, summary: summary.into(), ..self }
    }

    /// What is done to it, where the method does not say it.
    pub(crate) fn action(self, action: AccessAction) -> Self {
        Self { action, ..self }
    }

    /// What it may cost.
    pub(crate) fn limits(self, body_bytes: u64, seconds: u64) -> Self {
        Self { limits: Limits { body_bytes, seconds }, ..self }
    }

    /// It comes by itself.
    pub(crate) fn passive(self) -> Self {
        Self { passive: true, ..self }
    }

    /// Its parameters.
    pub(crate) fn takes(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend_from_slice(parameters);
        self
    }

    /// Its body.
    pub(crate) fn body(self, media: &'static [&'static str], schema: Option<&'static str>) -> Self {
        Self { body: Some(Body { media, schema }), ..self }
    }

    /// An answer.
    pub(crate) fn replies(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self
    }

    /// Faults beyond the common ones.
    pub(crate) fn faults(self, faults: &'static [u16]) -> Self {
        Self { faults, ..self }
    }

    /// Its body streams.
    pub(crate) fn streams(self, stream: Stream) -> Self {
        Self { work: Work::Streaming(stream), ..self }
    }

    /// Whether a stranger is answered.
    pub(crate) fn is_public(&self) -> bool {
        self.roles.is_empty()
    }

    /// Whether it stands under `/fhir`: faults are OperationOutcomes there, and parameters are judged by the search.
    pub(crate) fn is_fhir(&self) -> bool {
        self.path.starts_with("/fhir/")
    }
}

impl Shape {
    /// Whether a value has this form.
    pub(crate) fn holds(self, value: &str) -> bool {
        let hex = |length: usize| {
            value.len() == length && value.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        };
        match self {
            Self::Text(most) => value.len() <= most as usize && !value.chars().any(char::is_control),
            Self::Integer(least, most) => {
                let digits = value.strip_prefix('-').unwrap_or(value);
                !digits.is_empty()
                    && digits.bytes().all(|c| c.is_ascii_digit())
                    && value.parse().is_ok_and(|number: i64| (least..=most).contains(&number))
            }
            Self::Word(words) => words.contains(&value),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Time => time::OffsetDateTime::parse(value, &time::format_description::well_known::Rfc3339).is_ok(),
            Self::Uid => {
                let part = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
                (1..=64).contains(&value.len()) && value.split('.').all(part)
            }
            Self::Age => {
                value.len() == 4
                    && value.ends_with(['D', 'W', 'M', 'Y'])
                    && value.bytes().take(3).all(|c| c.is_ascii_digit())
            }
            Self::CodeString => {
                let sound = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b' ' || c == b'_';
                (1..=16).contains(&value.len()) && value.bytes().all(sound) && !value.trim().is_empty()
            }
            Self::EntryId => hex(32),
            Self::Digest => hex(64),
            Self::Code => vidimus_log::values::is_code(value),
            Self::FhirId => {
                (1..=64).contains(&value.len())
                    && value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
            }
            Self::Tail => {
                let part = |part: &str| {
                    !part.is_empty()
                        && part != ".."
                        && part != "."
                        && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
                };
                (1..=256).contains(&value.len()) && value.split('/').all(part)
            }
        }
    }

    /// What is expected, for the person who sent another thing.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Text(most) => format!("text of at most {most} bytes without control characters"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Boolean => "true or false".into(),
            Self::Time => "a time as in 2026-01-31T08:00:00Z (RFC 3339)".into(),
            Self::Uid => "a UID of digits and dots".into(),
            Self::Age => "an age string: three digits and D, W, M or Y, such as 003Y".into(),
            Self::CodeString => "1 to 16 of A to Z, 0 to 9, space and underscore".into(),
            Self::EntryId => "an entry id: 32 lower-case hexadecimal characters".into(),
            Self::Digest => "a digest: 64 lower-case hexadecimal characters".into(),
            Self::Code => "a code: lower-case letters, digits, and any of . _ -".into(),
            Self::FhirId => "an id: letters, digits, - and ., at most 64".into(),
            Self::Tail => "a path of letters, digits and any of . _ -".into(),
        }
    }
}
