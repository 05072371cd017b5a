//! Patient data stays in: canary strings in a film appear in no message, no span, no entry, no name of a file.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tempfile::TempDir;
use vidimus_tests::{
    http::{Request, Served},
    run, vidimus, vidimus_run,
};

use crate::site::{copy, sample, text};

/// What of the first sample names its patient.
const CANARIES: [&str; 4] = ["Sample^Child", "DEMO-0001", "20160401", "SAMPLE01"];

/// A collector that answers every request and keeps the bodies; ends when `stop` is set.
struct Collector {
    address: String,
    bodies: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (bodies, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (Arc::clone(&bodies), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut part = [0; 4096];
                loop {
                    let count = stream.read(&mut part).unwrap_or(0);
                    request.extend_from_slice(&part[..count]);
                    if count == 0 || whole(&request) {
                        break;
                    }
                }
                kept.lock().unwrap().extend_from_slice(&request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, bodies, stop, thread: Some(thread) }
    }

    fn end(mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::SeqCst);
        // One more connection wakes the listener.
        let _ = std::net::TcpStream::connect(self.address.trim_start_matches("http://"));
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.bodies.lock().unwrap())
    }
}

/// The request's head and the body that it announces are there.
fn whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

fn assert_free(bytes: &[u8], what: &str) {
    let text = String::from_utf8_lossy(bytes);
    for canary in CANARIES {
        assert!(!text.contains(canary), "{what} holds {canary}");
    }
    let uid = study_uid();
    assert!(!text.contains(&uid), "{what} holds the study's UID");
}

fn study_uid() -> String {
    let bytes = fs::read(sample(1)).unwrap();
    let at = bytes.windows(6).position(|window| window == [0x20, 0, 0x0d, 0, b'U', b'I']).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
    String::from_utf8(bytes[at + 8..at + 8 + length].to_vec()).unwrap().trim_end_matches('\0').to_owned()
}

/// Proves: REQ-SYS-040
#[test]
fn no_patient_datum_leaves_by_span_message_entry_or_file_name() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let broken = folder.path().join("broken.dcm");
    let film = fs::read(sample(1)).unwrap();
    fs::write(&broken, &film[..film.len() - 3000]).unwrap();
    let out = folder.path().join("out");
    let collector = Collector::start();
    let ran = run(vidimus()
        .args(["read", text(&sample(1)), text(&broken), "--dir", text(&dir), "--out", text(&out)])
        .env("VIDIMUS_LOG", "trace")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address));
    let spans = collector.end();
    assert!(String::from_utf8_lossy(&spans).contains("infer_explain"), "spans reach the collector");
    assert!(ran.err.len() > 500, "messages were asked for");
    assert_free(&spans, "a span");
    assert_free(ran.err.as_bytes(), "a message");
    assert_free(ran.out.as_bytes(), "the page");

    let tiles = folder.path().join("tiles");
    vidimus_run(&["log", "tiles", text(&tiles), "--dir", text(&dir)]).expect_code(0);
    each_file(&tiles, &mut |_, bytes| assert_free(bytes, "an entry of the log"));
    each_file(&dir, &mut |path, bytes| {
        assert_free(path.display().to_string().as_bytes(), "a file's name");
        // What was handed out and the samples are for the clinician; everything else is sealed or free of patients.
        if !path.starts_with(dir.join("readings")) && !path.starts_with(dir.join("samples")) {
            assert_free(bytes, &path.display().to_string());
        }
    });
    each_file(&out, &mut |path, _| assert_free(path.display().to_string().as_bytes(), "a file's name"));
}

/// Waits until the list of readings holds so many.
fn wait_for(served: &Served, token: &str, count: usize) -> serde_json::Value {
    for _ in 0..600 {
        let list = served.get("/readings?order=newest", token).expect_status(200).json();
        if list["readings"].as_array().unwrap().len() >= count {
            return list;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{count} readings never came");
}

/// Proves: REQ-SYS-043
#[test]
fn no_patient_datum_leaves_the_service_by_span_metric_message_entry_or_fault() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (_site, dir) = copy();
    let collector = Collector::start();
    let mut program = vidimus();
    program.env("VIDIMUS_LOG", "trace").env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address);
    let served = Served::start_as(program, &dir, &[]);
    let [clinician, modality, quality] = ["clinician", "modality", "quality"].map(|role| served.token(role));

    // A study full of canaries comes in under the sender's trace, and again with other pixels, and broken.
    let film = crate::http_stow::film(1, 1);
    let kind = "multipart/related; type=\"application/dicom\"; boundary=b";
    let store = |bytes: &[u8]| {
        let parts = crate::http_stow::body(&[bytes]);
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let request = Request::new("POST", "/dicom-web/studies").token(&modality).header("traceparent", &parent);
        served.call(&request.body(kind, parts))
    };
    let stored = store(&film).expect_status(200);
    let answered = stored.header("traceresponse").unwrap_or_default().to_owned();
    assert!(answered.contains(TRACE), "the caller's trace goes on: {answered}");
    store(&crate::http_stow::other_pixels(&film)).expect_status(409);
    let broken = store(&film[..film.len() - 3000]);
    assert_free(broken.text().as_bytes(), "the answer to a broken film");
    let list = wait_for(&served, &clinician, 13);
    let id = list["readings"][0]["id"].as_str().unwrap().to_owned();
    served.get(&format!("/readings/{id}"), &clinician).expect_status(200);

    // Canaries in paths, queries, headers and bodies: no fault says them back.
    let uid = study_uid();
    for (method, target, body) in [
        ("GET", "/readings/Sample%5EChild".to_owned(), ""),
        ("GET", "/readings?Sample%5EChild=DEMO-0001".to_owned(), ""),
        ("GET", "/readings?status=DEMO-0001".to_owned(), ""),
        ("GET", format!("/readings?study_instance_uid={uid}&limit=1"), ""),
        ("GET", "/fhir/Patient?family=Sample%5EChild".to_owned(), ""),
        ("GET", "/fhir/Patient?DEMO-0001=SAMPLE01".to_owned(), ""),
        ("GET", format!("/fhir/ImagingStudy?identifier=urn:dicom:uid|urn:oid:{uid}"), ""),
        ("GET", "/DEMO-0001/SAMPLE01".to_owned(), ""),
        ("POST", "/replay".to_owned(), "{\"readings\":[\"DEMO-0001\"]}"),
        ("POST", format!("/readings/{id}/override"), "{\"decision\":\"DEMO-0001\"}"),
        ("POST", "/fhir/DiagnosticReport/DEMO-0001/$sign".to_owned(), "{\"SAMPLE01\":\"Sample^Child\"}"),
    ] {
        let request = Request::new(method, &target).token(&clinician).header("X-Patient", "DEMO-0001");
        let answer = served.call(&if body.is_empty() { request } else { request.body("application/json", body) });
        assert!(answer.status < 500, "{target}: {}", answer.status);
        if answer.status >= 400 {
            assert_free(answer.text().as_bytes(), &target);
        }
    }
    let metrics = served.get("/metrics", &quality).expect_status(200).text();
    for name in ["vidimus_requests_total", "vidimus_stage_seconds_count", "vidimus_log_append_seconds_count"] {
        assert!(metrics.contains(name), "{name}");
    }
    assert_free(metrics.as_bytes(), "a metric");
    let entries = served.get("/log/entries?operation=stow&limit=200", &quality).expect_status(200).json();
    let traces: Vec<&str> =
        entries["entries"].as_array().unwrap().iter().map(|entry| entry["trace"].as_str().unwrap()).collect();
    assert!(traces.contains(&TRACE), "the entry names the sender's trace: {traces:?}");
    let intents = served.get("/log/entries?kind=read_intent&limit=1", &quality).expect_status(200).json();
    assert_eq!(intents["entries"][0]["trace"], TRACE, "and so does the reading that it led to");

    let (code, messages) = served.end();
    assert_eq!(code, Some(0), "{messages}");
    let spans = collector.end();
    let said = String::from_utf8_lossy(&spans);
    for name in ["POST /dicom-web/studies", "GET /readings/{id}", "infer_explain", "url.template"] {
        assert!(said.contains(name), "spans say {name}");
    }
    assert_free(&spans, "a span");
    assert!(messages.len() > 500, "messages were asked for");
    assert_free(messages.as_bytes(), "a message");
    each_file(&dir, &mut |path, bytes| {
        assert_free(path.display().to_string().as_bytes(), "a file's name");
        if !path.starts_with(dir.join("readings")) && !path.starts_with(dir.join("samples")) {
            assert_free(bytes, &path.display().to_string());
        }
    });
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &fs::read(&path).unwrap());
        }
    }
}
