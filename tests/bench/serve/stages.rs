//! What is measured, one thing after another: STOW-RS alone, the list of readings, upload to visible reading.
//! Each stage has a site of its own, served by a process of its own.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use vidimus_tests::http::Served;

use crate::{
    client::Client,
    figures::{Report, Times, rounded},
    films::{Film, Films},
};

/// Media type of a STOW-RS request.
pub(crate) const STOW: &str = "multipart/related; type=\"application/dicom\"; boundary=b";
/// Its address.
pub(crate) const STUDIES: &str = "/dicom-web/studies";

/// Instances a second at so many clients, one instance a request.
pub(crate) fn stow(report: &Report, served: &Served, films: &Films, clients: usize, span: Duration) {
    let token = served.token("modality");
    let begun = Instant::now();
    let workers: Vec<(Times, u64, u64)> = thread::scope(|scope| {
        let send = || {
            let mut client = Client::new(&served.address, Some(&token));
            let (mut times, mut bytes, mut others) = (Times::default(), 0, 0);
            while begun.elapsed() < span {
                let film = films.next();
                let sent = Instant::now();
                let reply = client.post(STUDIES, STOW, &film.body());
                if reply.status == 200 {
                    times.add(sent.elapsed());
                    bytes += film.bytes.len() as u64;
                } else {
                    others += 1;
                }
            }
            (times, bytes, others)
        };
        let workers: Vec<_> = (0..clients).map(|_| scope.spawn(send)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a client ends")).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (mut all, mut sent, mut failed) = (Times::default(), 0, 0);
    for (times, bytes, others) in workers {
        all.join(times);
        sent += bytes;
        failed += others;
    }
    let rate = rounded(all.count() as f64 / seconds);
    let mut fields = vec![("clients", json!(clients)), ("instances_per_s", rate)];
    fields.push(("mb_per_s", rounded(sent as f64 / seconds / 1e6)));
    fields.extend(all.fields());
    fields.push(("other_answers", json!(failed)));
    report.row("STOW-RS, films of the samples", fields);
}

/// Instances of 8 MB, one after another.
pub(crate) fn stow_large(report: &Report, served: &Served, films: &Films, count: usize) {
    let large: Vec<Film> = (0..count).map(|_| films.large()).collect();
    let mut client = Client::new(&served.address, Some(&served.token("modality")));
    let (mut times, mut bytes) = (Times::default(), 0);
    for film in &large {
        let sent = Instant::now();
        let reply = client.post(STUDIES, STOW, &film.body());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        times.add(sent.elapsed());
        bytes += film.bytes.len();
    }
    let mut fields = times.fields();
    fields.push(("mb_each", rounded(bytes as f64 / count.max(1) as f64 / 1e6)));
    report.row("STOW-RS, uncompressed instances", fields);
}

/// `GET /readings`: the first page, filtered pages and pages behind a cursor.
pub(crate) fn list(report: &Report, served: &Served, each: usize) {
    let mut client = Client::new(&served.address, Some(&served.token("clinician")));
    let first = client.get("/readings");
    assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
    let mut measure = |name: &str, paths: &mut dyn FnMut(&serde_json::Value) -> String| {
        let (mut times, mut last) = (Times::default(), first.json());
        for _ in 0..each {
            let path = paths(&last);
            let sent = Instant::now();
            let reply = client.get(&path);
            times.add(sent.elapsed());
            assert_eq!(reply.status, 200, "{path}: {}", String::from_utf8_lossy(&reply.body));
            last = reply.json();
        }
        report.row(name, times.fields());
    };
    measure("GET /readings, first page of 50", &mut |_| "/readings".into());
    measure("GET /readings?limit=200", &mut |_| "/readings?limit=200".into());
    measure("GET /readings?order=newest&decision=present", &mut |_| "/readings?order=newest&decision=present".into());
    measure("GET /readings, page after page", &mut |last| match last["next"].as_str() {
        Some(cursor) => format!("/readings?cursor={cursor}"),
        None => "/readings".into(),
    });
}

/// From the first byte of an upload until its reading is in the list.
pub(crate) fn visible(report: &Report, served: &Served, films: &Films, count: usize) {
    let mut client = Client::new(&served.address, Some(&served.token("clinician")));
    let (mut accepted, mut seen) = (Times::default(), Times::default());
    for _ in 0..count {
        let film = films.next();
        let mut tip = client.get("/readings/changes?since=0").json()["tip"].as_u64().unwrap_or(0);
        let sent = Instant::now();
        let reply = client.post("/readings", "application/dicom", &film.bytes);
        assert_eq!(reply.status, 202, "{}", String::from_utf8_lossy(&reply.body));
        accepted.add(sent.elapsed());
        while !is_visible(&mut client, &film.study) {
            assert!(sent.elapsed() < Duration::from_secs(120), "an uploaded film is not read");
            let changed = client.get(&format!("/readings/changes?since={tip}&wait=10")).json();
            tip = changed["tip"].as_u64().unwrap_or(tip);
        }
        seen.add(sent.elapsed());
    }
    report.row("upload to its answer", accepted.fields());
    report.row("upload to visible reading", seen.fields());
}

/// Whether a study has a reading in the list.
pub(crate) fn is_visible(client: &mut Client, study: &str) -> bool {
    let found = client.get(&format!("/readings?study_instance_uid={study}")).json();
    found["readings"].as_array().is_some_and(|readings| !readings.is_empty())
}

/// Serves a site with room for whatever is sent.
pub(crate) fn serve(dir: &Path, waiting: usize) -> Served {
    Served::start(dir, &["--waiting", &waiting.to_string()])
}
