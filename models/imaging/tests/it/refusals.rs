//! What must be refused, each with an error that names the attribute; limits just below and just above.

use vidimus_imaging::{ImagingError, Instance, inspect_bytes, limits};

use crate::build::{Build, element, fragments, item};

fn error(bytes: &[u8]) -> String {
    let read = Instance::from_bytes(bytes).and_then(|instance| {
        let decoded = instance.decode()?;
        decoded.modality(&instance, 0)
    });
    match read {
        Ok(_) => panic!("it was read"),
        Err(error) => error.to_string(),
    }
}

fn check(change: impl FnOnce(&mut Build) -> &mut Build, named: &str) {
    let mut build = Build::grey();
    change(&mut build);
    let found = error(&build.file());
    assert!(found.starts_with(named), "{found}, wanted {named}");
    assert_eq!(inspect_bytes("x", build.file()).error.as_deref(), Some(found.as_str()));
}

/// Proves: REQ-IMG-002
#[test]
fn each_impossible_attribute_is_named() {
    check(|file| file.number(0x0028_0010, 0), "Rows (0028,0010): expected 1 to 65535");
    check(|file| file.number(0x0028_0011, 0), "Columns (0028,0011)");
    check(|file| file.without(0x0028_0010), "Rows (0028,0010): absent");
    check(|file| file.number(0x0028_0002, 2), "SamplesPerPixel (0028,0002): expected 1 or 3");
    check(|file| file.number(0x0028_0100, 7), "BitsAllocated (0028,0100)");
    check(|file| file.number(0x0028_0100, 0), "BitsAllocated (0028,0100)");
    check(|file| file.number(0x0028_0100, 12), "BitsAllocated (0028,0100)");
    check(|file| file.number(0x0028_0101, 24), "BitsStored (0028,0101)");
    check(|file| file.number(0x0028_0101, 12), "HighBit (0028,0102): expected 11");
    check(|file| file.number(0x0028_0103, 2), "PixelRepresentation (0028,0103)");
    check(|file| file.text(0x0028_0004, b"CS", "CMYK"), "PhotometricInterpretation (0028,0004)");
    check(|file| file.text(0x0028_0004, b"CS", "RGB"), "SamplesPerPixel (0028,0002): expected 3 for RGB");
    check(|file| file.text(0x0028_0008, b"IS", "1A"), "NumberOfFrames (0028,0008): expected a whole number");
    check(|file| file.text(0x0028_0008, b"IS", "-1"), "NumberOfFrames (0028,0008)");
    check(|file| file.text(0x0028_0008, b"IS", "1000"), "PixelData (7FE0,0010): 24 bytes");
    check(|file| file.without(0x7fe0_0010), "PixelData (7FE0,0010): absent");
    check(|file| file.bytes(0x7fe0_0010, b"OW", Vec::new()), "PixelData (7FE0,0010): 0 bytes");
    check(|file| file.text(0x0028_1053, b"DS", "0").text(0x0028_1052, b"DS", "0"), "RescaleSlope (0028,1053)");
}

/// Proves: REQ-IMG-002
#[test]
fn a_picture_that_cannot_be_held_is_refused_before_memory_is_taken() {
    check(|file| file.number(0x0028_0010, 60_000).number(0x0028_0011, 60_000), "Rows (0028,0010) x Columns");
    check(
        |file| file.number(0x0028_0010, 8_192).number(0x0028_0011, 8_192).text(0x0028_0008, b"IS", "199999"),
        "NumberOfFrames (0028,0008) x bytes of a frame",
    );
    check(|file| file.text(0x0028_0008, b"IS", "200001"), "NumberOfFrames (0028,0008): 200001, at most 200000");
}

/// Proves: REQ-IMG-003
#[test]
fn a_length_beyond_the_end_is_refused() {
    let mut build = Build::grey();
    let pixels = build.elements.remove(&0x7fe0_0010).unwrap().1;
    let mut file = build.file();
    let mut last = element(0x7fe0_0010, b"OW", &pixels);
    last[8..12].copy_from_slice(&4_294_967_294_u32.to_le_bytes());
    file.extend(last);
    assert!(error(&file).starts_with("PixelData (7FE0,0010): declares 4294967294 bytes, 24 are left"));
    let cut = Build::grey().file();
    assert!(error(&cut[..cut.len() - 5]).starts_with("PixelData (7FE0,0010): declares 24 bytes, 19 are left"));
}

fn nested(levels: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..levels {
        inner = element(0x0040_a730, b"SQ", &item(&inner));
    }
    let mut build = Build::grey();
    build.elements.insert(0x0040_a730, (b"SQ", inner[12..].to_vec()));
    build.file()
}

/// Proves: REQ-IMG-003
#[test]
fn nesting_is_followed_to_the_limit_and_no_further() {
    assert!(Instance::from_bytes(&nested(limits::DEPTH_MAX)).is_ok());
    let beyond = Instance::from_bytes(&nested(limits::DEPTH_MAX + 1)).unwrap_err();
    assert!(matches!(beyond, ImagingError::Limit { found: 65, limit: 64, .. }), "{beyond}");
}

/// Proves: REQ-IMG-003
#[test]
fn elements_are_counted_to_the_limit_and_no_further() {
    let with = |count: usize| {
        let mut build = Build::grey();
        build.syntax = "1.2.840.10008.1.2";
        build.elements.clear();
        let mut file = build.file();
        // empty elements of rising private tags, implicit
        for number in 0..count {
            let tag = 0x0009_1000 + ((number >> 15) << 17) as u32 + (number & 0x7fff) as u32;
            file.extend(((tag >> 16) as u16).to_le_bytes());
            file.extend((tag as u16).to_le_bytes());
            file.extend([0; 4]);
        }
        Instance::from_vec(file)
    };
    assert!(with(limits::ELEMENTS_MAX).is_ok());
    let beyond = with(limits::ELEMENTS_MAX + 1).unwrap_err().to_string();
    assert!(beyond.starts_with("data elements: 2000001, at most 2000000"), "{beyond}");
}

/// Proves: REQ-IMG-003
#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // a sparse file: nothing is written
    file.as_file().set_len(limits::FILE_BYTES_MAX + 1).unwrap();
    let error = Instance::open(file.path()).unwrap_err();
    assert!(matches!(error, ImagingError::Limit { what: "bytes of the file", .. }), "{error}");
    let folder = Instance::open(std::env::temp_dir()).unwrap_err().to_string();
    assert!(folder.starts_with("not a DICOM file: the path is no plain file"), "{folder}");
}

/// Proves: REQ-IMG-004
#[test]
fn what_is_no_dicom_file_says_so() {
    for bytes in [&b""[..], b"plain text that goes on for a while, longer than any header", &[0; 300]] {
        assert!(error(bytes).starts_with("not a DICOM file"));
    }
    let mut magic = vec![0; 128];
    magic.extend(b"DICM");
    assert!(error(&magic).contains("no file meta group"));
    let file = Build::grey().file();
    assert!(error(&file[..150]).contains("(0002,"));
}

/// Proves: REQ-IMG-001
#[test]
fn a_syntax_outside_the_table_is_refused_by_its_identifier() {
    for uid in ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.826.0.1.3680043.2.494.1.1"] {
        let mut build = Build::grey();
        build.syntax = uid;
        assert!(error(&build.file()).contains(&format!("TransferSyntaxUID (0002,0010): {uid} is not accepted")));
    }
}

/// Proves: REQ-IMG-005
#[test]
fn fragments_that_fit_no_frame_are_refused() {
    let encapsulated = |table: &[u32], parts: &[&[u8]], frames: &str| {
        let mut build = Build::grey();
        build.syntax = "1.2.840.10008.1.2.1.98";
        build.text(0x0028_0008, b"IS", frames).bytes(0x7fe0_0010, b"OB", fragments(table, parts));
        build.file()
    };
    let whole = &[7_u8; 24][..];
    assert!(error(&encapsulated(&[], &[], "1")).contains("no fragment"));
    assert!(error(&encapsulated(&[], &[whole], "2")).contains("1 fragments for 2 frames"));
    assert!(error(&encapsulated(&[], &[whole, whole, whole], "2")).contains("cannot be assigned"));
    assert!(error(&encapsulated(&[], &[&[7; 22]], "1")).contains("22 bytes, 24 are needed"));
    // two frames of two fragments each, told apart by the table
    let half = &[7_u8; 12][..];
    let file = encapsulated(&[0, 40], &[half, half, half, half], "2");
    assert!(Instance::from_bytes(&file).unwrap().decode().is_ok());
    let native = {
        let mut build = Build::grey();
        build.syntax = "1.2.840.10008.1.2.4.50";
        build.file()
    };
    assert!(error(&native).contains("not encapsulated"));
    let mut cut = encapsulated(&[], &[whole], "1");
    cut.truncate(cut.len() - 8);
    assert!(error(&cut).contains("ends before its items do"));
}

/// Proves: REQ-IMG-007
#[test]
fn a_run_length_frame_cannot_grow_or_point_outside() {
    let rle = |header: &[u32], segment: &[u8]| {
        let mut frame: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
        frame.resize(64, 0);
        frame.extend(segment);
        let mut build = Build::grey();
        build.syntax = "1.2.840.10008.1.2.5";
        for (tag, value) in [(0x0028_0100, 8), (0x0028_0101, 8), (0x0028_0102, 7)] {
            build.number(tag, value);
        }
        build.bytes(0x7fe0_0010, b"OB", fragments(&[], &[&frame]));
        build.file()
    };
    assert!(error(&rle(&[200, 64], &[245, 9])).contains("RLE header: 200 segments, 1 are needed"));
    assert!(error(&rle(&[1, 9999], &[245, 9])).contains("lies outside the frame"));
    assert!(error(&rle(&[1, 64], &[250, 9])).contains("ends early"));
    // a bomb stops at the image's twelve bytes
    let bomb: Vec<u8> = [129, 9].repeat(20_000);
    assert_eq!(Instance::from_bytes(&rle(&[1, 64], &bomb)).unwrap().decode().unwrap().stored.len(), 12);
}

/// Proves: REQ-IMG-002
#[test]
fn an_error_never_repeats_a_patients_data() {
    let mut build = Build::grey();
    build.text(0x0028_0008, b"IS", "Doe Jane").text(0x0010_0010, b"PN", "Secret^Name");
    let instance = Instance::from_bytes(&build.file()).unwrap();
    let texts = [error(&build.file()), format!("{instance:?}"), format!("{:?}", instance.decode().err())];
    for text in texts {
        assert!(!text.contains("Doe") && !text.contains("Secret"), "{text}");
    }
}
