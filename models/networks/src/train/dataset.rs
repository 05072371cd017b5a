//! The labelled radiographs: `labels.csv` and `train.tar` of a data folder, decoded once and kept as 8-bit grey.
//! Shapes: each picture `[rows, columns]` of u8, as stored in its file.
//! The test split cannot be reached: [`TrainRow::admit`] is the only way to a row, takes split `train` alone, and the
//! only archive opened is `train.tar`; a member that no admitted row names is refused.
//! Errors: `TrainError` names the member, never a patient.

use super::TrainError;
use super::random::{Random, Use};
use super::recipe::Recipe;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vidimus_log::Digest;

/// The only split that may be learnt from.
const SPLIT: &str = "train";
/// The only archive that is opened.
const ARCHIVE: &str = "train.tar";
/// No radiograph of the set is larger; a member above is not one.
const MEMBER_BYTES_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
struct Label {
    file: String,
    split: String,
    class: String,
    subtype: String,
    patient: String,
    file_sha256: String,
}

/// A row of the train split: cannot be made of another one.
struct TrainRow {
    file: String,
    class: usize,
    patient: String,
    digest: Digest,
}

impl TrainRow {
    /// The row, if it is of the train split and of one of the classes.
    fn admit(label: Label, classes: &[String]) -> Result<Option<Self>, TrainError> {
        if label.split != SPLIT {
            return Ok(None);
        }
        let known = |name: &str| classes.iter().position(|class| class == name);
        let Some(class) = known(&label.subtype).or_else(|| known(&label.class)) else { return Ok(None) };
        let Ok(digest) = label.file_sha256.parse() else {
            return Err(TrainError::Data { file: label.file, problem: "labels.csv: file_sha256 is not a digest" });
        };
        Ok(Some(Self { file: label.file, class, patient: label.patient, digest }))
    }
}

/// One labelled radiograph.
pub struct Picture {
    /// The member's name.
    pub file: String,
    /// Position of its class in the recipe.
    pub class: usize,
    /// The patient's code in the data.
    pub patient: String,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Grey values, row by row.
    pub grey: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture").field("rows", &self.rows).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Picture {
    /// Display values 0..=1.
    #[must_use]
    pub fn display(&self) -> Vec<f32> {
        self.grey.iter().map(|&v| f32::from(v) / 255.0).collect()
    }
}

/// The train split, parted by patients.
#[derive(Debug)]
pub struct TrainSet {
    /// All pictures, by name.
    pub pictures: Vec<Picture>,
    /// Those that are learnt from.
    pub learning: Vec<usize>,
    /// Those kept apart for figures.
    pub tuning: Vec<usize>,
    /// Over the digests of the files of the train split, by name.
    pub digest: Digest,
}

impl TrainSet {
    /// Reads the train split of the folder.
    pub fn load(folder: &Path, recipe: &Recipe) -> Result<Self, TrainError> {
        let mut rows = BTreeMap::new();
        let mut table = csv::Reader::from_path(folder.join("labels.csv")).map_err(TrainError::Labels)?;
        for label in table.deserialize() {
            if let Some(row) = TrainRow::admit(label.map_err(TrainError::Labels)?, &recipe.classes)? {
                rows.insert(row.file.clone(), row);
            }
        }
        let digest = Digest::of_parts(rows.values().map(|row| row.digest.as_bytes().as_slice()));
        let files = read_archive(&folder.join(ARCHIVE), &rows)?;
        if let Some(file) = rows.keys().find(|file| !files.contains_key(*file)) {
            return Err(TrainError::Data { file: file.clone(), problem: "in labels.csv but not in train.tar" });
        }
        let pairs: Vec<_> = rows.into_values().zip(files.into_values()).collect();
        let pictures = pairs.into_par_iter().map(|(row, bytes)| decode(row, &bytes)).collect::<Result<Vec<_>, _>>()?;
        let (learning, tuning) = part(&pictures, recipe);
        Ok(Self { pictures, learning, tuning, digest })
    }

    /// Patients among some pictures. A patient's code counts within its class, as the data's README says.
    #[must_use]
    pub fn patients(&self, of: &[usize]) -> usize {
        of.iter().map(|&at| (self.pictures[at].class, &self.pictures[at].patient)).collect::<BTreeSet<_>>().len()
    }
}

fn read_archive(path: &Path, rows: &BTreeMap<String, TrainRow>) -> Result<BTreeMap<String, Vec<u8>>, TrainError> {
    let broken = |source| TrainError::File { path: path.into(), source };
    let mut archive = tar::Archive::new(File::open(path).map_err(broken)?);
    let mut files = BTreeMap::new();
    for member in archive.entries().map_err(broken)? {
        let member = member.map_err(broken)?;
        if !member.header().entry_type().is_file() {
            continue;
        }
        let file = member.path().map_err(broken)?.to_string_lossy().into_owned();
        let refuse = |problem| Err(TrainError::Data { file: file.clone(), problem });
        let Some(row) = rows.get(&file) else { return refuse("in train.tar but not a train row of labels.csv") };
        let mut bytes = Vec::new();
        let read = member.take(MEMBER_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(broken)?;
        if read as u64 > MEMBER_BYTES_MAX {
            return refuse("larger than any radiograph of the set");
        }
        if Digest::of(&bytes) != row.digest {
            return refuse("its bytes are not those that labels.csv names");
        }
        files.insert(file, bytes);
    }
    Ok(files)
}

fn decode(row: TrainRow, bytes: &[u8]) -> Result<Picture, TrainError> {
    let TrainRow { file, class, patient, .. } = row;
    let Ok(image) = image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg) else {
        return Err(TrainError::Data { file, problem: "not a JPEG picture" });
    };
    let image = image.into_luma8();
    let (columns, rows) = (image.width() as usize, image.height() as usize);
    Ok(Picture { file, class, patient, rows, columns, grey: image.into_raw() })
}

/// Parts the pictures by patients: of each class's patients the given share, in a seeded order, is for tuning.
fn part(pictures: &[Picture], recipe: &Recipe) -> (Vec<usize>, Vec<usize>) {
    let mut kept_apart = BTreeSet::new();
    for class in 0..recipe.classes.len() {
        let patients: BTreeSet<&str> =
            pictures.iter().filter(|p| p.class == class).map(|p| p.patient.as_str()).collect();
        let mut patients: Vec<&str> = patients.into_iter().collect();
        Random::new(recipe.seed, Use::Split, class).shuffle(&mut patients);
        let count = (patients.len() as f64 * recipe.schedule.tuning_share).round() as usize;
        kept_apart.extend(patients.into_iter().take(count).map(|patient| (class, patient)));
    }
    (0..pictures.len()).partition(|&at| !kept_apart.contains(&(pictures[at].class, pictures[at].patient.as_str())))
}
