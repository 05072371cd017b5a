//! Targets of the imaging crate. A code stream is wrapped as the one frame of a 19 x 17 image, as grey of 8 and of 16
//! bits and as colour, so that its own header can agree with the attributes.

use vidimus_imaging::{
    Instance,
    import::{ImportFacts, picture_to_instance},
    inspect_bytes,
    volume::{read_nifti, write_nifti},
};

use crate::wrap::{Shape, file};

/// A whole file, as received.
pub fn instance(bytes: &[u8]) {
    let record = inspect_bytes("fuzz", bytes.to_vec());
    assert!(record.error.is_some() || record.stored_sha256.is_some(), "neither pixels nor an error");
    let Ok(instance) = Instance::from_bytes(bytes) else { return };
    let Ok(decoded) = instance.decode() else { return };
    let last = decoded.description.frames as usize - 1;
    assert_eq!(decoded.stored.len(), decoded.frame_range(last).end, "values and description differ");
    for image in [decoded.display(&instance, 0), decoded.display(&instance, last)].into_iter().flatten() {
        assert!(image.pixels.iter().all(|grey| grey.is_nan() || (0.0..=1.0).contains(grey)), "grey out of range");
    }
    if let Ok(colour) = decoded.display_rgb(&instance, 0) {
        assert_eq!(colour.pixels.len(), colour.rows * colour.columns, "colour image of another size");
    }
}

/// A data set after a sound file meta group, explicit and implicit.
pub fn data_set(bytes: &[u8]) {
    instance(&file("1.2.840.10008.1.2.1", bytes));
    instance(&file("1.2.840.10008.1.2", bytes));
    instance(&file("1.2.840.10008.1.2.2", bytes));
}

/// A deflate stream as data set and as frame.
pub fn deflated(bytes: &[u8]) {
    instance(&file("1.2.840.10008.1.2.1.99", bytes));
    frames("1.2.840.10008.1.2.8.1", bytes);
}

/// A run-length coded frame.
pub fn rle(bytes: &[u8]) {
    frames("1.2.840.10008.1.2.5", bytes);
}

/// A JPEG stream.
pub fn jpeg(bytes: &[u8]) {
    frames("1.2.840.10008.1.2.4.50", bytes);
}

/// A JPEG-LS stream.
pub fn jpegls(bytes: &[u8]) {
    frames("1.2.840.10008.1.2.4.80", bytes);
}

/// A JPEG 2000 stream.
pub fn jpeg2000(bytes: &[u8]) {
    frames("1.2.840.10008.1.2.4.90", bytes);
}

/// A JPEG XL stream.
pub fn jpegxl(bytes: &[u8]) {
    frames("1.2.840.10008.1.2.4.110", bytes);
}

/// A picture to import; what comes out must read back.
pub fn picture(bytes: &[u8]) {
    if let Ok(made) = picture_to_instance(bytes, &ImportFacts::default()) {
        assert!(Instance::from_bytes(&made).is_ok(), "an imported picture that is no instance");
    }
}

/// A NIfTI volume; what was read and written again must read back as the same.
pub fn nifti(bytes: &[u8]) {
    let Ok(read) = read_nifti(bytes) else { return };
    assert_eq!(read.volume.values.len(), read.volume.shape.iter().product::<usize>(), "values do not fill the shape");
    let Ok(written) = write_nifti(&read.volume, false) else { return };
    if let Ok(again) = read_nifti(&written) {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again.volume.values), bits(&read.volume.values), "values changed on the way");
    }
}

fn frames(uid: &str, bytes: &[u8]) {
    for shape in [Shape::Grey8, Shape::Grey16, Shape::Colour8] {
        instance(&file(uid, &shape.data_set(bytes)));
    }
}
