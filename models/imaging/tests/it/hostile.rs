//! No input makes the reader panic, hang or take memory without bound: mutations of every sample, and plain noise.

use std::{fs, panic::catch_unwind, sync::OnceLock};

use proptest::prelude::*;
use vidimus_imaging::{Instance, inspect_bytes};

use crate::{
    build::{Build, fragments},
    samples,
};

fn all() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let file = |(name, ..): (String, String, f64)| fs::read(samples::folder().join(format!("{name}.dcm"))).unwrap();
        samples::names().into_iter().map(file).collect()
    })
}

/// Everything that the crate does with a file.
fn exercise(bytes: &[u8]) {
    let _ = inspect_bytes("x", bytes.to_vec());
    let Ok(instance) = Instance::from_bytes(bytes) else { return };
    let Ok(decoded) = instance.decode() else { return };
    let _ = (decoded.pixel_digest(), decoded.display(&instance, 0), decoded.display_rgb(&instance, 0));
    let _ = (decoded.viewing(&instance), decoded.numbers(&instance, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Proves: REQ-IMG-024
    #[test]
    fn no_mutation_of_a_sample_makes_the_reader_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = all()[which.index(all().len())].clone();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert!(catch_unwind(|| exercise(&bytes)).is_ok());
    }

    /// Proves: REQ-IMG-024
    #[test]
    fn no_noise_in_the_place_of_a_code_stream_makes_a_decoder_panic(
        codec in prop::sample::select(vec![
            "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80",
            "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut build = Build::grey();
        build.syntax = codec;
        build.bytes(0x7fe0_0010, b"OB", fragments(&[], &[&noise]));
        prop_assert!(catch_unwind(|| exercise(&build.file())).is_ok());
    }

    /// Proves: REQ-IMG-024
    #[test]
    fn no_bytes_at_all_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(catch_unwind(|| exercise(&bytes)).is_ok());
        let after_magic = [&[0; 128][..], b"DICM\x02\x00", &bytes].concat();
        prop_assert!(catch_unwind(|| exercise(&after_magic)).is_ok());
    }
}
