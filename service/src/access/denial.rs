//! Why a request is not let in: a code for the audit, a challenge for the caller.
//! The challenge of every bad credential is the same: which check failed is for the log alone.
//! Source: RFC 6750 section 3, RFC 9470.

/// A refused credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// For the audit, a code of the log.
    pub code: &'static str,
    /// The `WWW-Authenticate` line.
    pub challenge: String,
}

impl Denial {
    /// A denial with this code: `no-credentials`, `scheme`, `malformed`, `header-key`, `critical`, `algorithm`, `type`,
    /// `unknown-key`, `signature`, `claims`, `issuer`, `audience`, `expired`, `not-yet`, `lifetime`, `role`, `revoked`,
    /// `replayed`, `unknown-code`, `unknown-session`, `idle`, `origin`, `not-durable`.
    pub(super) fn new(code: &'static str) -> Self {
        // RFC 6750 section 3.1: a request without a credential gets no error code.
        let error = if code == "no-credentials" { "" } else { r#", error="invalid_token""# };
        Self { code, challenge: format!(r#"Bearer realm="vidimus"{error}"#) }
    }

    /// The authentication is too old for a signature (RFC 9470 section 3).
    pub(super) fn stale() -> Self {
        let challenge = format!(
            r#"Bearer error="insufficient_user_authentication", max_age={}, realm="vidimus""#,
            super::FRESH_S_MAX
        );
        Self { code: "stale", challenge }
    }
}
