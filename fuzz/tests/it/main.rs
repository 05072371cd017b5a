//! Replays each target's corpus and mutations of it. `VIDIMUS_FUZZ_ROUNDS` asks for more than the usual mutations.

use std::{
    fs, panic,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use vidimus_fuzz::{Mutator, TARGETS};

/// Mutations of each file in an ordinary run.
const ROUNDS: u64 = 40;

static OURS: AtomicUsize = AtomicUsize::new(0);

/// Decoders run behind `catch_unwind`; a panic inside our own code is still a fault, so it is counted where it starts.
fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |facts| {
        if facts.location().is_some_and(|place| {
            ["models/imaging", "models/networks", "regulatory/log", "service/src", "fuzz/src"]
                .iter()
                .any(|ours| place.file().contains(ours))
        }) {
            OURS.fetch_add(1, Ordering::SeqCst);
            before(facts);
        }
    }));
}

/// Proves: REQ-IMG-024, REQ-LOG-011, REQ-SVC-159, REQ-NET-106
#[test]
fn no_file_of_the_corpus_and_no_mutation_of_one_makes_a_target_panic() {
    count_panics();
    let rounds = std::env::var("VIDIMUS_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(root.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{name} has no corpus");
        for path in paths {
            let bytes = fs::read(&path).unwrap();
            target(&bytes);
            for round in 0..rounds {
                let mutated = Mutator::new(round).mutate(&bytes);
                let outcome = panic::catch_unwind(|| target(&mutated));
                assert!(outcome.is_ok(), "{} after mutation {round}", path.display());
                assert_eq!(OURS.load(Ordering::SeqCst), 0, "{} after mutation {round}", path.display());
            }
        }
    }
}
