//! Every accepted transfer syntax against values that foreign programs made (tests/data/README.md).

use std::{collections::BTreeSet, fs, path::PathBuf};

use vidimus_imaging::{Instance, Stored, syntaxes::SYNTAXES};

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Names of the samples, type of their values, tolerance.
pub(crate) fn names() -> Vec<(String, String, f64)> {
    let table = fs::read_to_string(folder().join("expected.tsv")).unwrap();
    let line = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        (parts[0].to_owned(), parts[1].to_owned(), parts[2].parse().unwrap())
    };
    table.lines().map(line).collect()
}

fn values(bytes: &[u8], kind: &str) -> Vec<f64> {
    let size: usize = kind[2..].parse().unwrap();
    let one = |part: &[u8]| match kind {
        "|u1" => f64::from(part[0]),
        "|i1" => f64::from(part[0].cast_signed()),
        "<u2" => f64::from(u16::from_le_bytes(part.try_into().unwrap())),
        "<i2" => f64::from(i16::from_le_bytes(part.try_into().unwrap())),
        "<u4" => f64::from(u32::from_le_bytes(part.try_into().unwrap())),
        "<f4" => f64::from(f32::from_le_bytes(part.try_into().unwrap())),
        other => panic!("type {other}"),
    };
    bytes.chunks_exact(size).map(one).collect()
}

/// Proves: REQ-IMG-006, REQ-IMG-007, REQ-IMG-008, REQ-IMG-009, REQ-IMG-010, REQ-IMG-011
#[test]
fn every_sample_decodes_to_the_values_of_another_programs_decoder() {
    for (name, kind, tolerance) in names() {
        let instance = Instance::open(folder().join(format!("{name}.dcm"))).unwrap();
        let decoded = instance.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
        let wanted = values(&fs::read(folder().join(format!("{name}.values"))).unwrap(), &kind);
        let found: Vec<f64> = decoded.stored.floats(0..decoded.stored.len()).collect();
        assert_eq!(found.len(), wanted.len(), "{name}");
        let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance, "{name}: off by {worst}, allowed {tolerance}");
        let type_name = match kind.as_str() {
            "|u1" => "u8",
            "<u2" => "u16",
            "<i2" => "i16",
            "<u4" => "u32",
            _ => "f32",
        };
        assert_eq!(decoded.stored.type_name(), type_name, "{name}");
    }
}

/// Proves: REQ-IMG-001
#[test]
fn every_row_of_the_syntax_table_has_a_sample() {
    let found: BTreeSet<String> = names()
        .iter()
        .map(|(name, ..)| Instance::open(folder().join(format!("{name}.dcm"))).unwrap().transfer_syntax_uid)
        .collect();
    let rows: BTreeSet<String> = SYNTAXES.iter().map(|row| row.uid.to_owned()).collect();
    assert_eq!(found, rows);
}

/// Proves: REQ-IMG-012
#[test]
fn the_pixel_digest_is_the_same_for_all_lossless_syntaxes_of_one_image() {
    let digest = |name: &str| {
        let decoded = Instance::open(folder().join(format!("{name}.dcm"))).unwrap().decode().unwrap();
        (decoded.pixel_digest(), decoded.stored_sha256())
    };
    // these four were written from one array
    let same = ["implicit-little-s12", "explicit-little-s12", "explicit-big-s12", "deflated-s12"].map(digest);
    assert!(same.iter().all(|one| *one == same[0]));
    // the header separates images whose bare values are equal
    assert_ne!(same[0].0, same[0].1);
}

/// Proves: REQ-IMG-012
#[test]
fn the_pixel_digest_tells_a_row_from_a_column() {
    let mut upright = crate::build::Build::grey();
    let flat = upright.clone();
    upright.number(0x0028_0010, 3).number(0x0028_0011, 4);
    let digests = [upright, flat].map(|build| {
        let decoded = Instance::from_bytes(&build.file()).unwrap().decode().unwrap();
        assert_eq!(decoded.stored, Stored::U16((0..12).collect()));
        (decoded.stored_sha256(), decoded.pixel_digest())
    });
    assert_eq!(digests[0].0, digests[1].0);
    assert_ne!(digests[0].1, digests[1].1);
}
