//! The canonical digest of a picture's decoded pixels, made by the same decoder that a reading uses.
//! Equal for two files with the same pixels; it finds duplicates and leaks, never the identity of a file's bytes.
//! Errors: in words, without patient data. Source: IMAGING section 6.

use vidimus_imaging::{
    Instance,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::Digest;

/// The canonical pixel digest of a PNG or JPEG file.
pub fn picture_pixel_digest(bytes: &[u8]) -> Result<Digest, String> {
    let instance = picture_to_instance(bytes, &ImportFacts::default()).map_err(|error| error.to_string())?;
    let decoded = Instance::from_bytes(&instance).and_then(|instance| instance.decode());
    Ok(decoded.map_err(|error| error.to_string())?.pixel_digest())
}
