//! The hippocampal protocol, held to the figures of its authors' program on their own example.

use std::path::PathBuf;
use vidimus_imaging::volume::read_nifti;
use vidimus_imaging::{Affine, Volume};
use vidimus_networks::import::read_weights;
use vidimus_reader::{Hippodeep, ProtocolError};

fn folder() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var_os("VIDIMUS_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if data.is_dir() {
        return Some(data.join("weights/hippodeep"));
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no data at {}", data.display());
    eprintln!("not run: no data at {}", data.display());
    None
}

/// Proves: REQ-NET-107
#[test]
fn the_volumes_of_the_authors_example_are_theirs_and_a_volume_without_contrast_is_refused() {
    let Some(folder) = folder() else { return };
    let weights = ["head", "affine", "hippo"]
        .map(|name| read_weights(&std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap()).unwrap().0);
    let hippodeep = Hippodeep::new(weights).unwrap();
    let nifti = read_nifti(&std::fs::read(folder.join("samples/example_brain_t1.nii.gz")).unwrap()).unwrap();
    let volume = Volume { affine: nifti.qform.unwrap(), ..nifti.volume };
    let found = hippodeep.measure(&volume).unwrap();
    let expected = [(found.intracranial_mm3, 1_439_994.0), (found.left_mm3, 3160.55), (found.right_mm3, 3343.78)];
    for (found, expected) in expected {
        eprintln!("hippodeep | {found:.2} mm3 | {expected:.2} mm3");
        assert!((found / expected - 1.0).abs() < 0.002, "{found} against {expected} mm3");
    }
    assert_eq!(found.brain.shape, volume.shape);
    let one = Affine([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    let flat = Volume::new([4, 4, 4], vec![7.0; 64], one).unwrap();
    assert!(matches!(hippodeep.measure(&flat), Err(ProtocolError::Flat)));
}
