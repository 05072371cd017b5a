//! From paths to files: files as they are, folders in the order of their names, a DICOMDIR as what it refers to.
//! Out: one entry a file, or an entry with its fault for what cannot be listed; one bad folder stops nothing.
//! Safety: a file ID of a DICOMDIR stays below the DICOMDIR's own folder; links to folders are not followed.
//! Source: DICOM PS3.10 chapter 8, PS3.3 annex F. Requirement: REQ-IMG-021.

use std::{
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
};

use crate::{
    attributes::Attributes,
    error::ImagingError,
    instance::read_file,
    limits::{WALK_DEPTH_MAX, WALK_FILES_MAX},
    part10, tags,
};

const MEDIA_DIRECTORY: &[u8] = b"1.2.840.10008.1.3.10";
const PEEK_BYTES: u64 = 1024;

/// A file to read, or why one cannot be.
#[derive(Debug)]
pub struct Found {
    /// The path.
    pub path: PathBuf,
    /// The file is a DICOMDIR: its instances follow, it has none of its own.
    pub directory: bool,
    /// Why there is nothing to read here.
    pub fault: Option<ImagingError>,
}

/// Lists the files that `paths` mean, in a stable order.
pub fn walk<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Vec<Found> {
    let mut found = Vec::new();
    for path in paths {
        let path = path.as_ref();
        match fs::metadata(path) {
            Err(source) => found.push(fault(path, ImagingError::Unreadable { source })),
            Ok(facts) if facts.is_dir() => folder(path, 0, &mut found),
            Ok(_) if is_directory(path) => directory(path, &mut found),
            Ok(_) => found.push(Found { path: path.to_owned(), directory: false, fault: None }),
        }
    }
    found
}

fn fault(path: &Path, error: ImagingError) -> Found {
    Found { path: path.to_owned(), directory: false, fault: Some(error) }
}

fn folder(path: &Path, depth: usize, found: &mut Vec<Found>) {
    let limit =
        |what, found: usize, limit: usize| ImagingError::Limit { what, found: found as u64, limit: limit as u64 };
    if depth > WALK_DEPTH_MAX {
        found.push(fault(path, limit("nested folders", depth, WALK_DEPTH_MAX)));
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(source) => return found.push(fault(path, ImagingError::Unreadable { source })),
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => names.push(entry),
            Err(source) => found.push(fault(path, ImagingError::Unreadable { source })),
        }
    }
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        if found.len() >= WALK_FILES_MAX {
            return found.push(fault(path, limit("files of a folder", found.len() + 1, WALK_FILES_MAX)));
        }
        let path = entry.path();
        match entry.file_type() {
            Err(source) => found.push(fault(&path, ImagingError::Unreadable { source })),
            Ok(kind) if kind.is_dir() => folder(&path, depth + 1, found),
            Ok(kind) if kind.is_symlink() && path.is_dir() => {}
            Ok(_) => {
                let directory = is_directory(&path);
                found.push(Found { path, directory, fault: None });
            }
        }
    }
}

/// The file's meta group names the media storage directory.
fn is_directory(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(PEEK_BYTES).read_to_end(&mut head));
    read.is_ok() && head.windows(MEDIA_DIRECTORY.len()).any(|window| window == MEDIA_DIRECTORY)
}

/// A DICOMDIR that was named: itself, then every file that its records refer to.
fn directory(path: &Path, found: &mut Vec<Found>) {
    found.push(Found { path: path.to_owned(), directory: true, fault: None });
    let base = path.parent().unwrap_or(Path::new(""));
    let ids = match read_file(path).and_then(references) {
        Ok(ids) => ids,
        Err(error) => return found.push(fault(path, error)),
    };
    for id in ids {
        let Some(relative) = below(&id) else {
            let error = ImagingError::value(tags::REFERENCED_FILE_ID, "a file below the DICOMDIR", "another path");
            found.push(fault(path, error));
            continue;
        };
        // file systems of discs give names back in lower case
        let lower = PathBuf::from(relative.to_string_lossy().to_lowercase());
        let there = [relative.clone(), lower].into_iter().map(|one| base.join(one)).find(|one| one.is_file());
        found.push(match there {
            Some(path) => Found { path, directory: false, fault: None },
            None => fault(&base.join(relative), ImagingError::ReferenceMissing),
        });
    }
}

/// The file IDs of a DICOMDIR, in the order of its records; the offsets between records are not needed.
pub(crate) fn references(bytes: Vec<u8>) -> Result<Vec<Vec<String>>, ImagingError> {
    let front = part10::read(bytes)?;
    let attributes = Attributes::new(&front.data, &front.elements);
    if attributes.element(tags::DIRECTORY_RECORD_SEQUENCE).is_none() {
        let why = "so the DICOMDIR refers to nothing";
        return Err(ImagingError::Missing { attribute: tags::DIRECTORY_RECORD_SEQUENCE, why });
    }
    let records = attributes.items(tags::DIRECTORY_RECORD_SEQUENCE);
    Ok(records.map(|record| record.texts(tags::REFERENCED_FILE_ID)).filter(|id| !id.is_empty()).collect())
}

/// The components as one relative path; None where one of them would lead elsewhere.
fn below(id: &[String]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in id {
        let mut components = Path::new(part).components();
        let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
        if !plain || part.contains(['/', ':', '\0']) {
            return None;
        }
        path.push(part);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-IMG-021
    #[test]
    fn a_file_id_never_leads_out_of_the_file_set() {
        let of = |parts: &[&str]| below(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["A", "B"]), Some(PathBuf::from("A/B")));
        for bad in [vec!["..", "B"], vec!["/etc"], vec!["A", "."], vec!["A/../.."]] {
            assert_eq!(of(&bad), None);
        }
    }
}
