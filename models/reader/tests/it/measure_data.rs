//! Measures against real files: expert contours of the heart, labels of the hippocampus and of a whole brain.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde_json::Value;
use vidimus_imaging::{Instance, geometry::Slice, volume::read_nifti};
use vidimus_reader::measure::{
    Boundary, Contour, Measured, PixelSize, Section, SolidMask, VoxelSize, area, ejection_fraction, summed_volume,
    volume,
};

/// The data folder, or None with a word about it; with CI=true its absence is a failure.
fn data() -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = env::var_os("VIDIMUS_DATA").map_or_else(|| here.join("../../../shared/data"), PathBuf::from);
    if folder.join("dicom").is_dir() {
        return Some(folder);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "no data at {}", folder.display());
    println!("not run: no data at {}", folder.display());
    None
}

fn near(found: f64, wanted: &Value, within: f64) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() <= within, "{found}, not {wanted} within {within}");
}

fn contour(text: &str) -> Contour {
    let points = text.lines().map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        [numbers.next().unwrap(), numbers.next().unwrap()]
    });
    Contour::new(points.collect()).unwrap()
}

/// Volumes of the inner contours by polygon and by pixels, at the end of filling and of emptying. Outer contours exist
/// at the end of filling only, which tells the phases apart.
fn volumes(case: &Value, folder: &std::path::Path) -> [[Measured; 2]; 2] {
    let mut sections: [[Vec<Section>; 2]; 2] = Default::default();
    for record in case["slices"].as_array().unwrap() {
        let name = record["file"].as_str().unwrap().trim_end_matches(".dcm");
        let Ok(text) = fs::read_to_string(folder.join("i-contours").join(format!("{name}-icontour-manual.txt"))) else {
            continue;
        };
        let outer = folder.join("o-contours").join(format!("{name}-ocontour-manual.txt"));
        let instance = Instance::open(folder.join("dicom").join(format!("{name}.dcm"))).unwrap();
        let size = PixelSize::of(instance.spacing.as_ref()).unwrap();
        let (orientation, position) = (instance.orientation.unwrap(), instance.position.unwrap());
        let description = instance.description().unwrap();
        let slice = Slice { orientation, position };
        let inner = contour(&text);
        let drawn = inner.area(&size, Boundary::Grid);
        near(drawn.value(), &record["i_polygon_area_mm2"], 1e-3);
        let mask = inner.mask(description.rows as usize, description.columns as usize).unwrap();
        near(mask.count() as f64, &record["i_mask_pixels"], 0.0);
        let phase = usize::from(!outer.exists());
        sections[phase][0].push(Section { slice, area: drawn });
        sections[phase][1].push(Section { slice, area: area(&mask, &size, Boundary::Grid) });
    }
    sections.map(|ways| ways.map(|sections| summed_volume(&sections).unwrap()))
}

/// Proves: REQ-MEA-006
#[test]
fn expert_contours_of_the_heart_give_the_published_cases_ejection_fractions() {
    let Some(folder) = data() else { return };
    let expected: Value = serde_json::from_slice(&fs::read(folder.join("dicom/expected.json")).unwrap()).unwrap();
    let stated = BTreeMap::from([("SC-HF-I-1", 26.2), ("SC-HF-I-4", 21.8)]);
    for case in expected["cardiac_lv"].as_array().unwrap() {
        let name = case["case"].as_str().unwrap();
        let [diastole, systole] = volumes(case, &folder.join("dicom/cardiac-lv").join(name));
        for (way, wanted) in [(0, case), (1, &case["by_pixel_mask"])] {
            near(diastole[way].value(), &wanted["edv_ml"], 0.02);
            near(systole[way].value(), &wanted["esv_ml"], 0.02);
            let fraction = ejection_fraction(&diastole[way], &systole[way], 0.0).unwrap();
            near(fraction.value(), &wanted["ejection_fraction_percent"], 0.005);
            let spread = fraction.spread();
            assert!(spread.low < fraction.value() && fraction.value() < spread.high);
            println!("{name}: {:.2} % (standard uncertainty {:.2})", fraction.value(), spread.standard);
        }
        let by_contour = ejection_fraction(&diastole[0], &systole[0], 0.0).unwrap().value();
        assert!((by_contour - stated[name]).abs() < 0.05, "{name}: {by_contour}");
    }
}

/// The files of an uncompressed tape archive, by name.
fn archive(bytes: &[u8]) -> BTreeMap<String, &[u8]> {
    let mut files = BTreeMap::new();
    let text = |field: &[u8]| String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
    let mut at = 0;
    while at + 512 <= bytes.len() && bytes[at] != 0 {
        let size = usize::from_str_radix(text(&bytes[at + 124..at + 135]).trim(), 8).unwrap();
        files.insert(text(&bytes[at..at + 100]), &bytes[at + 512..at + 512 + size]);
        at += 512 + size.div_ceil(512) * 512;
    }
    files
}

/// Proves: REQ-MEA-003
#[test]
fn labelled_hippocampi_have_the_volumes_of_their_table() {
    let Some(folder) = data() else { return };
    let bytes = fs::read(folder.join("hippocampus/hippocampus.tar")).unwrap();
    let files = archive(&bytes);
    let table = fs::read_to_string(folder.join("hippocampus/labels.csv")).unwrap();
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = |name: &str| head.iter().position(|found| *found == name).unwrap();
    let mut seen = 0;
    for row in lines {
        let labels = read_nifti(files[row[column("mask")]]).unwrap().volume;
        let size = VoxelSize::of(&labels.affine).unwrap();
        for (label, name) in [(1, "anterior_mm3"), (2, "posterior_mm3")] {
            let mask = SolidMask::of_label(&labels, label).unwrap();
            let wanted: f64 = row[column(name)].parse().unwrap();
            assert!((volume(&mask, &size, Boundary::Grid).value() - wanted).abs() < 0.01, "{}", row[column("mask")]);
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen} volumes");
}

/// Proves: REQ-MEA-003
#[test]
fn the_labels_of_a_whole_brain_have_the_volumes_of_their_card() {
    let Some(folder) = data() else { return };
    let golden = folder.join("weights/meshnet-subcortical/golden");
    let labels = read_nifti(&fs::read(golden.join("t1_crop_labels.nii.gz")).unwrap()).unwrap().volume;
    let card: Value = serde_json::from_slice(&fs::read(golden.join("t1_crop_volumes.json")).unwrap()).unwrap();
    let size = VoxelSize::of(&labels.affine).unwrap();
    for label in [3, 7, 14] {
        let mask = SolidMask::of_label(&labels, label).unwrap();
        near(volume(&mask, &size, Boundary::Grid).value(), &card["volume_mm3"][label.to_string()], 0.01);
    }
}
