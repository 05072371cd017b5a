//! STOW-RS and upload through the served program: what is stored, what is refused by which status, and that nothing of
//! a broken request stays.

use std::{
    fs,
    io::{Cursor, Read as _, Write as _},
    net::Shutdown,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use vidimus_imaging::Instance;
use vidimus_tests::{
    http::{Request, Response, Served},
    program,
};

use crate::site::{assert_log_whole, copy, sample};

const KIND: &str = "multipart/related; type=\"application/dicom\"; boundary=b";
const STUDIES: &str = "/dicom-web/studies";

/// A served copy of the demonstration's site.
struct Site {
    served: Served,
    modality: String,
    _folder: TempDir,
}

impl Site {
    fn new(arguments: &[&str]) -> Self {
        let (folder, dir) = copy();
        let served = Served::start(&dir, arguments);
        Self { modality: served.token("modality"), served, _folder: folder }
    }

    fn stow(&self, parts: &[&[u8]]) -> Response {
        self.send(KIND, body(parts))
    }

    fn send(&self, kind: &str, body: impl Into<Vec<u8>>) -> Response {
        self.served.call(&Request::new("POST", STUDIES).token(&self.modality).body(kind, body))
    }

    /// Codes of the incidents, the newest first.
    fn incidents(&self) -> Vec<String> {
        let quality = self.served.token("quality");
        let found = self.served.get("/log/entries?kind=incident", &quality).expect_status(200).json();
        let entries = found["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["body"]["code"].as_str().unwrap().to_owned()).collect()
    }

    /// The end by which the whole log is checked, and that nothing on its way in was left.
    fn end(self) {
        let dir = self.served.dir.clone();
        assert_eq!(fs::read_dir(dir.join("incoming")).unwrap().count(), 0);
        let (code, messages) = self.served.end();
        assert_eq!(code, Some(0), "{messages}");
        assert_log_whole(&dir);
    }
}

fn part(bytes: &[u8]) -> Vec<u8> {
    [b"--b\r\nContent-Type: application/dicom\r\n\r\n".as_slice(), bytes, b"\r\n"].concat()
}

pub(crate) fn body(parts: &[&[u8]]) -> Vec<u8> {
    let mut body: Vec<u8> = parts.iter().flat_map(|bytes| part(bytes)).collect();
    body.extend_from_slice(b"--b--\r\n");
    body
}

/// A film of the samples that the site does not hold yet: its UIDs are changed in place.
pub(crate) fn film(number: usize, mark: u8) -> Vec<u8> {
    let mut bytes = fs::read(sample(number)).unwrap();
    let places: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, window)| window == b"2.25.").map(|(place, _)| place).collect();
    assert!(places.len() >= 4, "meta and data set name instance, study and series");
    for place in places {
        bytes[place + 5] = b'1' + (bytes[place + 5] - b'0' + mark) % 9;
    }
    bytes
}

/// The same with one pixel changed.
pub(crate) fn other_pixels(film: &[u8]) -> Vec<u8> {
    let mut other = film.to_vec();
    let place = other.len() - 900;
    other[place] ^= 0x10;
    other
}

fn values<'a>(document: &'a Value, tag: &str) -> Vec<&'a Value> {
    document[tag]["Value"].as_array().map(|items| items.iter().collect()).unwrap_or_default()
}

fn reason(item: &Value) -> u64 {
    item["00081197"]["Value"][0].as_u64().unwrap()
}

/// Proves: REQ-SVC-161, REQ-SVC-162, REQ-SVC-163, REQ-SVC-166
#[test]
fn parts_are_stored_each_for_itself_and_the_answer_names_every_one() {
    let site = Site::new(&[]);
    let (one, two) = (film(1, 1), film(2, 1));
    let answer = site.stow(&[&one, &two]).expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/dicom+json"));
    let document = answer.json();
    assert_eq!(values(&document, "00081199").len(), 2);
    assert!(document.get("00081198").is_none());
    site.stow(&[&one]).expect_status(200);

    let document = site.stow(&[b"no instance", &one]).expect_status(202).json();
    assert_eq!((values(&document, "00081199").len(), values(&document, "0008119A").len()), (1, 1));
    assert_eq!(reason(values(&document, "0008119A")[0]), 0xc000);
    site.stow(&[b"no instance"]).expect_status(409);

    let document = site.stow(&[&other_pixels(&one)]).expect_status(409).json();
    assert_eq!(reason(values(&document, "00081198")[0]), 0x0110);
    assert_eq!(site.incidents().first().map(String::as_str), Some("duplicate-instance"));

    let uid = document["00081198"]["Value"][0]["00081155"]["Value"][0].as_str().unwrap();
    let elsewhere = Request::new("POST", &format!("{STUDIES}/{uid}9")).token(&site.modality).body(KIND, body(&[&one]));
    let document = site.served.call(&elsewhere).expect_status(409).json();
    assert_eq!(reason(values(&document, "00081198")[0]), 0xa900);

    for (accept, status) in [("application/json", 200), ("*/*", 200), ("application/dicom+xml", 406)] {
        let request = Request::new("POST", STUDIES).token(&site.modality).header("Accept", accept);
        site.served.call(&request.body(KIND, body(&[&one]))).expect_status(status);
    }
    site.end();
}

/// Proves: REQ-SVC-150, REQ-SVC-152, REQ-SVC-153, REQ-SVC-154, REQ-SVC-155
#[test]
fn a_body_that_is_no_whole_multipart_is_refused_by_its_status() {
    let site = Site::new(&[]);
    let film = film(1, 2);
    let many = |count: usize| format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(count));
    let long = format!("--b\r\nA: {}\r\n\r\nx\r\n--b--", "a".repeat(9_000));
    for (kind, body, status) in [
        (KIND, b"junk".to_vec(), 400),
        (KIND, Vec::new(), 400),
        (KIND, b"--b--".to_vec(), 400),
        (KIND, part(&film), 400),
        (KIND, body(&[&film])[1..].to_vec(), 400),
        (KIND, long.into_bytes(), 400),
        (KIND, many(10_000).into_bytes(), 413),
        ("multipart/related; type=\"application/dicom\"; boundary=c", body(&[&film]), 400),
        ("multipart/related; type=\"application/dicom\"", body(&[&film]), 400),
        ("multipart/related; boundary=b", body(&[&film]), 415),
        ("multipart/related; type=\"application/dicom+json\"; boundary=b", body(&[&film]), 415),
        ("application/dicom", film.clone(), 415),
    ] {
        site.send(kind, body).expect_problem(status);
    }
    let packed = Request::new("POST", STUDIES).token(&site.modality).header("Content-Encoding", "gzip");
    site.served.call(&packed.body(KIND, body(&[&film]))).expect_problem(415);
    // Without a type the part has the request's; preamble, padding and epilogue say nothing.
    let loose = [b"text\r\n--b \t\r\n\r\n".as_slice(), &film, b"\r\n--b-- \r\nmore"].concat();
    let answer = site.send("Multipart/Related; boundary=b; TYPE=application/dicom", loose);
    assert_eq!(values(&answer.expect_status(200).json(), "00081199").len(), 1);
    site.end();
}

/// Proves: REQ-SVC-158, REQ-SVC-168
#[test]
fn a_request_that_breaks_off_or_is_too_long_stores_nothing() {
    let site = Site::new(&[]);
    let film = film(3, 3);
    // All of the part came, its request did not.
    let whole = Request::new("POST", STUDIES).token(&site.modality).body(KIND, body(&[&film, &film]));
    let bytes = whole.bytes(&site.served.address);
    let mut stream = site.served.connect();
    stream.write_all(&bytes[..bytes.len() - film.len() / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    // The length alone is refused, before a byte of the body.
    let token = &site.modality;
    let head = format!(
        "POST {STUDIES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {KIND}\r\nContent-Length: 5000000000\r\n\r\n"
    );
    site.served.send(head.as_bytes()).expect_problem(413);
    // It is new still: 202 of an upload by somebody who may ask for its state.
    let clinician = site.served.token("clinician");
    let upload = Request::new("POST", "/readings").token(&clinician).body("application/dicom", film);
    let answer = site.served.call(&upload).expect_status(202).json();
    assert_eq!((answer["state"].as_str(), answer["reading"].is_null()), (Some("queued"), true));
    site.end();
}

/// Proves: REQ-SVC-157
#[test]
fn a_request_for_which_the_disk_has_no_room_is_named_and_harms_nothing() {
    let (folder, dir) = copy();
    // No file may grow beyond 8 MiB: the system answers as a full disk does.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 8192; trap '' XFSZ; exec \"$@\"", "bash"]).arg(program("vidimus"));
    let served = Served::start_as(command, &dir, &[]);
    let site = Site { modality: served.token("modality"), served, _folder: folder };
    let (first, second) = (film(7, 7), film(8, 7));
    site.stow(&[&first]).expect_status(200);
    let long = vec![7; 9 << 20];
    assert_eq!(site.stow(&[&second, &long]).expect_problem(507), "no-room");
    site.stow(&[&first, &second]).expect_status(200);
    site.end();
}

/// Proves: REQ-SVC-169
#[test]
fn a_sender_that_stops_is_told_so() {
    let site = Site::new(&[]);
    let request = Request::new("POST", STUDIES).token(&site.modality).body(KIND, body(&[&film(4, 4)]));
    let bytes = request.bytes(&site.served.address);
    site.served.send(&bytes[..bytes.len() / 2]).expect_problem(408);
    site.end();
}

/// Proves: REQ-SVC-168
#[test]
fn a_full_queue_is_told_before_the_body_is_read() {
    let site = Site::new(&["--waiting", "0"]);
    let token = &site.modality;
    let head = format!(
        "POST {STUDIES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {KIND}\r\nContent-Length: 1000\r\n\r\n"
    );
    let answer = site.served.send(head.as_bytes());
    answer.expect_problem(503);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    site.end();
}

/// Proves: REQ-SVC-161
#[test]
fn what_was_answered_as_stored_is_read_though_the_process_is_killed() {
    let Site { served, modality, _folder } = Site::new(&[]);
    let dir = served.dir.clone();
    let films: Vec<Vec<u8>> = (1..=4).map(|number| film(number, 8)).collect();
    for film in &films {
        served.call(&Request::new("POST", STUDIES).token(&modality).body(KIND, body(&[film]))).expect_status(200);
    }
    drop(served);
    let served = Served::start(&dir, &[]);
    let clinician = served.token("clinician");
    for film in films {
        let study = Instance::from_vec(film).unwrap().study_instance_uid.open().clone();
        let begun = Instant::now();
        let mut tip = 0;
        while served.get(&format!("/readings?study_instance_uid={study}"), &clinician).json()["readings"][0].is_null() {
            assert!(begun.elapsed() < Duration::from_secs(120), "a stored film is not read");
            let changed = served.get(&format!("/readings/changes?since={tip}&wait=5"), &clinician).expect_status(200);
            tip = changed.json()["tip"].as_u64().unwrap();
        }
    }
    let (code, messages) = served.end();
    assert_eq!(code, Some(0), "{messages}");
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-164, REQ-SVC-167
#[test]
fn a_film_or_a_picture_is_uploaded_with_what_its_sender_states() {
    let site = Site::new(&[]);
    let clinician = site.served.token("clinician");
    let send = |query: &str, kind: &str, bytes: Vec<u8>| {
        site.served.call(&Request::new("POST", &format!("/readings{query}")).token(&clinician).body(kind, bytes))
    };
    let picture = |format, seed: u8| {
        let pixels = image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(x * y) as u8 ^ seed]));
        let mut bytes = Cursor::new(Vec::new());
        pixels.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let (png, jpeg) = (picture(image::ImageFormat::Png, 0), picture(image::ImageFormat::Jpeg, 1));
    let facts = "?modality=DX&body_part=CHEST&view=PA&age=003Y";
    let first = send(facts, "image/png", png.clone()).expect_status(202).json();
    assert_eq!(first["study"].as_str().map(str::len), Some(64));
    assert!(first["study_instance_uid"].as_str().unwrap().starts_with("2.25."));
    assert_eq!(first["arrival"].as_str().map(str::len), Some(32));
    let again = send(facts, "image/png", png.clone()).expect_status(202).json();
    assert_eq!(again["study"], first["study"]);
    assert_ne!(send("", "image/png", png.clone()).expect_status(202).json()["study"], first["study"], "other facts");
    send("", "image/jpeg", jpeg).expect_status(202);
    let film = film(5, 5);
    send("", "application/dicom", film.clone()).expect_status(202);
    send("", "application/dicom", other_pixels(&film)).expect_problem(409);
    assert_eq!(site.incidents().first().map(String::as_str), Some("duplicate-instance"));

    // Sent again under its key it is answered again, whatever happened meanwhile; the key is of this film alone.
    let keyed = |bytes: &[u8]| {
        let request = Request::new("POST", "/readings").token(&clinician).header("Idempotency-Key", "film-6");
        site.served.call(&request.body("application/dicom", bytes))
    };
    let once = keyed(&self::film(6, 5)).expect_status(202);
    let twice = keyed(&self::film(6, 5)).expect_status(202);
    assert_eq!((once.body, twice.header("idempotent-replayed")), (twice.body.clone(), Some("true")));
    keyed(&film).expect_problem(422);

    for (query, kind, bytes, status) in [
        ("", "text/plain", png.clone(), 415),
        ("", "application/dicom", b"no instance".to_vec(), 422),
        ("", "application/dicom", png.clone(), 422),
        ("", "image/png", film, 422),
        ("", "image/png", png[..40].to_vec(), 422),
        ("", "image/png", Vec::new(), 400),
        ("?modality=dx", "image/png", png.clone(), 400),
        ("?view=A%5CP", "image/png", png.clone(), 400),
        ("?age=3Y", "image/png", png.clone(), 400),
    ] {
        send(query, kind, bytes).expect_problem(status);
    }
    site.served
        .call(&Request::new("POST", "/readings").token(&site.modality).body("image/png", png))
        .expect_problem(403);
    site.end();
}
