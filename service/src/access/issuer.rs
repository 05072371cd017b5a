//! The site's own issuer: Ed25519 (`EdDSA`), one key a site, tokens by RFC 9068.
//! Issuer and audience come from the log's origin, so that a token of one site is foreign at every other. `sub` is a
//! pseudonym, the same for the same site, role and name: a keyed hash, so that nobody finds a person by trying names.
//! It signs with `ed25519-dalek` and is verified with AWS-LC: two makers' code agrees on every token.
//! Errors: `anyhow`, naming file or argument.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vidimus_log::{Actor, Digest};

use super::{
    Role,
    keys::{self, Secret},
    limits::{NAME_CHARS_MAX, TOKEN_MINUTES_MAX},
};

/// How the embedded issuer knows a person: by access to the site's folder.
pub(super) const ACR: &str = "urn:vidimus:acr:site";
/// The client for which the embedded issuer makes tokens.
const CLIENT: &str = "vidimus-token";

/// The issuer of a site.
pub(crate) struct Issuer {
    key: SigningKey,
    staff: Secret,
    kid: String,
    origin: String,
    jwks: String,
}

impl Issuer {
    /// Opens the issuer of the site in `dir`; makes its keys at first use. It takes no lock: see [`keys`].
    pub(crate) fn open(dir: &Path, origin: &str) -> anyhow::Result<Self> {
        let key = SigningKey::from_bytes(&*keys::open(dir, "issuer.key")?);
        let staff = keys::open(dir, "staff.key")?;
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        // RFC 7638 and RFC 8037 appendix A.3: the members in this order, without spaces.
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)));
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA"});
        Ok(Self { key, staff, kid, origin: origin.to_owned(), jwks: json!({"keys": [jwk]}).to_string() })
    }

    /// `iss` of its tokens.
    pub(super) fn issuer(&self) -> String {
        format!("https://{}", self.origin)
    }

    /// `aud` of its tokens: the site's interfaces.
    pub(super) fn audience(&self) -> String {
        format!("https://{}/api", self.origin)
    }

    /// The public keys (RFC 7517).
    pub(super) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// The pseudonym of a person or device in a role.
    pub(super) fn actor(&self, role: Role, name: &str) -> anyhow::Result<Actor> {
        anyhow::ensure!(
            is_name(name),
            "name: expected 1 to {NAME_CHARS_MAX} characters without control characters, not blank at an end"
        );
        let mut mac = Hmac::<Sha256>::new(&padded(&self.staff).into());
        for part in [b"vidimus/staff/v1\n", role.as_str().as_bytes(), b"\n", name.as_bytes()] {
            mac.update(part);
        }
        let digest = Digest::from_bytes(mac.finalize().into_bytes().into());
        let mut random = [0; 16];
        random.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        Ok(match role {
            Role::Modality => Actor::service(random, role.as_str()),
            _ => Actor::staff(random, role.as_str()),
        })
    }

    /// A token for `name` in `role`, from `now_s` on for `minutes`.
    pub(crate) fn token(&self, role: Role, name: &str, minutes: u32, now_s: u64) -> anyhow::Result<String> {
        anyhow::ensure!(
            (1..=TOKEN_MINUTES_MAX).contains(&minutes),
            "minutes: expected 1 to {TOKEN_MINUTES_MAX}, found {minutes}"
        );
        let claims = json!({
            "iss": self.issuer(),
            "aud": self.audience(),
            "sub": self.actor(role, name)?.id,
            "client_id": CLIENT,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s.saturating_add(u64::from(minutes) * 60),
            "jti": keys::random_text()?,
            "auth_time": now_s,
            "acr": ACR,
            "roles": [role.as_str()],
            "scope": role.scope(),
            "name": name,
        });
        let header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "at+jwt"});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).to_bytes());
        Ok(format!("{message}.{signature}"))
    }
}

/// RFC 2104: a key shorter than the block is filled with zeros.
fn padded(key: &Secret) -> [u8; 64] {
    let mut block = [0; 64];
    block.iter_mut().zip(key.iter()).for_each(|(to, from)| *to = *from);
    block
}

/// Whether a text can stand as a person's name. Script and markup are letters like others: whoever shows a name escapes
/// it.
pub(super) fn is_name(text: &str) -> bool {
    // Direction marks could make one name look like another on the page of a signature.
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let count = text.chars().count();
    (1..=NAME_CHARS_MAX).contains(&count) && text.trim() == text && !text.chars().any(hidden)
}
