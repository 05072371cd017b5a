//! The service's own signing key: it signs what it hands out (FHIR Provenance), apart from the log's key.
//! Its public half is enrolled by a `key_rotation` entry of purpose `signoff`; the private half lies in the site's
//! `keys/`, mode 0600.
//! Source: RFC 7515 appendix F (detached JWS), RFC 8037 (EdDSA).

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use vidimus_log::{
    Digest, Draft, Recorder as _,
    body::{KeyPurpose, KeyRotation},
};
use zeroize::Zeroizing;

use crate::site::House;

/// The key of this site's service.
pub(crate) struct ServiceKey(SigningKey);

impl ServiceKey {
    fn path(house: &House) -> PathBuf {
        house.site.dir().join("keys").join("service.key")
    }

    /// The key; made and enrolled at first use.
    pub(crate) fn open(house: &House) -> anyhow::Result<Self> {
        let path = Self::path(house);
        match fs::read(&path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let seed: &[u8; 32] = bytes
                    .as_slice()
                    .try_into()
                    .with_context(|| format!("{}: expected a key of 32 bytes", path.display()))?;
                Ok(Self(SigningKey::from_bytes(seed)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(house, &path),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        }
    }

    fn create(house: &House, path: &PathBuf) -> anyhow::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).context("the system's source of randomness")?;
        let key = Self(SigningKey::from_bytes(&seed));
        // Enrolled first: a key that was never used harms nobody, one that the log does not know would.
        enrol(house, &key.public_key(), "the service's own key, for what it hands out")?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("{}: cannot be made", path.display()))?;
        file.write_all(seed.as_slice()).and_then(|()| file.sync_all())?;
        Ok(key)
    }

    fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }

    /// A detached compact JWS over the bytes.
    pub(crate) fn detached(&self, bytes: &[u8]) -> String {
        let kid = Digest::of(self.0.verifying_key().as_bytes()).hex();
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JOSE"}}"#);
        let header = URL_SAFE_NO_PAD.encode(header);
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let signature = self.0.sign(input.as_bytes());
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
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
