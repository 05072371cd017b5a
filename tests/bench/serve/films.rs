//! Films to send: the samples of the repository under new identifiers, and one instance of a clinic's size.

use std::{
    fs,
    io::Cursor,
    sync::atomic::{AtomicU64, Ordering},
};

use vidimus_imaging::import::{ImportFacts, picture_to_instance};
use vidimus_log::Phi;
use vidimus_tests::root;

/// What every identifier of the samples begins with.
const UUID_ROOT: &[u8] = b"2.25.";
/// Their patients: `DEMO-0001` and so on.
const PATIENT: &[u8] = b"DEMO-";

/// A film that no site holds.
pub(crate) struct Film {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its study.
    pub(crate) study: String,
}

impl Film {
    /// A STOW-RS body that holds it, with the boundary `b`.
    pub(crate) fn body(&self) -> Vec<u8> {
        let head = b"--b\r\nContent-Type: application/dicom\r\n\r\n".as_slice();
        [head, &self.bytes, b"\r\n--b--\r\n"].concat()
    }
}

/// Makes films.
pub(crate) struct Films {
    samples: Vec<Vec<u8>>,
    next: AtomicU64,
}

impl Films {
    /// The twelve samples.
    pub(crate) fn new() -> Self {
        let path = |number| root().join(format!("service/samples/sample-{number:02}.dcm"));
        let samples = (1..=12).map(|number| fs::read(path(number)).expect("the samples are in the repository"));
        Self { samples: samples.collect(), next: AtomicU64::new(1) }
    }

    /// A sample with identifiers of its own; each patient has two studies.
    pub(crate) fn next(&self) -> Film {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.samples[number as usize % self.samples.len()].clone();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        let mut study = String::new();
        while let Some(place) = find(&bytes, UUID_ROOT, at) {
            let length = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
            let old = bytes[place..place + length].to_vec();
            let sort = seen.iter().position(|known| *known == old).unwrap_or_else(|| {
                seen.push(old);
                seen.len() - 1
            });
            let new = format!("2.25.1{:0width$}", number * 16 + sort as u64, width = length - 6);
            bytes[place..place + length].copy_from_slice(new.as_bytes());
            // (0020,000D), explicit VR, stands eight bytes before its value.
            if place >= 8 && bytes[place - 8..place - 4] == [0x20, 0, 0x0d, 0] {
                study = new;
            }
            at = place + length;
        }
        if let Some(place) = find(&bytes, PATIENT, 0) {
            bytes[place..place + 9].copy_from_slice(format!("B{:08}", number / 2).as_bytes());
        }
        assert!(!study.is_empty(), "a sample names its study");
        Film { bytes, study }
    }

    /// An uncompressed instance of 8 MB.
    pub(crate) fn large(&self) -> Film {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut noise = number;
        let pixels = image::GrayImage::from_fn(2_828, 2_828, |x, y| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            image::Luma([((x + y) / 24) as u8 ^ (noise >> 61) as u8])
        });
        let mut png = Cursor::new(Vec::new());
        pixels.write_to(&mut png, image::ImageFormat::Png).expect("a picture in memory can be written");
        let study = format!("2.25.2{number}");
        let facts = ImportFacts {
            modality: Some("DX".into()),
            patient_id: Some(Phi::new(format!("B{number:08}"))),
            study_instance_uid: Some(study.clone()),
            series_instance_uid: Some(format!("2.25.3{number}")),
            sop_instance_uid: Some(format!("2.25.4{number}")),
            ..ImportFacts::default()
        };
        Film { bytes: picture_to_instance(&png.into_inner(), &facts).expect("a picture becomes an instance"), study }
    }
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|window| window == what).map(|place| from + place)
}
