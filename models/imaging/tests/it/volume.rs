//! Volumes: NIfTI read and written, series put together, turned, resampled and brought back; what is no volume is
//! named.

use crate::build::Build;
use proptest::prelude::*;
use vidimus_imaging::volume::{Interpolation, directions, read_nifti, series_volume, write_nifti};
use vidimus_imaging::{Affine, Instance, Volume, VolumeError};

/// Header fields: place and bytes.
type Fields<'a> = &'a [(usize, &'a [u8])];

/// A volume whose values say where they lie.
fn counted(shape: [usize; 3], affine: Affine) -> Volume {
    let values = (0..shape.iter().product::<usize>()).map(|at| at as f32).collect();
    Volume::new(shape, values, affine).unwrap()
}

/// Voxels of 1, 2 and 3 mm, axes towards left, inferior, anterior, a little oblique.
fn oblique() -> Affine {
    Affine([[-0.995, 0.05, 0.2, 40.0], [0.06, 0.1, 2.98, -7.0], [0.05, -1.99, 0.3, 12.0]])
}

/// An uncompressed file: header fields at their places, voxels behind.
fn file(fields: Fields<'_>, voxels: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; 352];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &348i32.to_le_bytes());
    for (at, value) in [(40, 3i16), (42, 2), (44, 3), (46, 1), (70, 4), (72, 16)] {
        put(at, &value.to_le_bytes());
    }
    for (at, value) in [(76, 1.0f32), (80, 1.0), (84, 2.0), (88, 3.0), (108, 352.0)] {
        put(at, &value.to_le_bytes());
    }
    put(123, &[2]);
    put(344, b"n+1\0");
    for (at, part) in fields {
        put(*at, part);
    }
    bytes.extend_from_slice(voxels);
    bytes
}

fn words(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Proves: REQ-IMG-100
#[test]
fn the_first_axis_of_a_file_is_its_fastest_and_our_slowest() {
    let nifti = read_nifti(&file(&[], &words(&[0, 1, 2, 3, 4, -5]))).unwrap();
    let volume = nifti.volume;
    assert_eq!(volume.shape, [2, 3, 1]);
    assert_eq!(volume.values, [0.0, 2.0, 4.0, 1.0, 3.0, -5.0]);
    assert!(!volume.placed && volume.spacing_mm().iter().zip([1.0, 2.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-9));
    assert!(nifti.notes.iter().any(|note| note.contains("no orientation")));
}

/// Proves: REQ-IMG-100
#[test]
fn values_are_scaled_and_every_kind_of_number_and_byte_order_is_read() {
    let scaled = file(&[(112, &0.5f32.to_le_bytes()), (116, &(-1.0f32).to_le_bytes())], &words(&[2, 4, 6, 8, 10, 12]));
    assert_eq!(read_nifti(&scaled).unwrap().volume.values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    let kinds: [(i16, i16, Vec<u8>); 6] = [
        (2, 8, vec![1, 2, 3, 4, 5, 200]),
        (256, 8, vec![1, 2, 3, 4, 5, 200]),
        (512, 16, [1u16, 2, 3, 4, 5, 60_000].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (8, 32, [1i32, 2, 3, 4, 5, -70_000].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (16, 32, [1.0f32, 2.0, 3.0, 4.0, 5.0, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (64, 64, [1.0f64, 2.0, 3.0, 4.0, 5.0, 0.125].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for ((code, bits, voxels), last) in kinds.into_iter().zip([200.0, -56.0, 60_000.0, -70_000.0, 0.25, 0.125]) {
        let bytes = file(&[(70, &code.to_le_bytes()), (72, &bits.to_le_bytes())], &voxels);
        let volume = read_nifti(&bytes).unwrap().volume;
        assert_eq!(volume.values, [1.0, 3.0, 5.0, 2.0, 4.0, last], "datatype {code}");
    }
    let mut big = file(&[], &[]);
    for (at, width) in
        [(0, 4), (40, 2), (42, 2), (44, 2), (46, 2), (70, 2), (72, 2), (76, 4), (80, 4), (84, 4), (88, 4), (108, 4)]
    {
        big[at..at + width].reverse();
    }
    big.extend([1i16, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_be_bytes()));
    assert_eq!(read_nifti(&big).unwrap().volume.values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
}

/// Proves: REQ-IMG-100, REQ-IMG-101
#[test]
fn files_of_nibabel_have_the_values_and_places_that_nibabel_sees() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nifti");
    let table = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let name = fields[0];
        let volume = read_nifti(&std::fs::read(folder.join(name)).unwrap()).unwrap().volume;
        assert_eq!(volume.grid().orientation(), fields[1], "{name}");
        assert_eq!(volume.shape.map(|length| length.to_string()).join("x"), fields[2], "{name}");
        let numbers: Vec<f64> = fields[3..].iter().map(|field| field.parse().unwrap()).collect();
        for (found, wanted) in volume.affine.0.iter().flatten().zip(&numbers[..12]) {
            assert!((found - wanted).abs() < 1e-5, "{name}: {found}, not {wanted}");
        }
        let [ni, nj, nk] = volume.shape;
        let places = (0..ni).flat_map(|i| (0..nj).flat_map(move |j| (0..nk).map(move |k| [i, j, k])));
        let weighed: f64 =
            places.map(|[i, j, k]| f64::from(volume.at([i, j, k])) * (i * 5 + j * 3 + k + 1) as f64).sum();
        assert!((weighed - numbers[12]).abs() < 1e-3, "{name}: {weighed}");
        assert!((f64::from(volume.at([ni - 1, nj - 1, nk - 1])) - numbers[13]).abs() < 1e-5, "{name}");
        assert_eq!(volume.placed, name != "f64-bare.nii.gz");
    }
    assert_eq!(table.lines().count(), 6);
}

/// Proves: REQ-IMG-101
#[test]
fn the_sform_is_preferred_and_both_are_kept() {
    let rows: Vec<u8> = [-1.0f32, 0.0, 0.0, 5.0, 0.0, 0.0, 3.0, 6.0, 0.0, -2.0, 0.0, 7.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    // a quarter turn about the third axis
    let half = std::f32::consts::FRAC_1_SQRT_2.to_le_bytes();
    let fields: [(usize, &[u8]); 5] =
        [(252, &[1, 0]), (254, &[2, 0]), (264, &half), (268, &9.0f32.to_le_bytes()), (280, &rows)];
    let voxels = words(&[0; 6]);
    let both = read_nifti(&file(&fields, &voxels)).unwrap();
    assert_eq!(both.volume.affine, both.sform.unwrap());
    assert_eq!(both.volume.grid().orientation(), "LIA");
    let turned = read_nifti(&file(&[fields[0], fields[2], fields[3]], &voxels)).unwrap().volume;
    let at = turned.affine.apply([1.0, 0.0, 0.0]);
    assert!((at[0] - 9.0).abs() < 1e-6 && (at[1] - 1.0).abs() < 1e-6, "{at:?}");
    let metres = file(&[(123, &[1]), (254, &[2, 0]), (280, &rows)], &voxels);
    assert!((read_nifti(&metres).unwrap().volume.spacing_mm()[1] - 2000.0).abs() < 1e-6);
}

/// Proves: REQ-IMG-102
#[test]
fn what_is_no_volume_is_refused_by_field_before_memory_is_taken() {
    let voxels = words(&[0; 6]);
    let says = |bytes: &[u8], what: &str| {
        let refused = read_nifti(bytes).unwrap_err().to_string();
        assert!(refused.contains(what), "{what}: {refused}");
    };
    let cases: [(Fields<'_>, &str); 10] = [
        (&[(0, &540i32.to_le_bytes())], "sizeof_hdr"),
        (&[(344, b"ni1\0")], "magic"),
        (&[(40, &[2, 0])], "dim[0]"),
        (&[(42, &[0xff, 0xff])], "dim"),
        (&[(40, &[4, 0]), (48, &[9, 0])], "time points"),
        (&[(42, &[0xff, 0x7f]), (44, &[0xff, 0x7f]), (46, &[0xff, 0x7f])], "2^28"),
        (&[(70, &[128, 0])], "datatype"),
        (&[(72, &[8, 0])], "bitpix"),
        (&[(108, &0.0f32.to_le_bytes())], "vox_offset"),
        (&[(80, &0.0f32.to_le_bytes())], "pixdim"),
    ];
    for (fields, what) in cases {
        says(&file(fields, &voxels), what);
    }
    says(&file(&[], &voxels[..11]), "bytes of voxels");
    says(&file(&[], &[])[..100], "cut short");
    // a header that promises a gigabyte and a file that has nothing
    says(&file(&[(42, &[0, 4]), (44, &[0, 4]), (46, &[0, 1])], &voxels), "bytes of voxels");
}

/// Proves: REQ-IMG-103
#[test]
fn turning_moves_voxels_and_not_their_places_and_can_be_undone() {
    let volume = counted([4, 5, 6], oblique());
    assert_eq!(volume.grid().orientation(), "LIA");
    for to in ["RAS", "LPS", "SAR", "AIL"] {
        let turned = volume.oriented(directions(to).unwrap());
        assert_eq!(turned.grid().orientation(), to);
        for at in [[0, 0, 0], [turned.shape[0] - 1, 1, 2]] {
            let place = turned.affine.apply(at.map(|index| index as f64));
            let back = volume.affine.inverse().unwrap().apply(place).map(|value| value.round() as usize);
            assert_eq!(turned.at(at).to_bits(), volume.at(back).to_bits());
        }
        let back = turned.oriented(directions("LIA").unwrap());
        assert!(back.values == volume.values && back.grid().same(&volume.grid()));
    }
    for wrong in ["RAX", "RRS", "RA", "RLS"] {
        assert!(directions(wrong).is_err());
    }
}

/// Proves: REQ-IMG-104
#[test]
fn a_conformed_grid_keeps_the_centre_and_resampling_finds_linear_values_and_nearest_labels() {
    let affine = Affine([[2.0, 0.0, 0.0, -8.0], [0.0, 1.5, 0.0, 3.0], [0.0, 0.0, 3.0, 1.0]]);
    let shape = [9, 11, 7];
    let mut volume = counted(shape, affine);
    for i in 0..9 {
        for j in 0..11 {
            for k in 0..7 {
                let [x, y, z] = affine.apply([i as f64, j as f64, k as f64]);
                volume.values[(i * 11 + j) * 7 + k] = (2.0 * x - y + 0.5 * z) as f32;
            }
        }
    }
    let grid = volume.grid().conformed([16, 16, 16], 1.0, directions("LIA").unwrap());
    assert_eq!((grid.orientation().as_str(), grid.spacing_mm()), ("LIA", [1.0; 3]));
    let middle = |grid: &vidimus_imaging::volume::Grid| grid.affine.apply(grid.shape.map(|n| (n - 1) as f64 / 2.0));
    assert!(middle(&grid).iter().zip(middle(&volume.grid())).all(|(a, b)| (a - b).abs() < 1e-9));
    let linear = volume.resampled(&grid, Interpolation::Linear).unwrap();
    let nearest = volume.resampled(&grid, Interpolation::Nearest).unwrap();
    let mut inside = 0;
    for at in [[8, 8, 8], [5, 9, 7], [10, 6, 8], [0, 0, 0]] {
        let place = grid.affine.apply(at.map(|index| index as f64));
        let index = affine.inverse().unwrap().apply(place);
        if index.iter().zip(shape).all(|(value, length)| (0.0..=(length - 1) as f64).contains(value)) {
            let expected = 2.0 * place[0] - place[1] + 0.5 * place[2];
            assert!((f64::from(linear.at(at)) - expected).abs() < 1e-4);
            // half way between two voxels either is the nearest
            let near = |value: f64| [(value + 0.499_999).floor(), (value + 0.500_001).floor()];
            let found = nearest.at(at).to_bits();
            let ends = index.map(near);
            let same = (0..8).any(|corner| {
                let place = [0, 1, 2].map(|axis| ends[axis][corner >> axis & 1] as usize);
                volume.at(place).to_bits() == found
            });
            assert!(same, "{at:?}");
            inside += 1;
        } else {
            assert!(linear.at(at).abs() < 1e-9, "outside there is nothing");
        }
    }
    assert!(inside >= 3);
    assert!(volume.resampled(&volume.grid(), Interpolation::Linear).unwrap().values == volume.values);
}

/// Proves: REQ-IMG-105
#[test]
fn of_a_mask_the_largest_connected_part_is_kept() {
    let mut volume = counted([3, 4, 5], oblique());
    volume.values.fill(0.0);
    for at in [0, 1, 5, 20, 19, 59, 58] {
        volume.values[at] = 2.0;
    }
    let kept = volume.largest_component();
    let places: Vec<usize> = (0..60).filter(|&at| kept.values[at] > 0.0).collect();
    assert_eq!(places, [0, 1, 5, 20], "neighbours share a face; 19 and 20 do not");
}

/// A slice of 4 rows and 3 columns at `z`, values from `first` on.
fn slice(z: &str, first: u16, change: impl Fn(&mut Build)) -> Instance {
    let mut build = Build::grey();
    build.text(0x0008_0018, b"UI", &format!("1.2.3.4.{first}"));
    build.text(0x0020_0037, b"DS", "1\\0\\0\\0\\1\\0");
    build.text(0x0020_0032, b"DS", &format!("-10\\20\\{z}"));
    build.text(0x0028_0030, b"DS", "0.5\\0.25");
    build.bytes(0x7fe0_0010, b"OW", (first..first + 12).flat_map(u16::to_le_bytes).collect());
    change(&mut build);
    Instance::from_vec(build.file()).unwrap()
}

/// Proves: REQ-IMG-106
#[test]
fn a_series_is_ordered_by_position_and_lies_in_ras() {
    let as_is = |_: &mut Build| {};
    let volume = series_volume(&[slice("4", 24, as_is), slice("0", 0, as_is), slice("2", 12, as_is)]).unwrap();
    assert_eq!(volume.shape, [3, 4, 3]);
    let spacing = volume.spacing_mm();
    assert!(spacing.iter().zip([0.25, 0.5, 2.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{spacing:?}");
    assert_eq!(volume.grid().orientation(), "LPS");
    // column 1, row 2 of the slice at 4 mm: LPS -10 + .25, 20 + 1, 4
    assert_eq!(volume.at([1, 2, 2]).to_bits(), 31f32.to_bits());
    let place = volume.affine.apply([1.0, 2.0, 2.0]);
    assert!(place.iter().zip([9.75, -21.0, 4.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{place:?}");
}

/// Proves: REQ-IMG-107
#[test]
fn a_series_that_is_no_even_stack_is_refused_by_attribute() {
    let as_is = |_: &mut Build| {};
    let says = |last: Instance, what: &str| {
        let all = [slice("0", 0, as_is), slice("2", 12, as_is), slice("4", 24, as_is), last];
        let refused = series_volume(&all).unwrap_err().to_string();
        assert!(refused.contains(what), "{what}: {refused}");
    };
    says(slice("2", 36, as_is), "same place");
    says(slice("8", 36, as_is), "1 slices are missing");
    says(slice("6.5", 36, as_is), "over 1 %");
    says(
        slice("6", 36, |b| {
            b.text(0x0020_0037, b"DS", "1\\0\\0\\0\\0.8\\0.6");
        }),
        "not parallel",
    );
    says(
        slice("6", 36, |b| {
            b.without(0x0020_0032);
        }),
        "(0020,0032)",
    );
    says(
        slice("6", 36, |b| {
            b.without(0x0020_0037);
        }),
        "(0020,0037)",
    );
    says(
        slice("6", 36, |b| {
            b.text(0x0028_0030, b"DS", "0.5\\0.3");
        }),
        "(0028,0030)",
    );
    says(
        slice("6", 36, |b| {
            b.text(0x0020_000e, b"UI", "1.2.3.6");
        }),
        "several series",
    );
    says(
        slice("6", 36, |b| {
            b.number(0x0028_0010, 3);
        }),
        "in one series",
    );
    assert!(matches!(series_volume(&[slice("0", 0, as_is)]), Err(VolumeError::Series(_))));
    assert!(matches!(series_volume(&[]), Err(VolumeError::Slices(_))));
}

/// Proves: REQ-IMG-108
#[test]
fn published_samples_have_the_sizes_and_directions_of_their_cards() {
    let Some(folder) = crate::corpus::corpus().map(|corpus| corpus.join("..")) else { return };
    let read = |name: &str| read_nifti(&std::fs::read(folder.join("weights").join(name)).unwrap()).unwrap();
    let head = read("meshnet-tissue/samples/t1_crop.nii.gz").volume;
    assert_eq!((head.shape, head.grid().orientation().as_str()), ([256; 3], "LIA"));
    let example = read("hippodeep/samples/example_brain_t1.nii.gz");
    assert_eq!(example.volume.shape, [137, 137, 93]);
    assert!(example.volume.spacing_mm().iter().all(|mm| (mm - 1.75).abs() < 1e-3));
    let labels = read("meshnet-tissue/golden/t1_crop_labels.nii.gz").volume;
    let count = |label: f32| labels.values.iter().filter(|value| (**value - label).abs() < 0.5).count();
    assert_eq!((count(1.0), count(2.0)), (518_540, 735_212));
}

/// Proves: REQ-IMG-106
#[test]
fn real_series_come_out_as_even_stacks_whatever_the_order_of_their_files() {
    let Some(folder) = crate::corpus::corpus() else { return };
    for (name, slices, step) in [("series/mr_coronal", 16, 2.0), ("series/t1w_oblique", 18, 0.666_667)] {
        let mut files: Vec<Instance> = vidimus_imaging::walk([folder.join(name)])
            .iter()
            .filter_map(|found| Instance::open(&found.path).ok())
            .filter(Instance::has_pixels)
            .collect();
        let volume = series_volume(&files).unwrap();
        assert_eq!(volume.shape[2], slices, "{name}");
        assert!((volume.spacing_mm()[2] - step).abs() < 1e-4, "{name}");
        files.reverse();
        assert_eq!(series_volume(&files).unwrap(), volume, "{name}");
        files.remove(slices / 2);
        assert!(matches!(series_volume(&files), Err(VolumeError::Series(_))), "{name}");
    }
    let phases: Vec<Instance> = vidimus_imaging::walk([folder.join("cardiac-lv/SC-HF-I-1/dicom")])
        .iter()
        .filter_map(|found| Instance::open(&found.path).ok())
        .collect();
    let refused = series_volume(&phases).unwrap_err().to_string();
    assert!(refused.contains("same place") || refused.contains("several series"), "{refused}");
}

proptest! {
    /// Proves: REQ-IMG-109
    #[test]
    fn a_written_volume_is_read_back(
        shape in (1usize..6, 1usize..6, 1usize..6),
        labels in any::<bool>(),
        turn in 0usize..4,
    ) {
        let shape = [shape.0, shape.1, shape.2];
        let volume = counted(shape, oblique()).oriented(directions(["RAS", "LPI", "ASR", "IAL"][turn]).unwrap());
        let bytes = write_nifti(&volume, labels).unwrap();
        let back = read_nifti(&bytes).unwrap().volume;
        prop_assert_eq!(&back.values, &volume.values);
        prop_assert!(back.grid().same(&volume.grid()) && back.placed);
    }

    /// Proves: REQ-IMG-102
    #[test]
    fn no_bytes_bring_the_reader_down(mut bytes in prop::collection::vec(any::<u8>(), 0..600), sane in any::<bool>()) {
        if sane && bytes.len() > 352 {
            bytes[..4].copy_from_slice(&348i32.to_le_bytes());
            bytes[344..348].copy_from_slice(b"n+1\0");
        }
        let _ = read_nifti(&bytes);
    }
}
