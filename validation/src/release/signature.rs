//! Signatures under a release: detached compact JWS (EdDSA) over the sign-off manifest of AUDIT_LOG section 9.
//! The manifest holds printed name, meaning, time, the signed leaf and the digest of `release.toml`, so a signature
//! cannot be moved to another record. The protected header binds key id and role.
//! Errors: [`ReleaseError::Signature`] names the role and the fault. Source: RFC 7515 appendix F, RFC 8037.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vidimus_log::{
    Digest,
    body::{Authentication, Meaning, SignOff},
    canonical,
    values::Commit,
};

use super::ReleaseError;

/// `typ` of the protected header.
const TYPE: &str = "vidimus-signoff+jws";

/// The part that a person has in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers for the evaluation; signs with the meaning `review`.
    Evaluator,
    /// Answers for the release; signs with the meaning `approval`.
    Approver,
}

impl Role {
    /// The word in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluator => "evaluator",
            Self::Approver => "approver",
        }
    }

    /// What a signature in this role means.
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::Evaluator => Meaning::Review,
            Self::Approver => Meaning::Approval,
        }
    }
}

/// A person with a key; the key stays with the caller's lifetime and is wiped on drop.
pub struct Signer {
    subject: String,
    printed_name: String,
    role: Role,
    key: SigningKey,
}

/// When and about what a person signs.
#[derive(Debug, Clone)]
pub struct SigningFacts<'a> {
    /// Digest of `release.toml`.
    pub release: Digest,
    /// Leaf of the evaluation's entry.
    pub signed_leaf: Digest,
    /// UTC milliseconds.
    pub t_ms: u64,
    /// The signer's time zone, for example `Europe/Zurich` or `UTC`.
    pub tz: &'a str,
}

/// The sign-off manifest; field order is that of the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    meaning: String,
    outcome_leaf: Digest,
    pub(super) printed_name: String,
    report: Digest,
    pub(super) signer: String,
    t_ms: u64,
    tz: String,
    v: u64,
}

/// A detached signature with the manifest that it signs and the public key that checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    role: Role,
    manifest: String,
    jws: String,
    public_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    signature: Vec<Signature>,
}

impl Signer {
    /// A person (`subject` is the log's pseudonym) who signs in `role` with the Ed25519 key of this seed.
    pub fn new(subject: &str, printed_name: &str, role: Role, seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { subject: subject.to_owned(), printed_name: printed_name.to_owned(), role, key }
    }

    /// The key's id: SHA-256 of the public key.
    pub fn key_id(&self) -> String {
        Digest::of(self.key.verifying_key().as_bytes()).hex()
    }

    /// The public key, base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    /// Signs.
    pub fn sign(&self, facts: &SigningFacts<'_>) -> Result<Signature, ReleaseError> {
        let fault =
            |_| ReleaseError::Signature { role: self.role.as_str(), what: "the manifest has no canonical form" };
        let manifest = canonical::to_bytes(&json!({
            "meaning": self.role.meaning().as_str(),
            "outcome_leaf": facts.signed_leaf.hex(),
            "printed_name": self.printed_name,
            "report": facts.release.hex(),
            "signer": self.subject,
            "t_ms": facts.t_ms,
            "tz": facts.tz,
            "v": 1,
        }))
        .map_err(fault)?;
        let header = canonical::to_bytes(&header(&self.key_id(), self.role)).map_err(fault)?;
        let header = URL_SAFE_NO_PAD.encode(header);
        let signature = self.key.sign(&signing_input(&header, &manifest));
        let jws = format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        Ok(Signature { role: self.role, manifest, jws, public_key: self.public_key() })
    }
}

impl Signature {
    /// The role that it was given in.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The manifest's bytes: a document of the vault.
    pub fn manifest(&self) -> &[u8] {
        self.manifest.as_bytes()
    }

    /// The detached compact JWS.
    pub fn jws(&self) -> &str {
        &self.jws
    }

    /// Id of the key that made it, by the public key beside it.
    pub fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.decode(&self.public_key).map(|key| Digest::of(&key).hex()).unwrap_or_default()
    }

    /// The body of the `sign_off` entry, with the vault's commitment to the manifest.
    pub fn to_body(&self, manifest: Commit, signed_leaf: Digest, auth: Authentication) -> SignOff {
        SignOff {
            manifest,
            meaning: self.role.meaning(),
            signed_leaf,
            auth,
            signer_kid: self.key_id().as_str().into(),
            jws: self.jws.as_str().into(),
        }
    }

    /// Checks form, key, signature, digest, leaf and meaning.
    pub(super) fn verify(
        &self,
        release: Digest,
        signed_leaf: Digest,
        trusted: &[String],
    ) -> Result<Manifest, ReleaseError> {
        let fault = |what| ReleaseError::Signature { role: self.role.as_str(), what };
        let kid = self.key_id();
        if !trusted.contains(&kid) {
            return Err(fault("its key is not enrolled"));
        }
        let key: [u8; 32] = URL_SAFE_NO_PAD
            .decode(&self.public_key)
            .ok()
            .and_then(|key| key.try_into().ok())
            .ok_or_else(|| fault("public key: expected 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| fault("public key: not a point of the curve"))?;
        let (header_text, signature) = self.jws.split_once("..").ok_or_else(|| fault("expected a detached JWS"))?;
        let expected = canonical::to_bytes(&header(&kid, self.role)).map_err(|_| fault("header"))?;
        if URL_SAFE_NO_PAD.decode(header_text).ok().as_deref() != Some(expected.as_slice()) {
            return Err(fault("its header names another key, role or algorithm"));
        }
        let signature: [u8; 64] = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| fault("expected 64 bytes of signature"))?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        key.verify_strict(&signing_input(header_text, self.manifest.as_bytes()), &signature)
            .map_err(|_| fault("it does not verify: manifest, role or key was changed"))?;
        canonical::check(self.manifest.as_bytes()).map_err(|_| fault("its manifest is not canonical"))?;
        let manifest: Manifest =
            serde_json::from_str(&self.manifest).map_err(|_| fault("its manifest is not a sign-off"))?;
        if manifest.report != release {
            return Err(fault("it signs the digest of another release.toml"));
        }
        if manifest.outcome_leaf != signed_leaf {
            return Err(fault("it signs another evaluation"));
        }
        if manifest.meaning != self.role.meaning().as_str() {
            return Err(fault("its meaning does not belong to the role"));
        }
        if manifest.printed_name.trim().is_empty() || manifest.v != 1 {
            return Err(fault("printed name and version 1 are required"));
        }
        Ok(manifest)
    }
}

/// The file of signatures beside `release.toml`.
pub fn signatures_to_toml(signatures: &[Signature]) -> Result<String, ReleaseError> {
    toml::to_string(&File { signature: signatures.to_vec() })
        .map_err(|error| ReleaseError::Form { file: "signatures.toml", rule: error.to_string() })
}

/// Reads the file of signatures. Nothing is verified yet but the form.
pub fn parse_signatures(text: &str) -> Result<Vec<Signature>, ReleaseError> {
    let file: File = toml::from_str(text)
        .map_err(|error| ReleaseError::Form { file: "signatures.toml", rule: error.message().to_owned() })?;
    Ok(file.signature)
}

fn header(kid: &str, role: Role) -> serde_json::Value {
    json!({ "alg": "EdDSA", "kid": kid, "role": role.as_str(), "typ": TYPE })
}

/// ASCII(BASE64URL(header) || '.' || BASE64URL(payload)).
fn signing_input(header: &str, payload: &[u8]) -> Vec<u8> {
    format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload)).into_bytes()
}
