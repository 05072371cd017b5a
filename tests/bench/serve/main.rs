//! Figures of the served program, beside the disk's own pace in the same run.
//!
//! `cargo build --release --bins && cargo bench -p vidimus-tests --bench serve -- [--json] [--quick] [--stage NAME]
//! [--folder DIR]` prints a table, with `--json` one object a line. `--quick` takes a tenth of the time, `--stage` does
//! one of disk, stow, list, mix. The sites lie in a folder of their own in `--folder`, by default in the system's one
//! for temporary files: name one of the disk that is meant.
//! Measured: fdatasync; STOW-RS at 1 and 16 clients, each instance hashed, sealed, logged and durable before its
//! answer, readings going on beside; `GET /readings` with 10,000 readings; upload to visible reading; 64 clients of
//! every sort for two minutes, then whether anything of it was lost; memory at rest and at the end.
//! Errors: panics, and an exit code other than 0 where something was lost.
#![expect(clippy::expect_used, reason = "a measurement that fails is none")]

mod client;
mod figures;
mod films;
mod mix;
mod sites;
mod stages;

use std::{env, path::Path, time::Duration};

use serde_json::json;

use figures::{Report, disk, memory, rounded};
use films::Films;

/// Readings of the site that is listed.
const READINGS: usize = 10_000;
/// Studies that may wait in the mix: what is more is told to come later.
const WAITING: usize = 64;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1));
    let share = if given("--quick") { 10 } else { 1 };
    let only = value("--stage");
    let bench = Bench { report: Report::new(given("--json")), films: Films::new(), share };
    let folder = match value("--folder") {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.expect("a folder for the sites");
    let demo = sites::demo(folder.path());
    let stages: [(&str, Stage); 5] = [
        ("disk", Bench::disk),
        ("stow", Bench::stow),
        ("list", Bench::list),
        ("mix", Bench::mix),
        ("disk", Bench::disk),
    ];
    for (name, stage) in stages {
        if only.is_none_or(|only| only == name) {
            stage(&bench, folder.path(), &demo);
        }
    }
}

/// A stage, in a folder of its own, with the site of the demonstration.
type Stage = fn(&Bench, &Path, &Path);

/// What all stages share.
struct Bench {
    report: Report,
    films: Films,
    /// A stage takes this part of its time.
    share: usize,
}

impl Bench {
    fn span(&self, seconds: u64) -> Duration {
        Duration::from_secs((seconds / self.share as u64).max(2))
    }

    /// The disk's own pace.
    fn disk(&self, folder: &Path, _demo: &Path) {
        for threads in [1, 16] {
            let (times, rate) = disk(folder, threads, 400 / threads);
            let mut fields = vec![("threads", json!(threads)), ("per_s", rounded(rate))];
            fields.extend(times.fields());
            self.report.row("fdatasync of 4 KiB", fields);
        }
    }

    fn stow(&self, folder: &Path, demo: &Path) {
        for clients in [1, 16] {
            let dir = sites::copy(demo, &folder.join(format!("stow-{clients}")));
            let served = stages::serve(&dir, 1_000_000);
            stages::stow(&self.report, &served, &self.films, clients, self.span(20));
        }
        let served = stages::serve(&sites::copy(demo, &folder.join("large")), 1_000_000);
        stages::stow_large(&self.report, &served, &self.films, (20 / self.share).max(3));
    }

    fn list(&self, folder: &Path, demo: &Path) {
        let dir = sites::copy(demo, &folder.join("list"));
        let count = READINGS / self.share;
        sites::fill(&dir, count);
        let served = stages::serve(&dir, WAITING);
        self.report.row("memory at rest", [("rss_mib", json!(memory(served.id()).0)), ("readings", json!(count))]);
        stages::list(&self.report, &served, (400 / self.share).max(20));
        stages::visible(&self.report, &served, &self.films, (40 / self.share).max(3));
    }

    fn mix(&self, folder: &Path, demo: &Path) {
        let served = stages::serve(&sites::copy(demo, &folder.join("mix")), WAITING);
        self.report.row("memory at rest", [("rss_mib", json!(memory(served.id()).0))]);
        mix::run(&self.report, &served, &self.films, self.span(120));
        let (end, most) = memory(served.id());
        self.report.row("memory at the end", [("rss_mib", json!(end)), ("most_mib", json!(most))]);
        let (code, messages) = served.end();
        assert_eq!(code, Some(0), "{messages}");
    }
}
