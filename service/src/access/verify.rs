//! Verification of a token: form, header, key, signature, claims, in this order; the first fault is its code.
//! The algorithm comes from the key in the key set; the header must say the same and decides nothing. Nothing in the
//! claims is looked at before the signature holds.
//! Errors: [`Denial`]; a key set that cannot be used is refused as a whole, naming the key.
//! Source: RFC 7515, 7517, 7518, 8037, 8725 and 9068; INTERFACES section 6.

use std::collections::HashMap;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::{Map, Value};
use vidimus_log::Actor;

use super::{
    Caller, Denial, Role,
    issuer::{ACR, is_name},
    json,
    limits::{SKEW_S, TOKEN_BYTES_MAX, TOKEN_MINUTES_MAX},
};

/// A key and the algorithms for which it may be used.
struct Key {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// What tokens of one issuer must say.
pub(super) struct Verifier {
    issuer: String,
    audience: String,
    keys: HashMap<String, Key>,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) actor: Actor,
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) auth_time_s: u64,
    pub(super) token_id: String,
    pub(super) ends_s: u64,
}

impl Verified {
    pub(super) fn caller(self) -> Caller {
        let Self { actor, role, name, auth_time_s, token_id, ends_s } = self;
        Caller { actor, role, name, auth_time_s, token_id, session: false, ends_s }
    }
}

impl Verifier {
    /// Accepts tokens of `issuer` for `audience`, signed by a key of this set (RFC 7517). The set may be another
    /// issuer's, read from a file: nothing here knows the site's own.
    pub(super) fn new(issuer: String, audience: String, jwks: &str) -> anyhow::Result<Self> {
        let set = json::object(jwks.as_bytes()).context("key set: expected a JSON object without double names")?;
        let listed = set.get("keys").and_then(Value::as_array).context("key set: expected an array keys")?;
        let mut keys = HashMap::new();
        for (index, value) in listed.iter().enumerate() {
            let jwk: Jwk = serde_json::from_value(value.clone()).with_context(|| format!("key {index}: is no key"))?;
            let kid = jwk.common.key_id.clone().with_context(|| format!("key {index}: kid is missing"))?;
            let key = key(&jwk).with_context(|| format!("key {index} ({kid})"))?;
            anyhow::ensure!(keys.insert(kid, key).is_none(), "key {index}: its kid stands twice");
        }
        anyhow::ensure!(!keys.is_empty(), "key set: it is empty");
        Ok(Self { issuer, audience, keys })
    }

    /// What the token says, if all of it holds at `now_s`.
    pub(super) fn verify(&self, token: &str, now_s: u64) -> Result<Verified, Denial> {
        let malformed = || Denial::new("malformed");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let object = |part: &str| json::object(&decode(part)?).ok_or_else(malformed);
        let (key, algorithm) = self.key(&object(header)?)?;
        decode(signature)?;
        let message = token.rsplit_once('.').map_or("", |(message, _)| message);
        let holds = jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm);
        if !holds.unwrap_or(false) {
            return Err(Denial::new("signature"));
        }
        self.claims(&object(claims)?, now_s)
    }

    /// The key that the header names, and the algorithm that the key allows.
    fn key(&self, header: &Map<String, Value>) -> Result<(&DecodingKey, Algorithm), Denial> {
        // RFC 7515 section 4.1.11: an extension that is not understood; none is.
        if header.contains_key("crit") {
            return Err(Denial::new("critical"));
        }
        if ["jwk", "jku", "x5c", "x5u"].iter().any(|name| header.contains_key(*name)) {
            return Err(Denial::new("header-key"));
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let said = text("alg").and_then(|name| ALLOWED.iter().find(|(known, _)| *known == name));
        let (_, said) = said.ok_or(Denial::new("algorithm"))?;
        let kind = text("typ").unwrap_or_default().to_ascii_lowercase();
        if kind.strip_prefix("application/").unwrap_or(&kind) != "at+jwt" {
            return Err(Denial::new("type"));
        }
        let key = text("kid").and_then(|kid| self.keys.get(kid)).ok_or(Denial::new("unknown-key"))?;
        if key.algorithms.contains(said) { Ok((&key.key, *said)) } else { Err(Denial::new("algorithm")) }
    }

    fn claims(&self, claims: &Map<String, Value>, now_s: u64) -> Result<Verified, Denial> {
        let missing = || Denial::new("claims");
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or_else(missing);
        let time = |name: &str| claims.get(name).and_then(Value::as_u64).ok_or_else(missing);
        if text("iss")? != self.issuer {
            return Err(Denial::new("issuer"));
        }
        self.audience(claims.get("aud").ok_or_else(missing)?)?;
        let (iat, nbf, exp, auth_time_s) = (time("iat")?, time("nbf")?, time("exp")?, time("auth_time")?);
        if now_s >= exp.saturating_add(SKEW_S) {
            return Err(Denial::new("expired"));
        }
        if nbf.max(iat).max(auth_time_s) > now_s.saturating_add(SKEW_S) {
            return Err(Denial::new("not-yet"));
        }
        if exp <= iat || exp - iat > u64::from(TOKEN_MINUTES_MAX) * 60 || auth_time_s > iat {
            return Err(Denial::new("lifetime"));
        }
        let role = match claims.get("roles").and_then(Value::as_array).ok_or_else(missing)?.as_slice() {
            [Value::String(role)] => role.parse::<Role>().map_err(|_| Denial::new("role"))?,
            // Several roles in one token would leave open in which of them somebody acts.
            _ => return Err(Denial::new("role")),
        };
        let (subject, token_id, name) = (text("sub")?, text("jti")?, text("name")?);
        let visible = |text: &str| !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        let whole = is_subject(subject, role)
            && visible(token_id)
            && is_name(name)
            && visible(text("client_id")?)
            && text("acr")? == ACR
            && !text("scope")?.is_empty();
        if !whole {
            return Err(missing());
        }
        let actor = Actor { id: subject.to_owned(), role: role.as_str().to_owned() };
        Ok(Verified { actor, role, name: name.to_owned(), auth_time_s, token_id: token_id.to_owned(), ends_s: exp })
    }

    /// A token for us and for others could be used by any of those others against us.
    fn audience(&self, said: &Value) -> Result<(), Denial> {
        let ours = |value: &Value| value.as_str() == Some(&self.audience);
        let holds = match said {
            Value::Array(list) => !list.is_empty() && list.iter().all(ours),
            one => ours(one),
        };
        if holds { Ok(()) } else { Err(Denial::new("audience")) }
    }
}

/// The algorithms of INTERFACES section 6: no `none`, no HMAC.
const ALLOWED: [(&str, Algorithm); 6] = [
    ("EdDSA", Algorithm::EdDSA),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("PS256", Algorithm::PS256),
];

/// The key and its algorithms, by its own `alg` or else by its kind.
fn key(jwk: &Jwk) -> anyhow::Result<Key> {
    let usable = jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    anyhow::ensure!(usable, "use: expected sig");
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map(|bytes| bytes.len()).unwrap_or(0);
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 && bytes(&okp.x) == 32 => {
            vec![Algorithm::EdDSA]
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 if bytes(&ec.x) == 32 && bytes(&ec.y) == 32 => vec![Algorithm::ES256],
            EllipticCurve::P384 if bytes(&ec.x) == 48 && bytes(&ec.y) == 48 => vec![Algorithm::ES384],
            _ => anyhow::bail!("crv: expected P-256 or P-384 with coordinates of its length"),
        },
        AlgorithmParameters::RSA(rsa) if bytes(&rsa.n) >= 256 => {
            vec![Algorithm::RS256, Algorithm::RS384, Algorithm::PS256]
        }
        _ => anyhow::bail!("kty: expected OKP (Ed25519), EC, or RSA of at least 2,048 bits; never a shared secret"),
    };
    if let Some(said) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| format!("{algorithm:?}") == said.to_string());
        anyhow::ensure!(!algorithms.is_empty(), "alg: {said} does not fit the kind of key, or is not allowed");
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| anyhow::anyhow!("its numbers cannot be read"))?;
    Ok(Key { key, algorithms })
}

/// Whether a pseudonym is one of the kind that the role has.
fn is_subject(text: &str, role: Role) -> bool {
    let prefix = if role == Role::Modality { "svc_" } else { "stf_" };
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 26 && rest.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')))
}

/// Whether a signature holds under a key, by one of the key's own algorithms.
#[cfg(test)]
pub(super) fn holds_under(jwk: &Jwk, text: &str, signature: &str) -> bool {
    let Key { key, algorithms } = key(jwk).unwrap();
    algorithms
        .iter()
        .any(|algorithm| jsonwebtoken::crypto::verify(signature, text.as_bytes(), &key, *algorithm).unwrap_or(false))
}
