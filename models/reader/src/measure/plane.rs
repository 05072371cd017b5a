//! Areas and diameters of a mask in a plane.
//! Convention: the outline runs through the middle of the sides between pixels inside and outside (one pixel is one
//! pixel long), so that diameters are neither those of pixel centres, too short, nor those of corners, too long.
//! Units: mm2 and mm. Errors: [`MeasureError::Empty`] for a diameter of nothing; an area of nothing is zero.

use super::{
    Boundary, MeasureError, PixelSize, PlaneMask,
    boundary::outline,
    unit::{Measured, Model, Unit},
};

/// Area of a mask.
#[must_use]
pub fn area(mask: &PlaneMask, size: &PixelSize, boundary: Boundary) -> Measured {
    let value = mask.count() as f64 * size.area();
    let standard = outline(mask, size) * boundary.in_plane(size);
    Measured::normal(value, Unit::Area, standard, Model::OutlineTogether)
}

/// Diameter of the disc with the mask's area.
pub fn diameter_equivalent(mask: &PlaneMask, size: &PixelSize, boundary: Boundary) -> Result<Measured, MeasureError> {
    if mask.count() == 0 {
        return Err(MeasureError::Empty);
    }
    let area = area(mask, size, boundary);
    let diameter = 2.0 * (area.value() / std::f64::consts::PI).sqrt();
    // the derivative of the diameter by the area
    let standard = area.spread().standard * diameter / (2.0 * area.value());
    Ok(Measured::normal(diameter, Unit::Length, standard, Model::OutlineTogether))
}

/// Largest distance of two points of the outline (maximum Feret diameter).
pub fn diameter_longest(mask: &PlaneMask, size: &PixelSize, boundary: Boundary) -> Result<Measured, MeasureError> {
    let hull = hull(mask);
    let mut longest: Option<f64> = None;
    for (at, from) in hull.iter().enumerate() {
        for to in &hull[at + 1..] {
            let length = size.length(halves(*from, *to));
            longest = Some(longest.map_or(length, |before| before.max(length)));
        }
    }
    length(longest, size, boundary)
}

/// Smallest distance of two parallel lines with the whole outline between them (minimum Feret diameter).
pub fn diameter_shortest(mask: &PlaneMask, size: &PixelSize, boundary: Boundary) -> Result<Measured, MeasureError> {
    let hull = hull(mask);
    let mut shortest: Option<f64> = None;
    for (at, from) in hull.iter().enumerate() {
        let to = hull[(at + 1) % hull.len()];
        let edge = halves(*from, to);
        let farthest = hull.iter().fold(0.0, |farthest: f64, point| {
            let other = halves(*from, *point);
            farthest.max((edge[0] * other[1] - edge[1] * other[0]).abs())
        });
        let width = farthest * size.area() / size.length(edge);
        shortest = Some(shortest.map_or(width, |before| before.min(width)));
    }
    length(shortest, size, boundary)
}

/// Both ends move with the outline.
fn length(value: Option<f64>, size: &PixelSize, boundary: Boundary) -> Result<Measured, MeasureError> {
    let value = value.ok_or(MeasureError::Empty)?;
    Ok(Measured::normal(value, Unit::Length, 2.0 * boundary.in_plane(size), Model::OutlineTogether))
}

/// A point in half pixels, (row, column): whole numbers, so that the hull is exact.
type Point = (i64, i64);

fn halves(from: Point, to: Point) -> [f64; 2] {
    [(to.0 - from.0) as f64 / 2.0, (to.1 - from.1) as f64 / 2.0]
}

/// Corners of the convex hull of the outline, in turn.
fn hull(mask: &PlaneMask) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (row, first, last) in mask.runs() {
        let (row, first, last) = (2 * row as i64, 2 * first as i64, 2 * last as i64);
        // sides towards a pixel that is inside too lie within the hull and do no harm
        points.extend([(row, first - 1), (row - 1, first), (row + 1, first)]);
        points.extend([(row, last + 1), (row - 1, last), (row + 1, last)]);
    }
    points.sort_unstable();
    points.dedup();
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..] {
                let turn = (last.0 - before.0) * (point.1 - before.1) - (last.1 - before.1) * (point.0 - before.0);
                if turn > 0 {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = half(&mut points.iter().copied());
    hull.extend(half(&mut points.iter().rev().copied()));
    hull
}
