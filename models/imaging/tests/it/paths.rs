//! Files, folders and DICOMDIRs as paths.

use std::{fs, path::PathBuf};

use vidimus_imaging::{ImagingError, walk};

use crate::build::{Build, element, item};

fn directory(ids: &[&str]) -> Vec<u8> {
    let records = ids.iter().flat_map(|id| {
        let mut id = id.as_bytes().to_vec();
        if id.len() % 2 == 1 {
            id.push(b' ');
        }
        item(&element(0x0004_1500, b"CS", &id))
    });
    let mut build = Build::grey();
    build.elements.clear();
    build.bytes(0x0004_1220, b"SQ", records.collect());
    let mut file = build.file();
    // the file meta group names the media storage directory
    file.splice(144..144, element(0x0002_0002, b"UI", b"1.2.840.10008.1.3.10"));
    file
}

/// Proves: REQ-IMG-021
#[test]
fn a_folder_is_listed_in_the_order_of_its_names_and_a_missing_path_is_an_entry() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("b")).unwrap();
    for name in ["c.dcm", "a.dcm", "b/d.dcm"] {
        fs::write(root.path().join(name), b"x").unwrap();
    }
    let absent = root.path().join("absent");
    let found = walk([root.path(), absent.as_path()]);
    let paths: Vec<PathBuf> = found.iter().map(|one| one.path.clone()).collect();
    let wanted = ["a.dcm", "b/d.dcm", "c.dcm", "absent"].map(|name| root.path().join(name));
    assert_eq!(paths, wanted);
    assert!(matches!(found[3].fault, Some(ImagingError::Unreadable { .. })));
}

/// Proves: REQ-IMG-021
#[test]
fn a_dicomdir_means_the_files_it_refers_to_and_names_the_missing_and_the_forbidden() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("IMG")).unwrap();
    fs::write(root.path().join("IMG/ONE"), Build::grey().file()).unwrap();
    fs::write(root.path().join("DICOMDIR"), directory(&["IMG\\ONE", "IMG\\TWO", "..\\ETC"])).unwrap();
    let found = walk([root.path().join("DICOMDIR")]);
    assert!(found[0].directory && found[0].fault.is_none());
    assert!(found[1].fault.is_none() && found[1].path == root.path().join("IMG/ONE"));
    assert!(matches!(found[2].fault, Some(ImagingError::ReferenceMissing)) && found[2].path.ends_with("IMG/TWO"));
    assert!(found[3].fault.as_ref().unwrap().to_string().starts_with("ReferencedFileID (0004,1500)"));
}

/// Proves: REQ-IMG-021
#[test]
fn a_link_to_a_folder_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
    fs::write(root.path().join("a"), b"x").unwrap();
    assert_eq!(walk([root.path()]).len(), 1);
}

/// Proves: REQ-IMG-021
#[test]
fn the_file_sets_of_the_corpus_are_found_with_and_without_offsets() {
    let Some(folder) = crate::corpus::corpus() else { return };
    for name in ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset", "DICOMDIR-reordered"] {
        let found = walk([folder.join("dicomdir").join(name)]);
        let files = found.iter().filter(|one| !one.directory && one.fault.is_none()).count();
        assert!(files >= 31, "{name}: {files} of {} files", found.len() - 1);
        assert_eq!(files, found.len() - 1, "{name}");
    }
}
