//! The explanation of a finding in image coordinates: where in the radiograph the evidence lies.
//!
//! Method: Grad-CAM (Selvaraju et al., ICCV 2017) of the finding's log-odds. At a global-average-pool head the
//! gradient is the head's own weights, so it is computed in closed form; no autograd is trusted with it.
//! Shapes: the map is a grid over the part of the image that the network saw; [`Saliency::at`] gives it at any pixel
//! of the image.
//! Units: 0..=1 after division by the map's largest value; a map without any positive evidence is zero everywhere.
//! Errors: [`image::ImageError`] from the PNG encoder.

use std::io::Cursor;

use image::{
    ColorType, ImageEncoder as _,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use serde::Serialize;
use vidimus_imaging::Image;
use vidimus_log::Digest;

/// Colours are mixed in from this value of the map on, so that a faint map does not tint the whole film.
const OVERLAY_FLOOR: f32 = 0.15;
/// Opacity of the overlay where the map is 1.
const OVERLAY_OPACITY: f32 = 0.6;
/// Red, green and blue of a faint and of a full value: vermilion to yellow.
const OVERLAY_COLOURS: [(f32, f32); 3] = [(0.835, 0.941), (0.369, 0.894), (0.0, 0.259)];
/// A region is where the map is at least this share of its largest value.
const REGION_LEVEL: f32 = 0.5;
/// The outer share of each side that counts as border: no lung lies there.
const BORDER: f64 = 0.1;

/// A rectangle of the image in which an explanation has its weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// First row.
    pub row: usize,
    /// First column.
    pub column: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Share of the map's weight inside.
    pub weight: f64,
    /// What it is: the extent of the explanation, not the outline of a lesion.
    pub kind: &'static str,
}

/// A map of evidence over an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Saliency {
    method: String,
    grid: [usize; 2],
    values: Vec<f32>,
    cut: f64,
    image: [usize; 2],
}

impl Saliency {
    /// A map of `grid` rows and columns (`values`, row by row, none negative) over the image of `image` rows and
    /// columns less the share
    /// `cut` of each side. Values are divided by the largest.
    pub fn new(method: String, grid: [usize; 2], values: Vec<f32>, cut: f64, image: [usize; 2]) -> Self {
        debug_assert_eq!(grid[0] * grid[1], values.len(), "a map has one value a cell");
        let largest = values.iter().copied().fold(0.0_f32, f32::max);
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        Self { method, grid, values: values.into_iter().map(|value| value * scale).collect(), cut, image }
    }

    /// Digest over method, geometry and values.
    pub fn digest(&self) -> Digest {
        let head = format!(
            "{} grid {}x{} cut {} image {}x{}\n",
            self.method, self.grid[0], self.grid[1], self.cut, self.image[0], self.image[1]
        );
        let values: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Digest::of_parts([head.as_bytes(), &values])
    }

    /// Method and version.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Rows and columns of the grid.
    pub const fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// The cells' values, row by row, the largest 1; all 0 where nothing speaks for the finding.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The share of each side of the image that the grid leaves out.
    pub const fn cut(&self) -> f64 {
        self.cut
    }

    /// Rows and columns of the image that it explains.
    pub const fn image_size(&self) -> [usize; 2] {
        self.image
    }

    /// The map at a pixel, bilinear between the grid's cell centres; 0 outside of what the network saw.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.mixed(self.grid_place(row, 0), self.grid_place(column, 1))
    }

    /// The map between two rows and two columns of the grid.
    fn mixed(&self, row: Option<(usize, usize, f32)>, column: Option<(usize, usize, f32)>) -> f32 {
        let (Some(y), Some(x)) = (row, column) else { return 0.0 };
        let cell = |y: usize, x: usize| self.values[y * self.grid[1] + x];
        let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
        let top = mix(cell(y.0, x.0), cell(y.0, x.1), x.2);
        let bottom = mix(cell(y.1, x.0), cell(y.1, x.1), x.2);
        mix(top, bottom, y.2)
    }

    /// The two grid cells around a pixel and the share of the second.
    fn grid_place(&self, place: usize, axis: usize) -> Option<(usize, usize, f32)> {
        let share = (place as f64 + 0.5) / self.image[axis] as f64;
        if share < self.cut || share > 1.0 - self.cut {
            return None;
        }
        let cells = self.grid[axis];
        let last = (cells - 1) as f64;
        let at = ((share - self.cut) / (1.0 - 2.0 * self.cut) * cells as f64 - 0.5).clamp(0.0, last);
        let first = at.floor();
        Some((first as usize, (first as usize + 1).min(cells - 1), (at - first) as f32))
    }

    /// The map at every pixel of the image, row by row.
    pub fn in_image(&self) -> Vec<f32> {
        let [rows, columns] = self.image;
        let places: Vec<_> = (0..columns).map(|column| self.grid_place(column, 1)).collect();
        let mut map = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let row = self.grid_place(row, 0);
            map.extend(places.iter().map(|column| self.mixed(row, *column)));
        }
        map
    }

    /// The largest connected part of the map above half of its maximum, with its share of the weight; none where the
    /// map is zero.
    pub fn regions(&self) -> Vec<Region> {
        let [rows, columns] = self.grid;
        let total: f64 = self.values.iter().map(|&value| f64::from(value)).sum();
        let mut seen = vec![false; self.values.len()];
        let mut best: Option<(f64, [usize; 4])> = None;
        for start in 0..self.values.len() {
            if seen[start] || self.values[start] < REGION_LEVEL {
                continue;
            }
            let (mut weight, mut bounds) = (0.0, [rows, 0, columns, 0]);
            let mut open = vec![start];
            seen[start] = true;
            while let Some(cell) = open.pop() {
                let (y, x) = (cell / columns, cell % columns);
                weight += f64::from(self.values[cell]);
                bounds = [bounds[0].min(y), bounds[1].max(y), bounds[2].min(x), bounds[3].max(x)];
                let mut visit = |next: usize| {
                    if !seen[next] && self.values[next] >= REGION_LEVEL {
                        seen[next] = true;
                        open.push(next);
                    }
                };
                if y > 0 {
                    visit(cell - columns);
                }
                if y + 1 < rows {
                    visit(cell + columns);
                }
                if x > 0 {
                    visit(cell - 1);
                }
                if x + 1 < columns {
                    visit(cell + 1);
                }
            }
            if best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, bounds));
            }
        }
        best.map(|(weight, [top, bottom, left, right])| {
            let edge = |cell: usize, axis: usize| {
                let share = self.cut + cell as f64 / self.grid[axis] as f64 * (1.0 - 2.0 * self.cut);
                (share * self.image[axis] as f64).round() as usize
            };
            let (row, column) = (edge(top, 0), edge(left, 1));
            Region {
                row,
                column,
                rows: edge(bottom + 1, 0) - row,
                columns: edge(right + 1, 1) - column,
                weight: weight / total,
                kind: "saliency",
            }
        })
        .into_iter()
        .collect()
    }

    /// Share of the map's weight on the outer tenth of the image; a cell counts by the part of it that lies there.
    pub fn border_share(&self) -> f64 {
        self.border_of(&self.values)
    }

    /// The same of a map without preference, to hold it against.
    pub fn even_border_share(&self) -> f64 {
        self.border_of(&vec![1.0; self.values.len()])
    }

    fn border_of(&self, values: &[f32]) -> f64 {
        // The part of a cell's side that lies inside of the border.
        let inner = |cell: usize, axis: usize| {
            let side = (1.0 - 2.0 * self.cut) / self.grid[axis] as f64;
            let start = self.cut + cell as f64 * side;
            let (low, high) = (start.max(BORDER), (start + side).min(1.0 - BORDER));
            ((high - low) / side).clamp(0.0, 1.0)
        };
        let (mut border, mut total) = (0.0, 0.0);
        for (cell, &value) in values.iter().enumerate() {
            let value = f64::from(value);
            total += value;
            border += value * (1.0 - inner(cell / self.grid[1], 0) * inner(cell % self.grid[1], 1));
        }
        if total > 0.0 { border / total } else { 0.0 }
    }
}

/// The map as a grey PNG of the image's size: 255 where it is 1.
pub fn saliency_png(saliency: &Saliency) -> Result<Vec<u8>, image::ImageError> {
    let pixels: Vec<u8> = saliency.in_image().into_iter().map(to_byte).collect();
    png(&pixels, saliency.image_size(), ColorType::L8)
}

/// The image (display values in 0..=1) with the map laid over it, as a colour PNG of the image's size. `strength` in
/// 0..=1 scales the opacity: given the finding's probability, a map of the little that speaks for an absent finding
/// stays faint. The colours run from vermilion to yellow (Okabe and Ito's palette), distinct from grey under every
/// common colour-vision deficiency.
pub fn overlay_png(display: &Image<f32>, saliency: &Saliency, strength: f32) -> Result<Vec<u8>, image::ImageError> {
    let map = saliency.in_image();
    let mut pixels = Vec::with_capacity(map.len() * 3);
    for (&grey, value) in display.pixels.iter().zip(map) {
        let opacity = ((value - OVERLAY_FLOOR) / (1.0 - OVERLAY_FLOOR)).clamp(0.0, 1.0) * OVERLAY_OPACITY * strength;
        for (faint, full) in OVERLAY_COLOURS {
            let tint = faint + (full - faint) * value;
            pixels.push(to_byte(grey + (tint - grey) * opacity));
        }
    }
    png(&pixels, saliency.image_size(), ColorType::Rgb8)
}

/// An image (display values in 0..=1) as a grey PNG of 8 bits.
pub fn film_png(display: &Image<f32>) -> Result<Vec<u8>, image::ImageError> {
    let pixels: Vec<u8> = display.pixels.iter().map(|&grey| to_byte(grey)).collect();
    png(&pixels, [display.rows, display.columns], ColorType::L8)
}

/// A colour image (red, green and blue in 0..=1) as a PNG of 8 bits a sample.
pub fn colour_film_png(display: &Image<[f32; 3]>) -> Result<Vec<u8>, image::ImageError> {
    let pixels: Vec<u8> = display.pixels.iter().flatten().map(|&sample| to_byte(sample)).collect();
    png(&pixels, [display.rows, display.columns], ColorType::Rgb8)
}

fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

fn png(pixels: &[u8], [rows, columns]: [usize; 2], colour: ColorType) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up).write_image(
        pixels,
        columns as u32,
        rows as u32,
        colour.into(),
    )?;
    Ok(bytes.into_inner())
}
