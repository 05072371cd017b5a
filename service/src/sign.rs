//! Signing keys of the site: the service's own, for what it hands out, and one for each member of staff who signs.
//! All are apart from the log's key. The public half is enrolled by a `key_rotation` entry of purpose `signoff` before
//! its first use; the private half lies in the site's `keys/`, mode 0600.
//! Source: RFC 7515 appendix F (detached JWS), RFC 8037 (EdDSA), AUDIT_LOG section 9.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use vidimus_log::{
    Actor, Digest, Draft, Recorder as _,
    body::{KeyPurpose, KeyRotation},
};
use zeroize::Zeroizing;

use crate::site::House;

/// `typ` of a signature over the manifest of a sign-off.
const SIGN_OFF: &str = "vidimus-signoff+jws";
/// `typ` of a signature over the bytes of a resource.
const RESOURCE: &str = "JOSE";

fn folder(house: &House) -> PathBuf {
    house.site.dir().join("keys")
}

/// The key of this site's service.
pub(crate) struct ServiceKey(SigningKey);

impl ServiceKey {
    /// The key; made and enrolled at first use.
    pub(crate) fn open(house: &House) -> anyhow::Result<Self> {
        open(house, &folder(house).join("service.key"), "the service's own key, for what it hands out").map(Self)
    }

    /// A detached compact JWS over the bytes.
    pub(crate) fn detached(&self, bytes: &[u8]) -> String {
        detached(&self.0, RESOURCE, bytes)
    }
}

/// The key of one member of staff.
pub(crate) struct StaffKey(SigningKey);

impl StaffKey {
    /// The key; made and enrolled at first use.
    pub(crate) fn open(house: &House, actor: &Actor) -> anyhow::Result<Self> {
        anyhow::ensure!(actor.id.starts_with("stf_"), "only a member of staff has a key to sign with");
        let folder = folder(house).join("staff");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("{}: cannot be made", folder.display()))?;
        let reason = format!("the key of {}, {}, to sign readings with", actor.id, actor.role);
        open(house, &folder.join(format!("{}.key", actor.id)), &reason).map(Self)
    }

    /// The key's id: SHA-256 of the public key.
    pub(crate) fn kid(&self) -> String {
        kid(&self.0)
    }

    /// A detached compact JWS over the manifest of a sign-off.
    pub(crate) fn sign_off(&self, manifest: &[u8]) -> String {
        detached(&self.0, SIGN_OFF, manifest)
    }

    /// A detached compact JWS over the bytes of a resource.
    pub(crate) fn detached(&self, bytes: &[u8]) -> String {
        detached(&self.0, RESOURCE, bytes)
    }
}

fn open(house: &House, path: &Path, reason: &str) -> anyhow::Result<SigningKey> {
    match fs::read(path) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let seed: &[u8; 32] = bytes
                .as_slice()
                .try_into()
                .with_context(|| format!("{}: expected a key of 32 bytes", path.display()))?;
            Ok(SigningKey::from_bytes(seed))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(house, path, reason),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

fn create(house: &House, path: &Path, reason: &str) -> anyhow::Result<SigningKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).context("the system's source of randomness")?;
    let key = SigningKey::from_bytes(&seed);
    // Enrolled first: a key that was never used harms nobody, one that the log does not know would.
    enrol(house, &URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()), reason)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}: cannot be made", path.display()))?;
    file.write_all(seed.as_slice()).and_then(|()| file.sync_all())?;
    Ok(key)
}

fn kid(key: &SigningKey) -> String {
    Digest::of(key.verifying_key().as_bytes()).hex()
}

fn detached(key: &SigningKey, typ: &str, bytes: &[u8]) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{typ}"}}"#, kid(key));
    let header = URL_SAFE_NO_PAD.encode(header);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let signature = key.sign(input.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// Puts a public key (base64url of 32 bytes) into the log.
pub(crate) fn enrol(house: &House, public_key: &str, reason: &str) -> anyhow::Result<()> {
    let body = KeyRotation {
        purpose: KeyPurpose::Signoff,
        old: None,
        new: format!("ed25519:{public_key}").into(),
        overlap_until_size: 0,
        reason: reason.into(),
        proof: None,
    };
    house.site.record(Draft::system(house.site.new_id(), body))?;
    Ok(())
}
