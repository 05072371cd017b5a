//! Measured and displayed values of images whose every pixel is known.

use vidimus_imaging::{Decoded, Image, Instance};

use crate::build::{Build, element, item};

fn read(build: &Build) -> (Instance, Decoded) {
    let instance = Instance::from_bytes(&build.file()).unwrap();
    let decoded = instance.decode().unwrap();
    (instance, decoded)
}

fn shown(build: &Build) -> Vec<f32> {
    let (instance, decoded) = read(build);
    decoded.display(&instance, 0).unwrap().pixels
}

fn near(found: &[f32], wanted: &[f32]) {
    let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(found.len() >= wanted.len() && close, "{found:?} is not {wanted:?}");
}

/// Proves: REQ-IMG-013
#[test]
fn slope_and_intercept_make_measured_values_and_a_table_goes_before_them() {
    let mut build = Build::grey();
    build.text(0x0028_1052, b"DS", "-1024").text(0x0028_1053, b"DS", "2.5");
    let (instance, decoded) = read(&build);
    near(&decoded.modality(&instance, 0).unwrap().pixels, &[-1024.0, -1021.5, -1019.0]);
    let mut table = element(0x0028_3002, b"US", &[3, 0, 1, 0, 16, 0]);
    table.extend(element(0x0028_3006, b"OW", &[100, 0, 200, 0, 44, 1]));
    build.bytes(0x0028_3000, b"SQ", item(&table));
    let (instance, decoded) = read(&build);
    near(&decoded.modality(&instance, 0).unwrap().pixels, &[100.0, 100.0, 200.0, 300.0, 300.0]);
}

/// Proves: REQ-IMG-014
#[test]
fn padding_is_marked_left_out_of_statistics_and_shown_black() {
    let mut build = Build::grey();
    build.text(0x0028_1052, b"DS", "0").text(0x0028_1053, b"DS", "1");
    build.number(0x0028_0120, 3).number(0x0028_0121, 0).text(0x0028_0004, b"CS", "MONOCHROME1");
    let (instance, decoded) = read(&build);
    let image: Image<f32> = decoded.modality(&instance, 0).unwrap();
    assert_eq!(image.padding.as_ref().unwrap().iter().filter(|padded| **padded).count(), 4);
    assert_eq!(image.measured().count(), 8);
    let statistics = decoded.statistics(&instance).unwrap().unwrap();
    assert!((statistics.min - 4.0).abs() < 1e-9 && (statistics.mean - 7.5).abs() < 1e-9);
    // the lowest value that is no padding is white
    near(&decoded.display(&instance, 0).unwrap().pixels, &[0.0, 0.0, 0.0, 0.0, 1.0]);
}

/// Proves: REQ-IMG-015
#[test]
fn the_first_window_is_used_and_a_voi_table_before_it() {
    let mut build = Build::grey();
    build.text(0x0028_1050, b"DS", "5\\100").text(0x0028_1051, b"DS", "4\\1");
    build.text(0x0028_1056, b"CS", "LINEAR_EXACT");
    near(&shown(&build), &[0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
    build.text(0x0028_1056, b"CS", "LINEAR");
    near(&shown(&build), &[0.0, 0.0, 0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
    build.text(0x0028_1056, b"CS", "SIGMOID");
    assert!((shown(&build)[5] - 0.5).abs() < 1e-6);
    let mut table = element(0x0028_3002, b"US", &[2, 0, 4, 0, 8, 0]);
    table.extend(element(0x0028_3006, b"OW", &[51, 0, 255, 0]));
    build.bytes(0x0028_3010, b"SQ", item(&table));
    near(&shown(&build), &[0.2, 0.2, 0.2, 0.2, 0.2, 1.0, 1.0]);
}

/// Proves: REQ-IMG-016
#[test]
fn monochrome1_and_an_inverse_shape_are_inverted_once() {
    let mut build = Build::grey();
    let plain = shown(&build);
    near(&plain, &[0.0, 1.0 / 11.0]);
    build.text(0x0028_0004, b"CS", "MONOCHROME1");
    near(&shown(&build), &[1.0, 10.0 / 11.0]);
    build.text(0x2050_0020, b"CS", "INVERSE");
    near(&shown(&build), &[1.0, 10.0 / 11.0]);
    build.text(0x0028_0004, b"CS", "MONOCHROME2");
    near(&shown(&build), &[1.0, 10.0 / 11.0]);
}

fn eight_bits(samples: u16, photometric: &str, values: Vec<u8>) -> Build {
    let mut build = Build::grey();
    build.number(0x0028_0010, 1).number(0x0028_0011, 2).number(0x0028_0002, samples);
    for (tag, value) in [(0x0028_0100, 8), (0x0028_0101, 8), (0x0028_0102, 7)] {
        build.number(tag, value);
    }
    if samples > 1 {
        build.number(0x0028_0006, 0);
    }
    build.text(0x0028_0004, b"CS", photometric).bytes(0x7fe0_0010, b"OB", values);
    build
}

/// Proves: REQ-IMG-015
#[test]
fn eight_bits_without_a_window_are_shown_over_their_whole_range() {
    near(&shown(&eight_bits(1, "MONOCHROME2", vec![51, 102])), &[0.2, 0.4]);
}

/// Proves: REQ-IMG-016
#[test]
fn colour_spaces_and_palettes_become_red_green_and_blue() {
    let rgb = |build: &Build| {
        let (instance, decoded) = read(build);
        decoded.display_rgb(&instance, 0).unwrap().pixels
    };
    let red = rgb(&eight_bits(3, "RGB", vec![255, 0, 0, 0, 255, 0]));
    near(red.as_flattened(), &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let grey = rgb(&eight_bits(3, "YBR_FULL", vec![51, 128, 128, 255, 128, 128]));
    near(grey.as_flattened(), &[0.2, 0.2, 0.2, 1.0, 1.0, 1.0]);
    let shared = rgb(&eight_bits(3, "YBR_FULL_422", vec![51, 255, 128, 128]));
    near(shared.as_flattened(), &[0.2, 0.2, 0.2, 1.0, 1.0, 1.0]);
    let mut palette = eight_bits(1, "PALETTE COLOR", vec![10, 11]);
    for tag in [0x0028_1101, 0x0028_1102, 0x0028_1103] {
        palette.bytes(tag, b"US", vec![2, 0, 10, 0, 16, 0]);
    }
    palette.bytes(0x0028_1201, b"OW", vec![0, 0, 0xff, 0xff]);
    palette.bytes(0x0028_1202, b"OW", vec![0, 0, 0, 0]);
    palette.bytes(0x0028_1203, b"OW", vec![0xff, 0xff, 0, 0]);
    near(rgb(&palette).as_flattened(), &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    // and their luminance where grey is asked for
    near(&shown(&palette), &[0.114, 0.299]);
    palette.without(0x0028_1203);
    let (instance, decoded) = read(&palette);
    let error = decoded.display_rgb(&instance, 0).unwrap_err().to_string();
    assert!(error.starts_with("BluePaletteColorLookupTableData (0028,1203): absent"), "{error}");
}

/// Proves: REQ-IMG-014
#[test]
fn functional_groups_give_each_frame_its_own_transform_spacing_and_place() {
    let number = |tag, text: &str| element(tag, b"DS", text.as_bytes());
    let frame = |slope: &str, z: &str| {
        let transform = item(&[number(0x0028_1052, "0 "), number(0x0028_1053, slope)].concat());
        let place = item(&number(0x0020_0032, z));
        item(&[element(0x0020_9113, b"SQ", &place), element(0x0028_9145, b"SQ", &transform)].concat())
    };
    let shared = item(&element(0x0028_9110, b"SQ", &item(&number(0x0028_0030, "2\\3 "))));
    let mut build = Build::grey();
    build.number(0x0028_0010, 2).text(0x0028_0008, b"IS", "2");
    build.bytes(0x5200_9229, b"SQ", shared);
    build.bytes(0x5200_9230, b"SQ", [frame("1 ", "0\\0\\5 "), frame("10", "0\\0\\7 ")].concat());
    let (instance, decoded) = read(&build);
    let [first, second] = [0, 1].map(|frame| decoded.modality(&instance, frame).unwrap());
    near(&first.pixels, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    near(&second.pixels, &[60.0, 70.0, 80.0, 90.0, 100.0, 110.0]);
    let [row, column] = second.spacing.unwrap().map(|length| length.value());
    assert!((row - 2.0).abs() < 1e-9 && (column - 3.0).abs() < 1e-9);
    assert_eq!(instance.frame_geometry(1).1, Some([0.0, 0.0, 7.0]));
}
