//! What a file is, without reading it clinically: the record of `vidimus inspect`.
//! In: a path. Out: always a record; what could not be read stands in `error`, which names attribute or culprit.
//! Units: spacing in millimetres between rows and columns; min, max and mean after the modality transform.
//! Source: the project's contract for `vidimus inspect --json`. Requirement: REQ-IMG-020.

use std::path::Path;

use serde::Serialize;
use vidimus_log::Digest;

use crate::{
    error::{ImagingError, Warning},
    instance::{Instance, read_file},
};

/// The record of one file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    /// The path as given, or below the folder given.
    pub file: String,
    /// SOP Class UID.
    pub sop_class_uid: Option<String>,
    /// Transfer Syntax UID.
    pub transfer_syntax_uid: Option<String>,
    /// Rows.
    pub rows: Option<u32>,
    /// Columns.
    pub columns: Option<u32>,
    /// Frames; 1 where the attribute is absent.
    pub frames: Option<u32>,
    /// Samples per pixel.
    pub samples_per_pixel: Option<u16>,
    /// Photometric Interpretation as the file says.
    pub photometric: Option<&'static str>,
    /// Bits allocated.
    pub bits_allocated: Option<u16>,
    /// Bits stored.
    pub bits_stored: Option<u16>,
    /// Two's complement.
    pub signed: Option<bool>,
    /// Millimetres between rows and between columns.
    pub spacing: Option<[f64; 2]>,
    /// Six direction cosines.
    pub orientation: Option<[f64; 6]>,
    /// SHA-256 of the bare stored values, little endian.
    pub stored_sha256: Option<Digest>,
    /// Least measured value of a grey object.
    pub min: Option<f64>,
    /// Greatest measured value.
    pub max: Option<f64>,
    /// Mean measured value.
    pub mean: Option<f64>,
    /// Why the file, or its image, cannot be used.
    pub error: Option<String>,
    /// What was lenient.
    pub warnings: Vec<Warning>,
}

/// Inspects the file at `path`.
pub fn inspect(path: impl AsRef<Path>) -> Inspection {
    let path = path.as_ref();
    match read_file(path) {
        Ok(bytes) => inspect_bytes(&path.to_string_lossy(), bytes),
        Err(error) => failed(&path.to_string_lossy(), &error),
    }
}

/// Inspects bytes under the name `file`.
pub fn inspect_bytes(file: &str, bytes: Vec<u8>) -> Inspection {
    let mut record = Inspection { file: file.to_owned(), ..Inspection::default() };
    match Instance::from_vec(bytes) {
        Err(error) => record.error = Some(error.to_string()),
        Ok(instance) => {
            describe(&mut record, &instance);
            if let Err(error) = measure(&mut record, &instance) {
                record.error = Some(error.to_string());
            }
        }
    }
    record.warnings.sort_unstable();
    record.warnings.dedup();
    record
}

/// The record of a path that was not read.
pub fn failed(file: &str, error: &ImagingError) -> Inspection {
    Inspection { file: file.to_owned(), error: Some(error.to_string()), ..Inspection::default() }
}

fn describe(record: &mut Inspection, instance: &Instance) {
    record.sop_class_uid = Some(instance.sop_class_uid.clone()).filter(|uid| !uid.is_empty());
    record.transfer_syntax_uid = Some(instance.transfer_syntax_uid.clone()).filter(|uid| !uid.is_empty());
    record.spacing = instance.spacing.map(|spacing| [spacing.row_mm.value(), spacing.column_mm.value()]);
    record.orientation = instance.orientation.map(|orientation| orientation.cosines());
    record.warnings.clone_from(&instance.warnings);
    if let Ok(description) = instance.description() {
        record.rows = Some(description.rows);
        record.columns = Some(description.columns);
        record.frames = Some(description.frames);
        record.samples_per_pixel = Some(description.samples);
        record.photometric = Some(description.photometric.term());
        record.bits_allocated = Some(description.bits_allocated);
        record.bits_stored = Some(description.bits_stored);
        record.signed = Some(description.signed);
    }
}

fn measure(record: &mut Inspection, instance: &Instance) -> Result<(), ImagingError> {
    // a transform that cannot be is refused before the pixels are decoded
    instance.description()?;
    crate::modality::Modality::read(instance, 0)?;
    let decoded = instance.decode()?;
    record.warnings.extend(decoded.warnings.iter().copied());
    let statistics = if decoded.description.photometric.grey() { decoded.statistics(instance)? } else { None };
    record.stored_sha256 = Some(decoded.stored_sha256());
    record.min = statistics.map(|all| all.min);
    record.max = statistics.map(|all| all.max);
    record.mean = statistics.map(|all| all.mean);
    Ok(())
}
