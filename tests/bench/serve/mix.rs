//! Sixty-four clients of every sort at once, and afterwards the question whether anything was lost: each instance that
//! was answered as stored must stand in the log and have its reading.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use vidimus_tests::http::Served;

use crate::{
    client::{Client, Reply},
    figures::{Report, Times},
    films::Films,
    stages::{STOW, STUDIES, is_visible},
};

/// Until the queue is empty after the clients have gone.
const DRAIN: Duration = Duration::from_secs(1_200);
/// Longest pause of a client that was told to come later.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Sorts of clients and how many of each: 64.
const CLIENTS: &[(Sort, usize)] = &[
    (Sort::Modality, 16),
    (Sort::Upload, 4),
    (Sort::List, 16),
    (Sort::Study, 12),
    (Sort::Fhir, 6),
    (Sort::Wait, 4),
    (Sort::Log, 4),
    (Sort::Stranger, 2),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Modality,
    Upload,
    List,
    Study,
    Fhir,
    Wait,
    Log,
    Stranger,
}

impl Sort {
    const fn role(self) -> Option<&'static str> {
        match self {
            Self::Modality => Some("modality"),
            Self::Log => Some("regulator"),
            Self::Stranger => None,
            _ => Some("clinician"),
        }
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    answers: BTreeMap<(Sort, u16), u64>,
    times: BTreeMap<Sort, Times>,
    /// Studies of instances that were answered as stored.
    stored: Vec<(Sort, String)>,
    /// Answers that are neither what was asked for nor documented back-pressure.
    undue: Vec<String>,
}

/// Runs the mix, waits until the queue is empty, and looks for everything that was stored.
pub(crate) fn run(report: &Report, served: &Served, films: &Films, span: Duration) {
    let seen = Mutex::new(Seen::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        for (sort, count) in CLIENTS {
            let token = sort.role().map(|role| served.token(role));
            for number in 0..*count {
                let (seen, token) = (&seen, token.clone());
                scope.spawn(move || {
                    let mut client = Client::new(&served.address, token.as_deref());
                    let (mut turn, mut readings) = (number, Vec::new());
                    while begun.elapsed() < span {
                        if *sort == Sort::Study && (readings.is_empty() || turn % 20 == 0) {
                            readings = newest(&mut client);
                        }
                        act(*sort, turn, &mut client, &readings, films, seen);
                        turn += 1;
                    }
                });
            }
        }
    });
    let seen = seen.into_inner().expect("no client panicked");
    for ((sort, status), count) in &seen.answers {
        let name = format!("mix: {sort:?} {status}");
        // How long a client waited for news says nothing.
        let timed = *sort != Sort::Wait && ((200..300).contains(status) || *status == 401);
        let fields = seen.times.get(sort).filter(|_| timed);
        report.row(
            &name,
            std::iter::once(("answers", json!(count))).chain(fields.map(Times::fields).unwrap_or_default()),
        );
    }
    for text in seen.undue.iter().take(5) {
        eprintln!("undue answer: {text}");
    }
    report.row("mix: errors beyond back-pressure", [("answers", json!(seen.undue.len()))]);
    account(report, served, &seen);
}

/// One act of a client.
fn act(sort: Sort, turn: usize, client: &mut Client, readings: &[String], films: &Films, seen: &Mutex<Seen>) {
    let sent = Instant::now();
    let (reply, study) = match sort {
        Sort::Modality => {
            let film = films.next();
            (client.post(STUDIES, STOW, &film.body()), Some(film.study))
        }
        Sort::Upload => {
            let film = films.next();
            (client.post("/readings", "application/dicom", &film.bytes), Some(film.study))
        }
        Sort::List => {
            let queries = ["", "?limit=200", "?order=newest", "?decision=present", "?signed=false&status=evaluated"];
            (client.get(&format!("/readings{}", queries[turn % queries.len()])), None)
        }
        Sort::Study => (study(client, turn, readings), None),
        Sort::Fhir => {
            let queries = ["DiagnosticReport?_count=10", "Observation?_count=10", "ImagingStudy?_count=5", "metadata"];
            (client.get(&format!("/fhir/{}", queries[turn % queries.len()])), None)
        }
        Sort::Wait => {
            let tip = client.get("/readings/changes?since=0").json()["tip"].as_u64().unwrap_or(0);
            (client.get(&format!("/readings/changes?since={tip}&wait=3")), None)
        }
        Sort::Log => {
            let paths = ["/log/entries?limit=50", "/log/checkpoint", "/log/entries?kind=access&limit=20"];
            (client.get(paths[turn % paths.len()]), None)
        }
        Sort::Stranger => {
            thread::sleep(Duration::from_millis(100));
            (client.get("/readings"), None)
        }
    };
    note(sort, &reply, study, sent.elapsed(), seen);
    if let Some(seconds) = reply.retry_after {
        thread::sleep(Duration::from_secs(seconds).min(PAUSE_MAX));
    }
}

/// Names of the newest readings.
fn newest(client: &mut Client) -> Vec<String> {
    let list = client.get("/readings?order=newest&limit=20").json();
    let readings = list["readings"].as_array().into_iter().flatten();
    readings.filter_map(|reading| reading["id"].as_str().map(str::to_owned)).collect()
}

/// What a study's page asks for, one after another.
fn study(client: &mut Client, turn: usize, readings: &[String]) -> Reply {
    let Some(id) = readings.get(turn / 5 % readings.len().max(1)) else { return client.get("/readings?limit=1") };
    let parts = ["", "/image?instance=0&frame=0", "/pixels?instance=0&frame=0", "/receipt", "/saliency"];
    client.get(&format!("/readings/{id}{}", parts[turn % parts.len()]))
}

fn note(sort: Sort, reply: &Reply, study: Option<String>, time: Duration, seen: &Mutex<Seen>) {
    let mut seen = seen.lock().expect("no client panicked");
    *seen.answers.entry((sort, reply.status)).or_default() += 1;
    let good = match sort {
        Sort::Stranger => reply.status == 401,
        _ => (200..300).contains(&reply.status),
    };
    if good {
        seen.times.entry(sort).or_default().add(time);
        seen.stored.extend(study.map(|study| (sort, study)));
    } else if reply.status != 503 || reply.retry_after.is_none() {
        let body: String = String::from_utf8_lossy(&reply.body).chars().take(300).collect();
        seen.undue.push(format!("{sort:?} {} {body}", reply.status));
    }
}

/// Looks for all that was answered as stored: in the log and among the readings.
fn account(report: &Report, served: &Served, seen: &Seen) {
    let mut client = Client::new(&served.address, Some(&served.token("clinician")));
    let begun = Instant::now();
    while client.get("/readings?limit=1").json()["waiting"].as_u64() != Some(0) && begun.elapsed() < DRAIN {
        thread::sleep(Duration::from_millis(500));
    }
    let drained = begun.elapsed();
    // A study that no longer waits may still be on its way into the list.
    let visible = |client: &mut Client, study: &str| {
        (0..20).any(|turn| {
            thread::sleep(Duration::from_millis(if turn == 0 { 0 } else { 500 }));
            is_visible(client, study)
        })
    };
    let unread = seen.stored.iter().filter(|(_, study)| !visible(&mut client, study)).count();
    let mut auditor = Client::new(&served.address, Some(&served.token("quality")));
    let logged = logged(&mut auditor, "stow") + logged(&mut auditor, "readings.create");
    report.row(
        "mix: nothing lost",
        [
            ("stored", json!(seen.stored.len())),
            ("in_log", json!(logged)),
            ("without_reading", json!(unread)),
            ("drain_s", json!(drained.as_secs())),
        ],
    );
    assert!(logged >= seen.stored.len(), "an answer of 200 has no entry");
    assert_eq!(unread, 0, "an instance that was answered as stored has no reading");
}

/// Entries of an operation that say that something was stored.
fn logged(client: &mut Client, operation: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = client.get(&format!("/log/entries?operation={operation}&limit=200{cursor}")).json();
        let entries = page["entries"].as_array().cloned().unwrap_or_default();
        count += entries.iter().filter(|entry| entry["body"]["why"] == "stored").count();
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}
