//! Figures: percentiles, the disk's own pace, a process's memory, and how they are printed.
//! Units: milliseconds, unless a name says otherwise.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

/// Durations of one sort of act.
#[derive(Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Those of another.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time below which this share of them lies, in milliseconds; nearest rank.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).map_or(f64::NAN, |time| (time.as_secs_f64() * 1e5).round() / 1e2)
    }

    /// p50, p99 and the longest.
    pub(crate) fn fields(&self) -> Vec<(&'static str, Value)> {
        let of = |share| json!(self.percentile(share));
        vec![("p50_ms", of(0.5)), ("p99_ms", of(0.99)), ("max_ms", of(1.0)), ("n", json!(self.count()))]
    }
}

/// Appends of 4 KiB with fdatasync in a folder, by so many threads with a file each: the times of all.
pub(crate) fn disk(folder: &Path, threads: usize, each: usize) -> (Times, f64) {
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|number| {
            let path = folder.join(format!("fdatasync-{number}"));
            thread::spawn(move || {
                let mut file = File::create(&path).expect("the folder can be written");
                let mut times = Times::default();
                for _ in 0..each {
                    let begun = Instant::now();
                    file.write_all(&[7; 4096]).expect("the folder can be written");
                    file.sync_data().expect("the folder can be written");
                    times.add(begun.elapsed());
                }
                fs::remove_file(&path).expect("the file can be removed");
                times
            })
        })
        .collect();
    let mut all = Times::default();
    for worker in workers {
        all.join(worker.join().expect("a thread ends"));
    }
    let rate = all.count() as f64 / begun.elapsed().as_secs_f64();
    (all, rate)
}

/// Resident memory of a process now and at most, MiB.
pub(crate) fn memory(process: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(f64::NAN);
        (kib / 102.4).round() / 10.0
    };
    (of("VmRSS"), of("VmHWM"))
}

/// Where figures go: a table, or an object a line.
pub(crate) struct Report {
    json: bool,
}

impl Report {
    /// With the table's head.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// One row.
    #[expect(clippy::print_stdout, reason = "a program of figures: they are its output")]
    pub(crate) fn row(&self, figure: &str, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        if self.json {
            let mut object = Map::from_iter([("figure".to_owned(), json!(figure))]);
            object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
            println!("{}", Value::Object(object));
            return;
        }
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        println!("{figure:<44} {}", fields.join("  "));
    }
}

/// With one digit.
pub(crate) fn rounded(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}
