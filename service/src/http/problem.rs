//! Problems: one table from which come the problem document (RFC 9457), the OperationOutcome of FHIR, and the reasons
//! that DICOM knows. A detail never holds patient data, a path of this machine, or what a library said.
//! Source: RFC 9457; HL7 FHIR R4 OperationOutcome; DICOM PS3.18 annex I (failure reasons).

use serde_json::{Value, json};
use vidimus_log::RecordError;
use vidimus_store::{SiteError, VaultError};

use crate::fhir;

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $name:ident = $status:literal, $slug:literal, $title:literal, $fhir:literal, $dicom:literal;
    )*) => {
        /// What went wrong, by the answer that it gets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind, in the order of its status.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The status of HTTP.
            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Its name in addresses and in `code`.
            pub(crate) const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// Its name for people.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The issue type of FHIR.
            pub(crate) const fn fhir(self) -> &'static str {
                match self { $(Self::$name => $fhir,)* }
            }

            /// The failure reason of DICOM.
            pub(crate) const fn dicom(self) -> u16 {
                match self { $(Self::$name => $dicom,)* }
            }
        }
    };
}

kinds! {
    /// The request cannot be understood.
    BadRequest = 400, "bad-request", "The request cannot be understood", "invalid", 0xC000;
    /// Nobody is known to ask.
    Unauthenticated = 401, "unauthenticated", "Sign in first", "login", 0x0124;
    /// A signature needs a fresh authentication.
    StepUp = 401, "fresh-authentication", "Authenticate again to sign", "login", 0x0124;
    /// The role may not do this.
    Forbidden = 403, "forbidden", "This role may not do this", "forbidden", 0x0124;
    /// There is no such thing.
    NotFound = 404, "not-found", "There is no such thing", "not-found", 0x0112;
    /// The method is not served here.
    MethodNotAllowed = 405, "method-not-allowed", "This method is not served here", "not-supported", 0x0110;
    /// None of the accepted media types can be given.
    NotAcceptable = 406, "not-acceptable", "None of the accepted media types can be given", "not-supported", 0x0110;
    /// The sender was too slow.
    Timeout = 408, "timeout", "The sender was too slow", "timeout", 0x0110;
    /// It contradicts what is there.
    Conflict = 409, "conflict", "It contradicts what is there", "conflict", 0x0110;
    /// The version is not the newest.
    PreconditionFailed = 412, "precondition-failed", "The version is not the newest", "conflict", 0x0110;
    /// The body is too large.
    TooLarge = 413, "too-large", "The body is too large", "too-long", 0xA700;
    /// The media type is not taken here.
    UnsupportedMedia = 415, "unsupported-media-type", "The media type is not taken here", "not-supported", 0x0122;
    /// Understood, and not possible.
    Unprocessable = 422, "unprocessable", "Understood, and not possible", "business-rule", 0xA900;
    /// A version must be named.
    PreconditionRequired = 428, "precondition-required", "Name the version that you saw", "conflict", 0x0110;
    /// Too many requests.
    TooManyRequests = 429, "too-many-requests", "Too many requests", "throttled", 0xA700;
    /// A fault of the program.
    Internal = 500, "internal", "A fault of the program", "exception", 0x0110;
    /// It cannot be done now.
    Unavailable = 503, "unavailable", "It cannot be done now", "transient", 0xA700;
    /// There is no room on the disk.
    NoRoom = 507, "no-room", "There is no room on the disk", "no-store", 0xA700;
}

/// A problem on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which.
    pub kind: Kind,
    /// A sentence for the caller, without patient data.
    pub detail: String,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u32>,
    /// Methods that the address knows (405).
    pub allow: Option<String>,
    /// Code for the audit; the slug where none is given.
    pub why: Option<&'static str>,
}

impl Problem {
    /// A problem with a sentence for the caller, which names the culprit and holds no patient data.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), challenge: None, retry_after: None, allow: None, why: None }
    }

    /// 503 with the seconds to wait.
    pub(crate) fn later(detail: impl Into<String>, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(Kind::Unavailable, detail) }
    }

    /// With a `WWW-Authenticate` challenge.
    pub(crate) fn challenge(self, challenge: impl Into<String>) -> Self {
        Self { challenge: Some(challenge.into()), ..self }
    }

    /// With the code that the audit notes.
    pub(crate) fn because(self, why: &'static str) -> Self {
        Self { why: Some(why), ..self }
    }

    /// The code that the audit notes.
    pub(crate) fn code(&self) -> &'static str {
        self.why.unwrap_or_else(|| self.kind.slug())
    }

    /// `application/problem+json` (RFC 9457).
    pub(crate) fn document(&self, request: &str) -> Value {
        let mut document = json!({
            "type": format!("{}/problems/{}", fhir::BASE, self.kind.slug()),
            "title": self.kind.title(),
            "status": self.kind.status(),
            "detail": self.detail,
            "instance": format!("urn:uuid:{}", hyphenated(request)),
            "code": self.kind.slug(),
            "requestId": request,
        });
        if let Some(seconds) = self.retry_after {
            document["retryAfter"] = json!(seconds);
        }
        document
    }

    /// The OperationOutcome of FHIR.
    pub(crate) fn outcome(&self) -> Value {
        json!({
            "resourceType": "OperationOutcome",
            "issue": [{
                "severity": "error",
                "code": self.kind.fhir(),
                "details": {
                    "coding": [{
                        "system": format!("{}/CodeSystem/problem", fhir::BASE),
                        "code": self.kind.slug(),
                        "display": self.kind.title(),
                    }],
                    "text": self.kind.title(),
                },
                "diagnostics": self.detail,
            }],
        })
    }
}

const NO_ROOM: &str = "there is no room on the disk: nothing was recorded, nothing was lost";

/// A UUID of 32 hexadecimal characters, with its hyphens.
fn hyphenated(id: &str) -> String {
    uuid::Uuid::parse_str(id).map_or_else(|_| id.to_owned(), |id| id.to_string())
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::DiskFull(_) => {
                Self::new(Kind::NoRoom, "the audit log has no room on its disk: nothing was recorded, nothing was lost")
            }
            RecordError::Busy(_) => Self::later("the audit log is busy: try again", 1),
            RecordError::ReadOnly { .. } | RecordError::Fenced(_) => {
                Self::later("the audit log takes no entries until the program is restarted", 60)
            }
            RecordError::Refused { rule } => Self::new(Kind::Conflict, rule),
            RecordError::Duplicate { .. } | RecordError::Invalid(_) => internal(&error),
            _ => internal(&error),
        }
    }
}

impl From<SiteError> for Problem {
    fn from(error: SiteError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<anyhow::Error> for Problem {
    /// What a library says stays here: it is logged, not told.
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<RecordError>() {
            Ok(record) => return record.into(),
            Err(error) => error,
        };
        use std::io::ErrorKind;
        let full = |cause: &(dyn std::error::Error + 'static)| {
            let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge))
        };
        if error.chain().any(full) {
            return Self::new(Kind::NoRoom, NO_ROOM);
        }
        match error.downcast_ref::<VaultError>() {
            Some(VaultError::Erased) => {
                let erased = "the patient's data was erased: what is asked for can no longer be opened";
                return Self::new(Kind::NotFound, erased);
            }
            Some(VaultError::DiskFull(_)) => return Self::new(Kind::NoRoom, NO_ROOM),
            Some(VaultError::Busy | VaultError::Taken) => return Self::later("the vault is busy: try again", 1),
            Some(VaultError::Fenced) => {
                return Self::later("the vault takes no documents until the program is restarted", 60);
            }
            _ => {}
        }
        tracing::error!(target: "vidimus", error = %format!("{error:#}"), "a request failed");
        Self::new(Kind::Internal, "the program could not do this; the operator's log says why, under the request's id")
    }
}

fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(target: "vidimus", %error, "a request failed");
    Problem::new(Kind::Internal, "the program could not do this; the operator's log says why, under the request's id")
}
