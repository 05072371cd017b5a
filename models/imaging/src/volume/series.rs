//! A DICOM series as one volume: single-frame files in any order, or one object of several frames.
//! Shapes: axis i runs along a row (to the right), j down the columns, k from slice to slice, as converters to NIfTI
//! have it.
//! Units: modality values (Hounsfield units where the file says so); millimetres, turned from LPS to RAS.
//! Errors: [`VolumeError`] names missing, duplicate, uneven, tilted or foreign slices.
//! Source: DICOM PS3.3 C.7.6.2.1.1, C.7.6.16.

use super::{VOXELS_MAX, Volume, VolumeError};
use crate::geometry::{Affine, Slice, order};
use crate::instance::Instance;
use crate::tags;

struct Plane {
    slice: Slice,
    values: Vec<f32>,
}

/// The volume of a series' instances.
pub fn series_volume(instances: &[Instance]) -> Result<Volume, VolumeError> {
    let first = instances.first().ok_or_else(|| VolumeError::Slices("no file with pixels".into()))?;
    let description = first.description()?.clone();
    let (rows, columns) = (description.rows as usize, description.columns as usize);
    let spacing = first.frame_spacing(0).ok_or_else(|| {
        VolumeError::Slices("Pixel Spacing (0028,0030) is missing, so voxels have no size in the patient".into())
    })?;
    let mut planes = Vec::new();
    for instance in instances {
        if instance.series_instance_uid.open() != first.series_instance_uid.open() {
            return Err(VolumeError::Slices("the files belong to several series; give one folder a series".into()));
        }
        let own = instance.description()?;
        if (own.rows as usize, own.columns as usize) != (rows, columns) || own.samples != 1 {
            let found = format!("{} x {} of {} samples", own.rows, own.columns, own.samples);
            return Err(VolumeError::Slices(format!("slices of {rows} x {columns} and of {found} in one series")));
        }
        if rows * columns * (planes.len() + own.frames as usize) > VOXELS_MAX {
            return Err(VolumeError::Slices(format!("more than {VOXELS_MAX} voxels")));
        }
        let decoded = instance.decode()?;
        for frame in 0..own.frames as usize {
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b;
            let same = instance.frame_spacing(frame).is_some_and(|own| {
                near(own.row_mm.value(), spacing.row_mm.value())
                    && near(own.column_mm.value(), spacing.column_mm.value())
            });
            if !same {
                return Err(VolumeError::Slices("Pixel Spacing (0028,0030) differs between slices".into()));
            }
            let (Some(orientation), Some(position)) = instance.frame_geometry(frame) else {
                let attribute = if instance.frame_geometry(frame).0.is_none() {
                    tags::IMAGE_ORIENTATION
                } else {
                    tags::IMAGE_POSITION
                };
                return Err(VolumeError::Slices(format!("{attribute} is missing in a slice, so its place is unknown")));
            };
            planes.push(Plane {
                slice: Slice { orientation, position },
                values: decoded.modality(instance, frame)?.pixels,
            });
        }
    }
    let slices: Vec<Slice> = planes.iter().map(|plane| plane.slice).collect();
    let order = order(&slices)?.order;
    let at = |place: usize| slices[order[place]].position;
    let last = order.len() - 1;
    let step: [f64; 3] = std::array::from_fn(|axis| (at(last)[axis] - at(0)[axis]) / last as f64);
    let affine = Affine::of_slices(&slices[order[0]].orientation, &spacing, at(0), step).flipped();
    let mut values = vec![0.0; rows * columns * order.len()];
    for (k, &plane) in order.iter().enumerate() {
        for (pixel, value) in planes[plane].values.iter().enumerate() {
            let (j, i) = (pixel / columns, pixel % columns);
            values[(i * rows + j) * order.len() + k] = *value;
        }
    }
    Volume::new([columns, rows, order.len()], values, affine)
}
