//! What does not follow the standard and changes neither pixels nor identity: read, with a warning.

use vidimus_imaging::{Instance, Stored, Warning, inspect_bytes};

use crate::build::{Build, element, item};

fn check(bytes: &[u8], warning: Warning) {
    let instance = Instance::from_bytes(bytes).unwrap_or_else(|error| panic!("{warning:?}: {error}"));
    let decoded = instance.decode().unwrap();
    assert_eq!(decoded.stored, Stored::U16((0..12).collect()), "{warning:?}");
    let found = inspect_bytes("x", bytes.to_vec()).warnings;
    assert!(found.contains(&warning), "{warning:?} is not among {found:?}");
}

/// Proves: REQ-IMG-004
#[test]
fn a_missing_preamble_or_meta_group_is_recorded() {
    let file = Build::grey().file();
    check(&file[132..], Warning::PreambleMissing);
    check(&file[128..], Warning::PreambleMissing);
    check(&Build::grey().data_set(), Warning::MetaMissing);
}

/// Proves: REQ-IMG-004
#[test]
fn a_wrong_group_length_or_an_over_long_title_is_recorded() {
    let mut file = Build::grey().file();
    file[140] = 99;
    check(&file, Warning::MetaLength);
    let mut file = Build::grey().file();
    let title = element(0x0002_0016, b"AE", &[b' '; 18]);
    let place = 132 + 12 + 8 + 20;
    file.splice(place..place, title);
    check(&file, Warning::MetaValueTooLong);
}

/// Proves: REQ-IMG-004
#[test]
fn an_implicit_data_set_that_is_named_explicit_is_recognised() {
    let mut file = Build::grey().file();
    file.truncate(file.len() - Build::grey().data_set().len());
    for (tag, (_, value)) in &Build::grey().elements {
        file.extend(((tag >> 16) as u16).to_le_bytes());
        file.extend((*tag as u16).to_le_bytes());
        file.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        file.extend(value);
    }
    check(&file, Warning::EncodingOtherThanNamed);
}

/// Proves: REQ-IMG-004
#[test]
fn odd_lengths_stray_marks_and_bytes_after_the_pixels_are_recorded() {
    let mut build = Build::grey();
    build.bytes(0x0010_0010, b"PN", b"Doe^Ann".to_vec());
    check(&build.file(), Warning::OddLength);
    let mut file = Build::grey().file();
    file.extend([0; 64]);
    check(&file, Warning::TrailingBytes);
    let mut file = Build::grey().file();
    file.extend(b"\x01\x02\x03garbage that is no element");
    check(&file, Warning::TrailingBytes);
    let mut build = Build::grey();
    build.elements.get_mut(&0x7fe0_0010).unwrap().1.extend([1, 2, 3, 4]);
    check(&build.file(), Warning::TrailingBytes);
    let mut build = Build::grey();
    let mut inner = item(&[element(0x0008_0100, b"SH", b"A "), vec![0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0]].concat());
    inner.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    build.bytes(0x0008_2218, b"SQ", inner);
    check(&build.file(), Warning::StrayDelimiter);
}

/// Proves: REQ-IMG-004
#[test]
fn tags_out_of_order_are_read_and_two_values_of_one_attribute_are_not() {
    let append = |tag, vr: &[u8; 2], value: &[u8]| {
        let mut file = Build::grey().file();
        file.extend(element(tag, vr, value));
        file
    };
    check(&append(0x0028_0011, b"US", &[3, 0]), Warning::OrderOfTags);
    let error = Instance::from_bytes(&append(0x0028_0011, b"US", &[4, 0])).unwrap_err();
    assert!(error.to_string().starts_with("Columns (0028,0011): stands twice"));
}

/// Proves: REQ-IMG-004
#[test]
fn unknown_or_wrong_characters_are_flagged_and_the_image_read() {
    let mut build = Build::grey();
    build.text(0x0008_0005, b"CS", "ISO_IR 999");
    check(&build.file(), Warning::CharacterSet);
    let mut build = Build::grey();
    build.text(0x0008_0005, b"CS", "ISO_IR 192").bytes(0x0010_0010, b"PN", vec![0xff, 0xfe, b'^', b'A']);
    check(&build.file(), Warning::CharacterSet);
}

/// Proves: REQ-IMG-004
#[test]
fn names_are_read_in_their_character_set() {
    let name = |set: &str, bytes: &[u8]| {
        let mut build = Build::grey();
        build.text(0x0008_0005, b"CS", set).bytes(0x0010_0010, b"PN", bytes.to_vec());
        Instance::from_bytes(&build.file()).unwrap().patient.name.open().clone()
    };
    assert_eq!(name("ISO_IR 100", b"Buc^J\xe9r\xf4me"), "Buc^Jérôme");
    assert_eq!(name("ISO_IR 144", b"\xbb\xee\xdac"), "Люкc");
    assert_eq!(name("ISO_IR 192", "Wang^小东".as_bytes()), "Wang^小东");
}

/// Proves: REQ-IMG-004
#[test]
fn an_identifier_that_differs_from_the_meta_group_is_flagged_and_the_data_sets_is_used() {
    let mut file = Build::grey().file();
    file.splice(144..144, element(0x0002_0003, b"UI", b"9.9.9\0"));
    check(&file, Warning::MetaIdentifierDiffers);
    assert_eq!(Instance::from_bytes(&file).unwrap().sop_instance_uid.open(), "1.2.3.4");
}

/// Proves: REQ-IMG-017
#[test]
fn spacing_and_orientation_that_cannot_be_give_no_geometry() {
    let mut build = Build::grey();
    build.text(0x0028_0030, b"DS", "0\\0");
    check(&build.file(), Warning::Spacing);
    assert!(Instance::from_bytes(&build.file()).unwrap().spacing.is_none());
    let mut build = Build::grey();
    build.text(0x0020_0037, b"DS", "1\\0\\0\\1\\0\\0");
    check(&build.file(), Warning::Orientation);
    assert!(Instance::from_bytes(&build.file()).unwrap().orientation.is_none());
}
