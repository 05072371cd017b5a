//! Numbers of 16 bits for a screen, and what they mean: exact for every sample of up to 16 bits.

use vidimus_imaging::{Decoded, Instance, Stored, Viewing, WindowFunction};

use crate::{
    build::{Build, element, item},
    samples,
};

fn read(build: &Build) -> (Instance, Decoded, Viewing) {
    let instance = Instance::from_bytes(&build.file()).unwrap();
    let decoded = instance.decode().unwrap();
    let viewing = decoded.viewing(&instance).unwrap();
    (instance, decoded, viewing)
}

fn measured(viewing: &Viewing, numbers: &[u16]) -> Vec<f64> {
    numbers.iter().map(|number| viewing.slope * f64::from(*number) + viewing.intercept).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * (1.0 + b.abs())
}

/// Proves: REQ-SVC-200
#[test]
fn numbers_of_every_sample_mean_its_measured_values() {
    let mut exact = 0;
    for (name, ..) in samples::names() {
        let instance = Instance::open(samples::folder().join(format!("{name}.dcm"))).unwrap();
        let decoded = instance.decode().unwrap();
        let viewing = decoded.viewing(&instance).unwrap();
        assert!(!viewing.windows.is_empty() && viewing.min <= viewing.max, "{name}");
        for frame in 0..viewing.frames as usize {
            let numbers = decoded.numbers(&instance, frame).unwrap().unwrap();
            assert_eq!(numbers.len(), (viewing.rows * viewing.columns) as usize, "{name}");
            if !decoded.description.photometric.grey() {
                continue;
            }
            let wanted = decoded.modality(&instance, frame).unwrap().pixels;
            let narrow = !matches!(decoded.stored, Stored::U32(_) | Stored::I32(_) | Stored::F32(_) | Stored::F64(_));
            let off = if narrow { 0.0 } else { viewing.slope.abs() / 2.0 };
            for (found, wanted) in measured(&viewing, &numbers).into_iter().zip(&wanted) {
                let wanted = f64::from(*wanted);
                assert!(near(found, wanted) || (found - wanted).abs() <= off * 1.001, "{name}: {found}, not {wanted}");
            }
            exact += usize::from(narrow);
        }
        assert_eq!(decoded.numbers(&instance, viewing.frames as usize).unwrap(), None, "{name}");
    }
    assert!(exact > 20, "{exact} frames of up to 16 bits were compared");
}

/// Proves: REQ-SVC-200
#[test]
fn signed_values_padding_included_are_moved_by_half_their_range_and_the_intercept_takes_it_back() {
    let mut build = Build::grey();
    let values: Vec<u8> = (-6..6_i16).flat_map(i16::to_le_bytes).collect();
    build.number(0x0028_0103, 1).bytes(0x7fe0_0010, b"OW", values);
    build.bytes(0x0028_0120, b"SS", (-6_i16).to_le_bytes().to_vec());
    build.text(0x0028_1052, b"DS", "-1000").text(0x0028_1053, b"DS", "2").text(0x0028_1054, b"LO", "HU");
    let (instance, decoded, viewing) = read(&build);
    let numbers = decoded.numbers(&instance, 0).unwrap().unwrap();
    assert_eq!(numbers, (32_762..32_774).collect::<Vec<u16>>());
    assert!(near(measured(&viewing, &numbers)[0], -1_012.0) && near(measured(&viewing, &numbers)[11], -990.0));
    assert!(near(viewing.min, -1_010.0) && near(viewing.max, -990.0), "padding is no measured value");
    assert_eq!((viewing.unit.as_deref(), viewing.bits, viewing.invert), (Some("HU"), 16, false));
}

/// Proves: REQ-SVC-200
#[test]
fn windows_come_with_their_explanation_and_without_one_the_whole_range_is_shown() {
    let mut build = Build::grey();
    let (instance, decoded, viewing) = read(&build);
    let [(window, _)] = viewing.windows.as_slice() else { panic!("{:?}", viewing.windows) };
    // the window is the display transform's own
    let grey = decoded.display(&instance, 0).unwrap().pixels;
    for (number, shown) in decoded.numbers(&instance, 0).unwrap().unwrap().into_iter().zip(grey) {
        assert!((window.grey(f64::from(number)) - f64::from(shown)).abs() < 1e-6);
    }
    build.text(0x0028_1050, b"DS", "5\\100").text(0x0028_1051, b"DS", "4\\1");
    build.text(0x0028_1055, b"LO", "LUNG\\BONE").text(0x0028_0004, b"CS", "MONOCHROME1");
    let (_, _, viewing) = read(&build);
    let names: Vec<Option<&str>> = viewing.windows.iter().map(|(_, name)| name.as_deref()).collect();
    assert_eq!(names, [Some("LUNG"), Some("BONE")]);
    assert_eq!((viewing.windows[0].0.function, viewing.invert), (WindowFunction::Linear, true));
    build.text(0x0028_1055, b"LO", "LUNG");
    let (_, _, viewing) = read(&build);
    assert!(viewing.windows.iter().all(|(_, name)| name.is_none()), "nobody knows which one it explains");
}

/// Proves: REQ-SVC-200
#[test]
fn a_table_is_applied_and_frames_of_another_transform_are_said_in_the_terms_of_the_first() {
    let mut build = Build::grey();
    let mut table = element(0x0028_3002, b"US", &[3, 0, 1, 0, 12, 0]);
    table.extend(element(0x0028_3006, b"OW", &[100, 0, 200, 0, 44, 1]));
    build.bytes(0x0028_3000, b"SQ", item(&table));
    let (instance, decoded, viewing) = read(&build);
    assert_eq!(decoded.numbers(&instance, 0).unwrap().unwrap()[..5], [100, 100, 200, 300, 300]);
    assert_eq!((viewing.slope.to_bits(), viewing.bits), (1.0_f64.to_bits(), 12));

    let number = |tag, text: &str| element(tag, b"DS", text.as_bytes());
    let frame = |slope: &str| {
        let transform = item(&[number(0x0028_1052, "0 "), number(0x0028_1053, slope)].concat());
        item(&element(0x0028_9145, b"SQ", &transform))
    };
    let mut build = Build::grey();
    build.number(0x0028_0010, 2).text(0x0028_0008, b"IS", "2");
    build.bytes(0x5200_9230, b"SQ", [frame("1 "), frame("10")].concat());
    let (instance, decoded, _) = read(&build);
    assert_eq!(decoded.numbers(&instance, 0).unwrap().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(decoded.numbers(&instance, 1).unwrap().unwrap(), [60, 70, 80, 90, 100, 110]);
}
