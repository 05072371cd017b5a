//! The trunk against its golden tensors: computed elsewhere in f64, both padding cases.

use super::data;
use candle_core::{Device, Tensor, safetensors};
use vidimus_networks::efficientnet_lite0::{Parameters, Stages, Trunk};

/// The card's absolute tolerance; a wrong epsilon shows as 0.07 or more.
const TOLERANCE: f32 = 1e-3;

/// Proves: REQ-NET-001
#[test]
fn every_stage_of_the_trunk_agrees_with_the_golden_tensors() {
    let Some(folder) = data::trunk() else { return };
    let mut from = Parameters::from_safetensors(&std::fs::read(folder.join("trunk.safetensors")).unwrap()).unwrap();
    let trunk = Trunk::load(&mut from).unwrap();
    from.finish().unwrap();
    for case in ["even-96x80", "odd-75x101"] {
        let golden = safetensors::load(folder.join(format!("golden/{case}.safetensors")), &Device::Cpu).unwrap();
        let input = golden["input"].permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let Stages { stem, stage1, stage2, stage3, stage4, stage5 } = trunk.forward(&input).unwrap();
        let maps = [stem, stage1, stage2, stage3, stage4, stage5];
        for (name, map) in ["stem", "stage1", "stage2", "stage3", "stage4", "stage5"].iter().zip(maps) {
            let map = map.permute((0, 3, 1, 2)).unwrap();
            assert_eq!(map.dims(), golden[*name].dims());
            let worst = worst(&map, &golden[*name]);
            assert!(worst <= TOLERANCE, "{case} {name}: off by {worst}");
        }
    }
}

fn worst(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// Proves: REQ-NET-002
#[test]
fn one_grey_plane_stands_for_three_equal_ones() {
    let Some(folder) = data::trunk() else { return };
    let mut from = Parameters::from_safetensors(&std::fs::read(folder.join("trunk.safetensors")).unwrap()).unwrap();
    let trunk = Trunk::load(&mut from).unwrap();
    let grey = Tensor::rand(-1f32, 1f32, (1, 45, 52, 1), &Device::Cpu).unwrap();
    let three = Tensor::cat(&[&grey, &grey, &grey], 3).unwrap();
    let (one, three) = (trunk.forward(&grey).unwrap(), trunk.forward(&three).unwrap());
    assert!(worst(&one.stage5, &three.stage5) <= TOLERANCE);
}
