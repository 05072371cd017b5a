//! Measures against phantoms worked out by hand: boxes, discs, balls and ellipsoids on even, uneven and oblique voxels.

use proptest::prelude::*;
use vidimus_imaging::{Affine, Millimetre, Orientation, Spacing, SpacingSource, geometry::Slice};
use vidimus_reader::measure::{
    Boundary, Contour, MeasureError, Measured, Model, PixelSize, PlaneMask, Section, SolidMask, VoxelSize, area,
    diameter_equivalent, diameter_longest, diameter_of_equal_ball, diameter_shortest, ejection_fraction, likely_area,
    likely_volume, longest_in_slices, share, slice_distance, stroke_volume, summed_volume, volume,
};

fn mm(value: f64) -> Millimetre {
    Millimetre::new(value).unwrap()
}

fn pixels(row: f64, column: f64) -> PixelSize {
    PixelSize::new(mm(row), mm(column))
}

fn near(found: f64, wanted: f64, within: f64) {
    assert!((found - wanted).abs() <= within, "{found}, not {wanted} within {within}");
}

fn plane(rows: usize, columns: usize, inside: impl Fn(f64, f64) -> bool) -> PlaneMask {
    let all: Vec<bool> = (0..rows * columns).map(|at| inside((at / columns) as f64, (at % columns) as f64)).collect();
    PlaneMask::new(rows, columns, &all).unwrap()
}

/// The voxels whose centres, by `affine`, satisfy `inside`.
fn solid(shape: [usize; 3], affine: &Affine, inside: impl Fn([f64; 3]) -> bool) -> SolidMask {
    let [_, nj, nk] = shape;
    let all: Vec<bool> = (0..shape.iter().product())
        .map(|at| inside(affine.apply([at / (nj * nk), at / nk % nj, at % nk].map(|index| index as f64))))
        .collect();
    SolidMask::new(shape, &all).unwrap()
}

/// Proves: REQ-MEA-001
#[test]
fn without_a_spacing_in_the_patient_there_are_shares_and_no_millimetres() {
    let spacing = |source| Spacing { row_mm: mm(0.2), column_mm: mm(0.3), source };
    assert!(PixelSize::of(Some(&spacing(SpacingSource::PixelSpacing))).is_ok());
    for (given, word) in [
        (None, "Pixel Spacing (0028,0030) is missing"),
        (Some(spacing(SpacingSource::ImagerPixelSpacing)), "(0018,1164)"),
        (Some(spacing(SpacingSource::NominalScannedPixelSpacing)), "(0018,2010)"),
    ] {
        let refused = PixelSize::of(given.as_ref()).unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let flat = Affine([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    assert!(matches!(VoxelSize::of(&flat), Err(MeasureError::Size)));
    let part = share(3, 12).unwrap();
    assert_eq!((part.unit().ucum(), part.value().to_bits()), ("%", 25f64.to_bits()));
    assert!(share(1, 0).is_err() && share(2, 1).is_err());
}

/// Proves: REQ-MEA-002
#[test]
fn a_rectangle_has_the_area_and_the_diameters_of_a_ruler() {
    // 3 rows 2 mm apart, 7 columns 1 mm apart
    let (mask, size) =
        (plane(9, 12, |row, column| (2.0..5.0).contains(&row) && (3.0..10.0).contains(&column)), pixels(2.0, 1.0));
    let area = area(&mask, &size, Boundary::Grid);
    near(area.value(), 42.0, 1e-9);
    assert_eq!(area.unit().ucum(), "mm2");
    // from the middle of the upper side of the first pixel to that of the lower side of the last: 6 mm down, 6 along
    near(diameter_longest(&mask, &size, Boundary::Grid).unwrap().value(), 72f64.sqrt(), 1e-9);
    near(diameter_shortest(&mask, &size, Boundary::Grid).unwrap().value(), 6.0, 1e-9);
    near(diameter_equivalent(&mask, &size, Boundary::Grid).unwrap().value(), 7.312_73, 1e-5);
    let one = plane(4, 4, |row, column| row + 4.0 * column < 0.5);
    near(diameter_longest(&one, &size, Boundary::Grid).unwrap().value(), 2.0, 1e-9);
    let none = plane(3, 3, |_, _| false);
    assert!(matches!(diameter_longest(&none, &size, Boundary::Grid), Err(MeasureError::Empty)));
    assert!(matches!(diameter_equivalent(&none, &size, Boundary::Grid), Err(MeasureError::Empty)));
    near(vidimus_reader::measure::area(&none, &size, Boundary::Grid).value(), 0.0, 0.0);
}

/// Proves: REQ-MEA-002
#[test]
fn a_disc_has_its_area_diameters_and_outline_whatever_the_shape_of_the_pixels() {
    for (row, column) in [(0.5, 0.5), (0.4, 1.0), (1.1, 0.3)] {
        let middle = (150.3 * row, 160.2 * column);
        let mask = plane(300, 320, |r, c| (r * row - middle.0).hypot(c * column - middle.1) <= 30.0);
        let (size, sigma) = (pixels(row, column), Boundary::known(0.2).unwrap());
        let area = area(&mask, &size, sigma);
        near(area.value(), 2827.43, 5.0);
        // outline 188.5 mm times 0.2 mm
        near(area.spread().standard, 37.70, 1.2);
        near(area.spread().high - area.spread().low, 2.0 * 1.959_964 * area.spread().standard, 1e-3);
        // the middle of a side lies half a pixel from a centre within: both ends are off by half a pixel at most
        near(diameter_longest(&mask, &size, sigma).unwrap().value(), 60.0, row.max(column));
        near(diameter_shortest(&mask, &size, sigma).unwrap().value(), 60.0, row.max(column));
        let equal = diameter_equivalent(&mask, &size, sigma).unwrap();
        near(equal.value(), 60.0, 0.06);
        near(equal.spread().standard, 0.4, 0.013);
    }
}

/// Proves: REQ-MEA-003
#[test]
fn a_box_a_ball_and_an_oblique_ellipsoid_have_their_volumes() {
    let block =
        solid([8, 9, 10], &Affine([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]), |[x, y, z]| {
            (1.0..5.0).contains(&x) && (2.0..12.0).contains(&y) && (6.0..24.0).contains(&z)
        });
    let size = VoxelSize::new([mm(1.0), mm(2.0), mm(3.0)]);
    let measured = volume(&block, &size, Boundary::Grid);
    near(measured.value(), 720.0, 1e-9);
    near(measured.in_millilitres().unwrap().value(), 0.72, 1e-12);
    assert_eq!((measured.unit().ucum(), measured.in_millilitres().unwrap().unit().ucum()), ("mm3", "mL"));
    // longest in a slice across the third axis: 4 by 5 pixels of 1 by 2 mm, from side to side 4 and 8 mm, or 3 and 10
    let longest = longest_in_slices(&block, 2, &size, Boundary::Grid).unwrap();
    near(longest.diameter.value(), 109f64.sqrt(), 1e-9);
    assert_eq!(longest.slice, 2);

    // a ball of 12 mm on voxels of 0.5, 0.75 and 1.2 mm
    let grid = Affine([[0.5, 0.0, 0.0, -14.0], [0.0, 0.75, 0.0, -14.1], [0.0, 0.0, 1.2, -14.3]]);
    let ball = solid([57, 38, 25], &grid, |[x, y, z]| x * x + y * y + z * z <= 144.0);
    let size = VoxelSize::of(&grid).unwrap();
    let measured = volume(&ball, &size, Boundary::known(0.1).unwrap());
    near(measured.value(), 7238.2, 36.0);
    // surface 1809.6 mm2 times 0.1 mm
    near(measured.spread().standard, 180.96, 6.0);
    assert_eq!(measured.spread().model, Model::OutlineTogether);
    near(diameter_of_equal_ball(&ball, &size, Boundary::Grid).unwrap().value(), 24.0, 0.05);

    // half axes 15, 9 and 6 mm; voxels that are turned, uneven and slanted
    let oblique = Affine([[0.62, -0.30, 0.10, -14.0], [0.31, 0.58, -0.45, -12.0], [0.05, 0.28, 0.95, -18.0]]);
    let inside = |[x, y, z]: [f64; 3]| (x / 15.0).powi(2) + (y / 9.0).powi(2) + (z / 6.0).powi(2) <= 1.0;
    let inverse = oblique.inverse().unwrap();
    let centre = inverse.apply([0.0; 3]).map(f64::round);
    let shape = [90, 90, 70];
    let moved = oblique.apply([0, 1, 2].map(|axis| centre[axis] - shape[axis] as f64 / 2.0));
    let placed = Affine([0, 1, 2].map(|row| [oblique.0[row][0], oblique.0[row][1], oblique.0[row][2], moved[row]]));
    let egg = solid(shape, &placed, inside);
    let size = VoxelSize::of(&placed).unwrap();
    near(volume(&egg, &size, Boundary::Grid).value(), 4.0 / 3.0 * std::f64::consts::PI * 810.0, 12.0);
}

/// Proves: REQ-MEA-003
#[test]
fn a_diameter_on_slanted_axes_is_that_in_the_patient() {
    // slices across the third axis; within them axes at 60 degrees, 2 mm and 1 mm long
    let slanted = Affine([[2.0, 0.5, 0.0, 0.0], [0.0, 0.75f64.sqrt(), 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]]);
    let size = VoxelSize::of(&slanted).unwrap();
    let line = SolidMask::new([6, 6, 1], &(0..36).map(|at| at / 6 == at % 6).collect::<Vec<_>>()).unwrap();
    // five steps of both axes, and half a step of the longer at both ends: 6 times 2 and 5 times 1 at 60 degrees
    let found = longest_in_slices(&line, 2, &size, Boundary::Grid).unwrap().diameter.value();
    near(found, (144.0 + 25.0 + 60.0f64).sqrt(), 1e-9);
    near(volume(&line, &size, Boundary::Grid).value(), 6.0 * 2.0 * 0.75f64.sqrt() * 5.0, 1e-9);
    near(area(&plane(1, 1, |_, _| true), &size.across(2), Boundary::Grid).value(), 3f64.sqrt(), 1e-9);
}

/// Proves: REQ-MEA-002
#[test]
fn pixels_that_touch_at_a_corner_are_one_part() {
    let drawn = ["##....", "..#..#", "..##.#", ".....#", "#....#"];
    let mask = plane(5, 6, |row, column| drawn[row as usize].as_bytes()[column as usize] == b'#');
    let kept = mask.largest_component();
    assert_eq!(
        kept,
        plane(5, 6, |row, column| row < 3.0 && column < 4.0 && drawn[row as usize].as_bytes()[column as usize] == b'#')
    );
    assert_eq!((mask.count(), kept.count()), (10, 5));
    assert_eq!(plane(2, 2, |_, _| false).largest_component().count(), 0);
}

/// Proves: REQ-MEA-004
#[test]
fn a_map_of_probabilities_gives_the_mask_at_one_half_and_how_far_it_may_be_off() {
    let found = likely_area(&[0.2, 1.0, 0.5, 1.0, 0.0], &pixels(2.0, 3.0)).unwrap();
    // two pixels; three with probability 0.3, four with 0.2: mean square of the difference 1.1
    near(found.value(), 12.0, 1e-9);
    near(found.spread().standard, 6.0 * 1.1f64.sqrt(), 1e-6);
    near(found.spread().low, 12.0, 1e-9);
    near(found.spread().high, 24.0, 1e-9);
    let size = VoxelSize::new([mm(1.0), mm(1.0), mm(2.0)]);
    let sure = likely_volume(&[1.0, 0.0, 1.0], &size).unwrap();
    assert_eq!((sure.value(), sure.spread().standard), (4.0, 0.0));
    for wrong in [1.5, -0.1, f32::NAN] {
        assert!(matches!(likely_volume(&[0.5, wrong], &size), Err(MeasureError::NoProbability { place: 1 })));
    }
}

/// Proves: REQ-MEA-005
#[test]
fn a_contour_has_the_area_of_its_polygon_and_the_pixels_within() {
    let diamond = Contour::new(vec![[5.0, 1.0], [9.0, 5.0], [5.0, 9.0], [1.0, 5.0]]).unwrap();
    let (size, boundary) = (pixels(2.0, 1.5), Boundary::known(0.1).unwrap());
    let found = diamond.area(&size, boundary);
    near(found.value(), 32.0 * 3.0, 1e-9);
    // four sides of 8 mm down and 6 along: 40 mm, times 0.1
    near(found.spread().standard, 4.0, 1e-9);
    let other: Vec<[f64; 2]> = [[4.6, 0.6], [9.4, 0.6], [9.4, 6.4], [4.6, 6.4]].into();
    let square = Contour::new(other).unwrap().mask(12, 12).unwrap();
    assert_eq!(square, plane(12, 12, |row, column| (1.0..7.0).contains(&row) && (5.0..10.0).contains(&column)));
    for points in [vec![[0.0, 0.0], [1.0, 1.0]], vec![[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], vec![[0.0, f64::NAN]; 4]] {
        assert!(matches!(Contour::new(points), Err(MeasureError::Contour { .. })));
    }
}

fn slices(places: &[f64]) -> Vec<Slice> {
    let orientation = Orientation::new([1.0, 0.0, 0.0, 0.0, 0.8, 0.6]).unwrap();
    let normal = orientation.normal();
    places.iter().map(|place| Slice { orientation, position: normal.map(|axis| axis * place) }).collect()
}

/// Areas of 4 pixels each on slices at `places`.
fn sections(places: &[f64], pixel: f64) -> Vec<Section> {
    let mask = plane(4, 4, |row, column| row < 2.0 && column < 2.0);
    let area = area(&mask, &pixels(pixel, pixel), Boundary::known(0.25).unwrap());
    slices(places).into_iter().map(|slice| Section { slice, area }).collect()
}

/// Proves: REQ-MEA-006
#[test]
fn slices_are_summed_by_their_distance_and_only_an_even_stack_is() {
    let whole = summed_volume(&sections(&[8.0, 0.0, 24.0, 16.0], 20.0)).unwrap();
    // four slices of 1600 mm2, 8 mm apart
    near(whole.value(), 51.2, 1e-9);
    assert_eq!(whole.unit().ucum(), "mL");
    let one = sections(&[0.0, 8.0], 20.0)[0].area.spread().standard;
    near(whole.spread().standard, 4.0 * one * 8.0 * 1e-3, 1e-9);
    near(slice_distance(&slices(&[0.0, 8.0, 16.0])).unwrap().value(), 8.0, 1e-9);
    for places in [&[0.0, 8.0, 24.0][..], &[0.0, 8.0, 8.0], &[0.0, 8.0, 17.0, 25.0], &[0.0]] {
        let refused = summed_volume(&sections(places, 1.0)).unwrap_err();
        assert!(refused.to_string().contains("(0020,0032)"), "{refused}");
    }
    let length = diameter_longest(&plane(2, 2, |_, _| true), &pixels(1.0, 1.0), Boundary::Grid).unwrap();
    let wrong: Vec<Section> = slices(&[0.0, 1.0]).into_iter().map(|slice| Section { slice, area: length }).collect();
    assert!(matches!(summed_volume(&wrong), Err(MeasureError::Unit { .. })));
}

fn chamber(pixel: f64) -> Measured {
    summed_volume(&sections(&[0.0, 10.0, 20.0], pixel)).unwrap()
}

/// Proves: REQ-MEA-006
#[test]
fn an_ejection_fraction_carries_the_uncertainty_of_both_volumes() {
    let (diastole, systole) = (chamber(30.0), chamber(20.0));
    near(diastole.value(), 108.0, 1e-9);
    near(systole.value(), 48.0, 1e-9);
    let fraction = ejection_fraction(&diastole, &systole, 0.0).unwrap();
    near(fraction.value(), 100.0 * 60.0 / 108.0, 1e-9);
    assert_eq!(fraction.unit().ucum(), "%");
    let (ud, us) = (diastole.spread().standard, systole.spread().standard);
    near(fraction.spread().standard, 100.0 * ((48.0 / 11664.0 * ud).powi(2) + (us / 108.0).powi(2)).sqrt(), 1e-9);
    let together = ejection_fraction(&diastole, &systole, 1.0).unwrap();
    near(together.spread().standard, 100.0 * (48.0 / 11664.0 * ud - us / 108.0).abs(), 1e-9);
    let beat = stroke_volume(&diastole, &systole, 0.0).unwrap();
    near(beat.value(), 60.0, 1e-9);
    near(beat.spread().standard, ud.hypot(us), 1e-9);
    assert!(matches!(ejection_fraction(&systole, &diastole, 0.0), Err(MeasureError::Phases)));
    assert!(matches!(ejection_fraction(&diastole, &systole, 1.1), Err(MeasureError::Correlation { .. })));
    let named = fraction.named("ejection-fraction");
    assert_eq!((named.unit.as_str(), named.uncertainty.map(|spread| spread.model)), ("%", Some(Model::Propagated)));
}

/// Proves: REQ-MEA-007
#[test]
fn a_measure_is_written_with_its_unit_its_interval_and_its_model() {
    let measure = area(&plane(2, 2, |_, _| true), &pixels(1.0, 1.0), Boundary::Grid).named("area");
    let text = serde_json::to_value(&measure).unwrap();
    assert_eq!((text["unit"].as_str(), text["value"].as_f64()), (Some("mm2"), Some(4.0)));
    assert_eq!(text["uncertainty"]["model"], "outline_together");
    assert!(text["uncertainty"]["low"].as_f64() < Some(4.0) && text["uncertainty"]["high"].as_f64() > Some(4.0));
    let bare = serde_json::to_value(share(1, 3).unwrap().named("share")).unwrap();
    assert!(bare.get("uncertainty").is_none(), "nothing was assumed of its error");
}

proptest! {
    /// Proves: REQ-MEA-002
    #[test]
    fn the_longest_diameter_is_that_of_all_pairs_of_sides(inside in prop::collection::vec(any::<bool>(), 42)) {
        let (rows, columns, down, along) = (6, 7, 0.7, 1.3);
        let mask = PlaneMask::new(rows, columns, &inside).unwrap();
        let mut sides = Vec::new();
        for at in (0..42).filter(|at| inside[*at]) {
            let (row, column) = ((at / columns) as f64, (at % columns) as f64);
            let middles = [(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)];
            sides.extend(middles.map(|(r, c)| [(row + r) * down, (column + c) * along]));
        }
        let apart = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let slow = sides.iter().flat_map(|a| sides.iter().map(move |b| apart(a, b))).fold(0.0, f64::max);
        let size = pixels(down, along);
        match diameter_longest(&mask, &size, Boundary::Grid) {
            Ok(found) => {
                prop_assert!((found.value() - slow).abs() < 1e-9);
                let shortest = diameter_shortest(&mask, &size, Boundary::Grid).unwrap().value();
                prop_assert!(shortest <= found.value() + 1e-9 && shortest >= 0.7 - 1e-9);
            }
            Err(_) => prop_assert!(sides.is_empty()),
        }
        // twice the size: four times the area, with the same relative uncertainty
        let (one, two) = (area(&mask, &size, Boundary::Grid), area(&mask, &pixels(1.4, 2.6), Boundary::Grid));
        prop_assert!((two.value() - 4.0 * one.value()).abs() < 1e-9);
        prop_assert!((two.spread().standard - 4.0 * one.spread().standard).abs() < 1e-9);
    }
}
