//! DICOM files to pixels: what real files do, hostile ones included, and what a reader must therefore do.
//! In: bytes or paths. Out: [`Instance`] (who, what, where), [`Decoded`] (stored values, digests), [`Image`] (measured
//! or displayed values, millimetres where the file gives them), [`inspect`](fn@inspect), [`walk`], [`study::group`].
//! Errors: [`ImagingError`] names the attribute and what to do; [`Warning`] records what was lenient.
//! The bytes are walked by code of ours before anything is believed or allocated; one reader, one opinion: dictionary,
//! character sets and writing come from the dicom-object family, reading of structure does not.
//! Source: DICOM 2026c, and the project's imaging notes. This crate knows no network, no model, no log entry.

mod attributes;
mod codec;
mod dataset;
mod decode;
mod description;
mod display;
mod error;
mod frames;
pub mod geometry;
mod image;
pub mod import;
mod inspect;
mod instance;
pub mod limits;
mod lut;
mod modality;
mod part10;
mod paths;
mod stored;
pub mod study;
pub mod syntaxes;
mod tags;
mod text;
mod viewing;
mod voi;
pub mod volume;

pub use decode::Decoded;
pub use description::{Photometric, PixelDescription, PixelKind};
pub use error::{ImagingError, Warning};
pub use geometry::{Affine, Orientation, Spacing, SpacingSource};
pub use image::{Image, Millimetre};
pub use inspect::{Inspection, failed, inspect, inspect_bytes};
pub use instance::{Age, Instance, Patient, read_file};
pub use modality::Statistics;
pub use paths::{Found, walk};
pub use stored::Stored;
pub use study::{Conflict, Study};
pub use tags::Tag;
pub use viewing::Viewing;
pub use voi::{Window, WindowFunction};
pub use volume::{Volume, VolumeError};
