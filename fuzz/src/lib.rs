//! Fuzz targets: one plain function over bytes for each parser of outside bytes.
//! A stable test replays `corpus/TARGET/` and deterministic mutations of it (`tests/it`), so no nightly compiler is
//! needed; a libFuzzer driver, where a machine has one, calls the same functions.
//! Law: no input makes a target panic, hang, or take memory without bound. Requirements: REQ-IMG-024,
//! REQ-LOG-011, REQ-SVC-159, REQ-NET-106.

mod imaging;
mod log;
mod mutate;
mod networks;
mod stow;
mod wrap;

pub use imaging::{data_set, deflated, instance, jpeg, jpeg2000, jpegls, jpegxl, nifti, picture, rle};
pub use log::{bundle, checkpoint, entry, receipt, tile_path, vkey};
pub use mutate::Mutator;
pub use networks::{architecture, weights};
pub use stow::multipart;

/// A target: its name, which is its corpus folder's, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("instance", instance),
    ("data_set", data_set),
    ("deflated", deflated),
    ("rle", rle),
    ("jpeg", jpeg),
    ("jpegls", jpegls),
    ("jpeg2000", jpeg2000),
    ("jpegxl", jpegxl),
    ("picture", picture),
    ("nifti", nifti),
    ("receipt", receipt),
    ("checkpoint", checkpoint),
    ("vkey", vkey),
    ("entry", entry),
    ("bundle", bundle),
    ("tile_path", tile_path),
    ("multipart", multipart),
    ("weights", weights),
    ("architecture", architecture),
];
