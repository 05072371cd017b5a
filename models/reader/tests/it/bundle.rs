//! The bundle: its root, and what it must hold.

use vidimus_reader::{Bundle, BundleError};

use crate::world::shipped;

/// Proves: REQ-RDR-010
#[test]
fn the_root_covers_every_file_and_name_but_not_the_evidence() {
    let root = Bundle::from_files(shipped()).unwrap().root();
    let mut with_evidence = shipped();
    with_evidence.insert("evidence/verdict.json".into(), b"{}".to_vec());
    assert_eq!(Bundle::from_files(with_evidence).unwrap().root(), root);
    let mut more = shipped();
    more.insert("extra.txt".into(), Vec::new());
    assert_ne!(Bundle::from_files(more).unwrap().root(), root);
    let mut changed = shipped();
    changed.get_mut("card.md").unwrap().push(b'\n');
    assert_ne!(Bundle::from_files(changed).unwrap().root(), root);
}

/// Proves: REQ-RDR-010
#[test]
fn what_was_written_reads_back_with_the_same_root() {
    let folder = tempfile::TempDir::new().unwrap();
    let bundle = Bundle::from_files(shipped()).unwrap();
    bundle.write(folder.path()).unwrap();
    assert_eq!(Bundle::read(folder.path()).unwrap().root(), bundle.root());
}

/// Proves: REQ-RDR-011
#[test]
fn missing_and_senseless_parts_are_named() {
    for name in ["package.toml", "weights.safetensors", "guard.safetensors", "card.md", "training-record.json"] {
        let mut files = shipped();
        files.remove(name);
        match Bundle::from_files(files) {
            Err(BundleError::Missing { path }) => assert_eq!(path, name),
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("a bundle without {name}"),
        }
    }
    for (from, to) in [
        ("threshold = 0.5", "threshold = 1.5"),
        ("temperature = 1.0", "temperature = 0.0"),
        ("classes = [\"bacteria\", \"virus\"]", "classes = [\"fungus\"]"),
        ("version = \"1.1.0\"", "version = \"1.1.0\"\nunknown = 1"),
    ] {
        let mut files = shipped();
        let text = String::from_utf8(files["package.toml"].clone()).unwrap();
        assert!(text.contains(from));
        files.insert("package.toml".into(), text.replace(from, to).into_bytes());
        assert!(matches!(Bundle::from_files(files), Err(BundleError::Invalid { .. })), "{to}");
    }
}
