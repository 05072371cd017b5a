//! The map in image coordinates.

use vidimus_reader::Saliency;

fn map(values: Vec<f32>) -> Saliency {
    Saliency::new("test/1".into(), [2, 2], values, 0.1, [100, 200])
}

/// Proves: REQ-RDR-040
#[test]
fn the_map_is_scaled_to_one_and_zero_where_the_network_saw_nothing() {
    let map = map(vec![1.0, 4.0, 0.0, 2.0]);
    assert!(map.at(2, 100) == 0.0 && map.at(50, 5) == 0.0, "the cut-off frame has no evidence");
    // centres of the four cells: at 30 and 70 % of rows and columns
    for (row, column, expected) in [(30, 60, 0.25), (30, 140, 1.0), (70, 60, 0.0), (70, 140, 0.5)] {
        let value = map.at(row, column);
        assert!((value - expected).abs() < 0.03, "{row} {column}: {value}");
    }
    let whole = map.in_image();
    assert_eq!(whole.len(), 100 * 200);
    assert_eq!(whole[30 * 200 + 140].to_bits(), map.at(30, 140).to_bits());
    assert!(map.in_image().iter().all(|value| (0.0..=1.0).contains(value)));
}

/// Proves: REQ-RDR-041
#[test]
fn regions_name_the_part_with_most_of_the_weight() {
    let regions = map(vec![1.0, 4.0, 0.0, 2.0]).regions();
    assert_eq!(regions.len(), 1);
    let region = &regions[0];
    assert_eq!((region.row, region.column, region.rows, region.columns), (10, 100, 80, 80));
    assert!((region.weight - 6.0 / 7.0).abs() < 1e-6);
    assert!(map(vec![0.0; 4]).regions().is_empty(), "no evidence, no region");
}

/// Proves: REQ-RDR-042
#[test]
fn weight_on_the_border_is_measured() {
    let mut values = vec![0.0; 400];
    values[0] = 3.0;
    values[210] = 1.0;
    let map = Saliency::new("test/1".into(), [20, 20], values, 0.0, [100, 100]);
    assert!((map.border_share() - 0.75).abs() < 1e-6);
    // As the shipped model's map: a tenth of the film reaches 2.5 of the 8.5 hundredths that an outer cell is wide.
    let corner = |cell: usize| {
        let mut values = vec![0.0; 100];
        values[cell] = 1.0;
        Saliency::new("test/1".into(), [10, 10], values, 0.075, [224, 224])
    };
    let outside = 2.5 / 8.5;
    assert!((corner(5).border_share() - outside).abs() < 1e-6, "an edge");
    assert!((corner(0).border_share() - (1.0 - (1.0 - outside) * (1.0 - outside))).abs() < 1e-6, "a corner");
    assert!(corner(55).border_share().abs() < 1e-6, "the middle");
    let even = 1.0 - (0.8_f64 / 0.85).powi(2);
    assert!((corner(5).even_border_share() - even).abs() < 1e-6);
    assert!(corner(5).border_share() > 2.0 * even, "evidence on an edge alone is noted");
}

/// Proves: REQ-RDR-043
#[test]
fn the_digest_covers_values_geometry_and_method() {
    let one = map(vec![1.0, 4.0, 0.0, 2.0]);
    assert_eq!(one.digest(), map(vec![1.0, 4.0, 0.0, 2.0]).digest());
    assert_ne!(one.digest(), map(vec![1.0, 4.0, 0.0, 2.5]).digest());
    let other = Saliency::new("test/2".into(), [2, 2], vec![1.0, 4.0, 0.0, 2.0], 0.1, [100, 200]);
    assert_ne!(one.digest(), other.digest());
}
