//! The films of a published reading on a screen: 16-bit numbers and a rendered picture, from the sealed original.
//! Memory: an object that decodes to more than [`DECODED_BYTES_MAX`] is not shown, and all callers together hold at
//! most [`SHARE_BYTES_MAX`] of decoded values and file; who comes later waits.
//! Errors: [`ViewError`] names what is missing or what cannot be shown; no patient data.

use std::{
    fmt,
    sync::{Condvar, Mutex, PoisonError},
};

use vidimus_imaging::{Decoded, ImagingError, Instance, Viewing};
use vidimus_reader::{colour_film_png, film_png};
use vidimus_store::VaultError;

use super::record::{ImageRecord, Record};
use crate::site::House;

/// Most bytes of decoded values of an object that is shown: 30 frames of a 2,048 x 2,048 series, or one film of 120
/// million pixels.
const DECODED_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of objects that are decoded for screens at one time: two of the largest.
const SHARE_BYTES_MAX: u64 = 2 * SHARE_OF_ONE_MAX;
/// What the largest object takes: its values, as much again for the file, and a frame of floating-point values.
const SHARE_OF_ONE_MAX: u64 = 3 * DECODED_BYTES_MAX;

/// A film cannot be shown.
#[derive(Debug)]
pub(crate) enum ViewError {
    /// The study has no film at this place, or one that cannot be decoded.
    NoImage { instance: usize },
    /// The film has fewer frames.
    NoFrame { instance: usize, frames: u32 },
    /// It would take too much memory.
    TooLarge { bytes: u64 },
    /// It cannot be decoded.
    Unreadable(ImagingError),
    /// The picture could not be made.
    Picture(String),
    /// The original cannot be opened.
    Vault(VaultError),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImage { instance } => write!(f, "the reading has no image {instance} that can be shown"),
            Self::NoFrame { instance, frames } => {
                write!(f, "image {instance} has {frames} frames, counted from 0")
            }
            Self::TooLarge { bytes } => {
                write!(f, "the image has {bytes} bytes of pixels; at most {DECODED_BYTES_MAX} are shown here")
            }
            Self::Unreadable(error) => error.fmt(f),
            Self::Picture(error) => write!(f, "the picture could not be made: {error}"),
            Self::Vault(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ViewError {}

impl From<ImagingError> for ViewError {
    fn from(error: ImagingError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<VaultError> for ViewError {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

/// The numbers of a frame.
pub(crate) struct Pixels {
    pub rows: u32,
    pub columns: u32,
    /// 16 bits little endian, row by row.
    pub bytes: Vec<u8>,
}

/// The numbers of one frame of a film: what they mean stands in the film's [`ImageRecord`].
pub(crate) fn pixels(house: &House, record: &Record, instance: usize, frame: usize) -> Result<Pixels, ViewError> {
    shown(house, record, instance, frame, |image, original, decoded| {
        let missing = ViewError::NoFrame { instance, frames: image.frames };
        let numbers = decoded.numbers(original, frame)?.ok_or(missing)?;
        let bytes = numbers.into_iter().flat_map(u16::to_le_bytes).collect();
        Ok(Pixels { rows: image.rows, columns: image.columns, bytes })
    })
}

/// One frame of a film as the file wants it displayed: a PNG of 8 bits a sample.
pub(crate) fn rendered(house: &House, record: &Record, instance: usize, frame: usize) -> Result<Vec<u8>, ViewError> {
    shown(house, record, instance, frame, |_, original, decoded| {
        let png = if decoded.description.photometric.grey() {
            film_png(&decoded.display(original, frame)?)
        } else {
            colour_film_png(&decoded.display_rgb(original, frame)?)
        };
        png.map_err(|error| ViewError::Picture(error.to_string()))
    })
}

/// Decodes a film within the bounds and hands it over.
fn shown<T>(
    house: &House,
    record: &Record,
    instance: usize,
    frame: usize,
    show: impl FnOnce(&ImageRecord, &Instance, &Decoded) -> Result<T, ViewError>,
) -> Result<T, ViewError> {
    let image = record.image(instance).ok_or(ViewError::NoImage { instance })?;
    if frame >= image.frames as usize {
        return Err(ViewError::NoFrame { instance, frames: image.frames });
    }
    let size = u64::from(image.rows) * u64::from(image.columns) * u64::from(image.frames);
    let _share = Share::take(size.saturating_mul(6).min(SHARE_OF_ONE_MAX));
    let original = Instance::from_vec(house.site.vault().get(&image.object)?.open().clone())?;
    show(image, &original, &decode(&original)?)
}

/// What a viewer must know of a film.
pub(super) fn viewing(instance: &Instance) -> Result<Viewing, ViewError> {
    Ok(decode(instance)?.viewing(instance)?)
}

fn decode(instance: &Instance) -> Result<Decoded, ViewError> {
    let description = instance.description()?;
    let bits = u64::from(description.bits_allocated.max(8)) * u64::from(description.samples);
    let pixels = u64::from(description.rows) * u64::from(description.columns) * u64::from(description.frames);
    let bytes = pixels.saturating_mul(bits) / 8;
    if bytes > DECODED_BYTES_MAX {
        return Err(ViewError::TooLarge { bytes });
    }
    Ok(instance.decode()?)
}

/// A share of the memory that screens may take together; given back when dropped.
struct Share(u64);

static TAKEN: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Share {
    /// Waits until there is room.
    fn take(bytes: u64) -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken > 0 && *taken + bytes > SHARE_BYTES_MAX {
            taken = GIVEN_BACK.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += bytes;
        Self(bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(self.0);
        GIVEN_BACK.notify_all();
    }
}
