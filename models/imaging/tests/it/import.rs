//! Pictures become DICOM instances that this crate, and dicom-object, read back.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use vidimus_imaging::{
    Instance, Photometric, Stored,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_log::Phi;

fn saved(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn ramp() -> image::GrayImage {
    image::GrayImage::from_fn(9, 7, |x, y| image::Luma([(x * 20 + y) as u8]))
}

/// Proves: REQ-IMG-023
#[test]
fn a_grey_png_keeps_every_value_and_its_facts() {
    let facts = ImportFacts {
        modality: Some("DX".to_owned()),
        body_part: Some("CHEST".to_owned()),
        view: Some("AP".to_owned()),
        patient_id: Some(Phi::new("P7".to_owned())),
        patient_name: Some(Phi::new("Müller^Ägnes".to_owned())),
        age: Some("004Y".to_owned()),
        spacing_mm: Some([0.2, 0.25]),
        ..ImportFacts::default()
    };
    let bytes = picture_to_instance(&saved(&ramp().into(), ImageFormat::Png), &facts).unwrap();
    let instance = Instance::from_bytes(&bytes).unwrap();
    assert!(instance.warnings.is_empty(), "{:?}", instance.warnings);
    assert_eq!(instance.sop_class_uid, "1.2.840.10008.5.1.4.1.1.1.1");
    assert_eq!((instance.modality.as_str(), instance.view_position.as_deref()), ("DX", Some("AP")));
    assert_eq!(instance.patient.name.open(), "Müller^Ägnes");
    assert!((instance.patient_age.unwrap().years - 4.0).abs() < 1e-9);
    assert!((instance.spacing.unwrap().column_mm.value() - 0.25).abs() < 1e-9);
    let decoded = instance.decode().unwrap();
    assert_eq!(decoded.stored, Stored::U8(ramp().into_raw()));
    let shown = decoded.display(&instance, 0).unwrap();
    assert!((shown.pixels[1] - 20.0 / 255.0).abs() < 1e-6);
    // a reader that shares no code with this crate's agrees
    let other = dicom_object::from_reader(Cursor::new(&bytes)).unwrap();
    assert_eq!(other.element_by_name("Rows").unwrap().to_int::<u16>().unwrap(), 7);
    assert_eq!(other.element_by_name("PatientName").unwrap().to_str().unwrap(), "Müller^Ägnes");
}

/// Proves: REQ-IMG-023
#[test]
fn a_baseline_grey_jpeg_is_kept_unchanged_inside_the_instance() {
    let jpeg = saved(&ramp().into(), ImageFormat::Jpeg);
    let bytes = picture_to_instance(&jpeg, &ImportFacts::default()).unwrap();
    assert!(bytes.windows(jpeg.len()).any(|window| window == jpeg));
    let instance = Instance::from_bytes(&bytes).unwrap();
    assert_eq!(instance.transfer_syntax_uid, "1.2.840.10008.1.2.4.50");
    assert_eq!(instance.lossy_compression.as_deref(), Some("01"));
    let decoded = instance.decode().unwrap();
    let worst = decoded.stored.floats(0..63).zip(ramp().into_raw()).map(|(a, b)| (a - f64::from(b)).abs());
    assert!(worst.fold(0.0, f64::max) < 12.0);
}

/// Proves: REQ-IMG-023
#[test]
fn deep_grey_colour_and_grey_saved_as_colour_are_told_apart() {
    let read = |image: DynamicImage| {
        let bytes = picture_to_instance(&saved(&image, ImageFormat::Png), &ImportFacts::default()).unwrap();
        Instance::from_bytes(&bytes).unwrap().decode().unwrap()
    };
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(3, 2, |x, y| image::Luma([(x * 1000 + y) as u16]));
    assert_eq!(read(deep.into()).stored, Stored::U16(vec![0, 1000, 2000, 1, 1001, 2001]));
    let colour = image::RgbImage::from_fn(2, 1, |x, _| image::Rgb([x as u8, 2, 3]));
    let colour = read(colour.into());
    assert_eq!(colour.description.photometric, Photometric::Rgb);
    assert_eq!(colour.stored, Stored::U8(vec![0, 2, 3, 1, 2, 3]));
    let grey = read(DynamicImage::from(ramp()).to_rgb8().into());
    assert_eq!((grey.description.photometric, grey.description.samples), (Photometric::Monochrome2, 1));
}

/// Proves: REQ-IMG-023
#[test]
fn the_same_picture_gives_the_same_identifiers_and_given_ones_are_kept() {
    let uid = |facts: &ImportFacts| {
        let bytes = picture_to_instance(&saved(&ramp().into(), ImageFormat::Png), facts).unwrap();
        Instance::from_bytes(&bytes).unwrap().sop_instance_uid.open().clone()
    };
    let derived = uid(&ImportFacts::default());
    assert!(derived.starts_with("2.25.") && derived == uid(&ImportFacts::default()));
    assert_eq!(uid(&ImportFacts { sop_instance_uid: Some("1.2.9".to_owned()), ..ImportFacts::default() }), "1.2.9");
}

/// Proves: REQ-IMG-023
#[test]
fn what_is_no_picture_or_partly_transparent_is_refused() {
    let refused = |bytes: &[u8]| picture_to_instance(bytes, &ImportFacts::default()).unwrap_err().to_string();
    assert!(refused(b"GIF89a").contains("neither PNG nor JPEG"));
    assert!(refused(&saved(&ramp().into(), ImageFormat::Png)[..40]).starts_with("picture:"));
    let clear = image::RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 9]));
    assert!(refused(&saved(&clear.into(), ImageFormat::Png)).contains("transparent"));
}
