//! Bad input from outside: each a clear error that names attribute and culprit, exit code not zero, the log whole, the
//! good films read.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use vidimus_imaging::{
    Instance, Stored,
    import::{ImportFacts, picture_to_instance},
};
use vidimus_tests::{data, program, run, vidimus, vidimus_run};

use crate::site::{assert_log_whole, copy, demo, read, sample, text};

fn reason(object: &Value) -> (&str, &str) {
    (object["reason"]["code"].as_str().unwrap(), object["reason"]["text"].as_str().unwrap())
}

/// Writes bytes into a file of a fresh folder.
fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A film with one piece of its bytes replaced by another of the same length.
fn altered(film: &Path, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(film).unwrap();
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the film holds the piece");
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

/// Proves: REQ-SYS-030
#[test]
fn a_bad_file_among_good_ones_stops_nothing() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let good = fs::read(sample(3)).unwrap();
    file(&folder, "1-text.dcm", b"plain text, no film");
    file(&folder, "2-cut.dcm", &good[..good.len() / 2]);
    file(&folder, "3-good.dcm", &good);
    file(&folder, "4-empty.dcm", b"");
    let ran = read(&dir, &[folder.path()]).expect_code(1);
    let objects = ran.objects();
    let states: Vec<&str> = objects.iter().map(|object| object["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "failed", "evaluated", "failed"]);
    for object in objects.iter().filter(|object| object["status"] == "failed") {
        let (code, text) = reason(object);
        assert_eq!(code, "unreadable");
        assert!(!text.is_empty());
        assert!(object["receipt"]["entry_id"].is_string(), "a failure is in the log too");
    }
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-031
#[test]
fn a_second_image_under_a_known_uid_is_refused_and_the_first_kept() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    // another film that claims the first one's SOP instance UID, study and patient
    let first = fs::read(sample(4)).unwrap();
    let mut other = first.clone();
    let place = other.len() - 900;
    other[place] ^= 0x10;
    let conflict = file(&folder, "conflict.dcm", &other);
    let ran = read(&dir, &[&conflict]).expect_code(1);
    let object = &ran.objects()[0];
    assert_eq!(reason(object).0, "duplicate-instance");
    assert!(reason(object).1.contains("SOP Instance UID (0008,0018)"));
    read(&dir, &[&sample(4)]).expect_code(0);
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-031
#[test]
fn a_film_of_another_patient_in_a_known_study_is_set_aside() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let bytes = altered(&sample(5), b"DEMO-0005", b"DEMO-9995");
    let ran = read(&dir, &[&file(&folder, "other.dcm", &bytes)]).expect_code(1);
    let object = &ran.objects()[0];
    assert_eq!(reason(object).0, "patient-conflict");
    assert!(reason(object).1.contains("Patient ID (0010,0020)"));
    assert!(!ran.out.contains("DEMO-9995") && !ran.err.contains("DEMO-9995"), "the message names no patient");
}

/// Proves: REQ-SYS-032
#[test]
fn outside_the_contract_is_not_evaluated_with_a_code_and_no_probability() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    type Changes = &'static [(&'static [u8], &'static [u8])];
    let cases: [(&str, Changes, &str); 5] = [
        ("modality", &[(b"DX", b"CT")], "modality-unsupported"),
        ("age", &[(b"003Y", b"059Y"), (b"20160401", b"19600401")], "age-outside-intended-use"),
        ("dates", &[(b"20160401", b"19600401")], "age-contradictory"),
        ("view", &[(b"AP", b"LL")], "view-unsupported"),
        ("bodypart", &[(b"CHEST ", b"KNEE  ")], "body-part-unsupported"),
    ];
    for (name, changes, code) in cases {
        // Each case is a study of its own: the UIDs end in other digits.
        let mut bytes = fs::read(sample(6)).unwrap();
        for (from, to) in changes {
            bytes = element_altered(&bytes, from, to, name);
        }
        let ran = read(&dir, &[&file(&folder, &format!("{name}.dcm"), &bytes)]).expect_code(0);
        let object = &ran.objects()[0];
        assert_eq!(object["status"], "not_evaluated", "{name}: {object}");
        assert_eq!(reason(object).0, code);
        assert!(!object.to_string().contains("\"probability\""), "no probability anywhere");
        let fhir: Value =
            serde_json::from_slice(&fs::read(object["files"]["fhir"].as_str().unwrap()).unwrap()).unwrap();
        let observation = fhir["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["resource"])
            .find(|r| r["resourceType"] == "Observation")
            .unwrap();
        assert!(observation.get("valueCodeableConcept").is_none());
        assert_eq!(observation["dataAbsentReason"]["coding"][0]["code"], "unsupported");
    }
    assert_log_whole(&dir);
}

/// The element of an explicit VR file with this value changed, and the UIDs of instance, series and study with it.
fn element_altered(film: &[u8], from: &[u8], to: &[u8], salt: &str) -> Vec<u8> {
    let mut bytes = film.to_vec();
    // the value stands behind its two-byte length: so text elsewhere is not taken for it
    let mut pattern = u16::try_from(from.len()).unwrap().to_le_bytes().to_vec();
    pattern.extend_from_slice(from);
    let place =
        bytes.windows(pattern.len()).position(|window| window == pattern).expect("the film holds the value") + 2;
    bytes[place..place + to.len()].copy_from_slice(to);
    let digit = b'0' + salt.len() as u8 % 10;
    for tag in [[0x08, 0, 0x18, 0], [0x20, 0, 0x0d, 0], [0x20, 0, 0x0e, 0], [0x02, 0, 0x03, 0]] {
        let mut header = tag.to_vec();
        header.extend_from_slice(b"UI");
        let at = bytes.windows(6).position(|window| window == header).expect("a UID");
        let length = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
        let value = &mut bytes[at + 8..at + 8 + length];
        let last = value.iter().rposition(u8::is_ascii_digit).unwrap();
        value[last] = digit;
        value[last - 1] = salt.as_bytes()[0] % 10 + b'0';
    }
    bytes
}

/// The value of an explicit VR element with a two-byte length, blanked with this byte.
fn blanked(film: &[u8], tag: [u8; 4], vr: &[u8; 2], with: u8) -> Vec<u8> {
    let mut bytes = film.to_vec();
    let mut header = tag.to_vec();
    header.extend_from_slice(vr);
    let at = bytes.windows(6).position(|window| window == header).expect("the film holds the element");
    let length = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
    bytes[at + 8..at + 8 + length].fill(with);
    bytes
}

/// Proves: REQ-SYS-038
#[test]
fn a_film_without_its_identifiers_is_refused_by_attribute() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let film = fs::read(sample(7)).unwrap();
    for (tag, attribute) in [
        ([0x20, 0, 0x0d, 0], "Study Instance UID (0020,000D)"),
        ([0x20, 0, 0x0e, 0], "Series Instance UID (0020,000E)"),
        ([0x08, 0, 0x18, 0], "SOP Instance UID (0008,0018)"),
    ] {
        let path = file(&folder, "film.dcm", &blanked(&film, tag, b"UI", 0));
        let ran = read(&dir, &[&path]).expect_code(1);
        let object = &ran.objects()[0];
        assert_eq!(reason(object).0, "unreadable");
        assert!(reason(object).1.contains(attribute), "{object}");
    }
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-038
#[test]
fn patients_without_an_id_are_never_one_person() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let mut reports = Vec::new();
    for (number, name) in [(8, "a.dcm"), (9, "bb.dcm")] {
        let film = blanked(&fs::read(sample(number)).unwrap(), [0x10, 0, 0x20, 0], b"LO", b' ');
        // other UIDs than the sample's, which belong to a patient with an ID
        let film = element_altered(&film, b"DX", b"DX", name);
        let objects = read(&dir, &[&file(&folder, name, &film)]).expect_code(0).objects();
        let fhir = fs::read_to_string(objects[0]["files"]["fhir"].as_str().unwrap()).unwrap();
        let bundle: Value = serde_json::from_str(&fhir).unwrap();
        let patient =
            bundle["entry"].as_array().unwrap().iter().find(|entry| entry["resource"]["resourceType"] == "Patient");
        let patient = patient.unwrap().clone();
        assert!(patient["resource"].get("identifier").is_none(), "{patient}");
        assert!(patient["request"].get("ifNoneExist").is_none(), "{patient}");
        reports.push(objects[0]["study_instance_uid"].clone());
    }
    assert_ne!(reports[0], reports[1]);
}

/// Proves: REQ-SYS-031
#[test]
fn the_same_pixels_in_another_syntax_are_the_kept_image_and_replay() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let film = Instance::open(sample(10)).unwrap();
    let Stored::U8(pixels) = film.decode().unwrap().stored else { panic!("samples have 8 bits") };
    let description = film.description().unwrap();
    let picture = image::GrayImage::from_raw(description.columns, description.rows, pixels).unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let facts = ImportFacts {
        modality: text("DX"),
        body_part: text("CHEST"),
        view: text("AP"),
        age: text("003Y"),
        patient_id: Some(film.patient.id.clone()),
        patient_name: Some(film.patient.name.clone()),
        study_instance_uid: Some(film.study_instance_uid.open().clone()),
        series_instance_uid: Some(film.series_instance_uid.open().clone()),
        sop_instance_uid: Some(film.sop_instance_uid.open().clone()),
        ..ImportFacts::default()
    };
    let again = file(&folder, "again.dcm", &picture_to_instance(&png.into_inner(), &facts).unwrap());
    let first = read(&dir, &[&sample(10)]).expect_code(0).objects();
    let second = read(&dir, &[&again]).expect_code(0).objects();
    assert_eq!(second[0]["digests"], first[0]["digests"], "the kept original is read");
    let both = read(&dir, &[&sample(10), &again]).expect_code(0).objects();
    assert_eq!(both.len(), 1, "one image, however often it comes");
    vidimus_run(&["replay", "--all", "--dir", text_of(&dir)]).expect_code(0);
}

fn text_of(path: &Path) -> &str {
    text(path)
}

/// Proves: REQ-SYS-030
#[test]
fn a_cut_film_in_a_study_is_a_fault_of_its_own() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let film = fs::read(sample(11)).unwrap();
    file(&folder, "1-good.dcm", &film);
    // another instance of the same study whose pixels are garbage
    let mut cut = element_altered(&film, b"DX", b"DX", "cut");
    for tag in [[0x20, 0, 0x0d, 0], [0x20, 0, 0x0e, 0]] {
        let at = |bytes: &[u8]| bytes.windows(6).position(|w| w[..4] == tag && &w[4..] == b"UI").unwrap() + 8;
        let (from, to) = (at(&film), at(&cut));
        let length = usize::from(u16::from_le_bytes([film[from - 2], film[from - 1]]));
        cut.splice(to..to + length, film[from..from + length].iter().copied());
    }
    let end = cut.len() - 16;
    cut[end - 3000..end].fill(0xff);
    file(&folder, "2-cut.dcm", &cut);
    let ran = read(&dir, &[folder.path()]).expect_code(1);
    let objects = ran.objects();
    let states: Vec<&str> = objects.iter().map(|object| object["status"].as_str().unwrap()).collect();
    assert!(states.contains(&"evaluated") && states.contains(&"failed"), "{states:?}");
    let failed = objects.iter().find(|object| object["status"] == "failed").unwrap();
    assert!(failed["input"].as_str().unwrap().ends_with("2-cut.dcm"), "{failed}");
}

/// Proves: REQ-SYS-039
#[test]
fn a_picture_is_read_with_the_facts_that_its_user_states_and_not_without() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let film = Instance::open(sample(12)).unwrap();
    let display = film.decode().unwrap().display(&film, 0).unwrap();
    let grey: Vec<u8> = display.pixels.iter().map(|value| (value * 255.0).round() as u8).collect();
    let path = folder.path().join("film.png");
    image::GrayImage::from_raw(display.columns as u32, display.rows as u32, grey).unwrap().save(&path).unwrap();
    let object = read(&dir, &[&path]).expect_code(0).objects().remove(0);
    assert_eq!(reason(&object).0, "modality-unsupported");
    let facts = ["--modality", "DX", "--body-part", "CHEST", "--view", "AP", "--age", "003Y", "--json"];
    let mut arguments = vec!["read", text(&path), "--dir", text(&dir)];
    arguments.extend(facts);
    let again = vidimus_run(&arguments).expect_code(0).objects().remove(0);
    assert_eq!(again["status"], "evaluated", "{again}");
}

/// Proves: REQ-SYS-035
#[test]
fn an_unwritable_output_is_named_before_anything_is_read() {
    let (_site, dir) = copy();
    let folder = TempDir::new().unwrap();
    let blocked = file(&folder, "a-file", b"no folder");
    let before = vidimus_run(&["log", "checkpoint", "--dir", text(&dir)]).expect_code(0).out;
    let ran =
        vidimus_run(&["read", text(&sample(1)), "--dir", text(&dir), "--out", text(&blocked.join("x")), "--json"]);
    let ran = ran.expect_code(1);
    assert!(ran.err.contains("the folder cannot be made"), "{}", ran.err);
    assert!(ran.out.is_empty());
    let after = vidimus_run(&["log", "checkpoint", "--dir", text(&dir)]).expect_code(0).out;
    // boot and shutdown only
    let size = |checkpoint: &str| checkpoint.lines().nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(size(&after), size(&before) + 2);
}

/// Proves: REQ-SYS-041
#[test]
fn a_demonstration_killed_at_any_moment_starts_again() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("site");
    for milliseconds in [5, 15, 30, 60, 120, 250] {
        let mut child = vidimus()
            .args(["demo", "--no-serve", "--json", "--dir", text(&dir)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = vidimus_run(&["demo", "--no-serve", "--json", "--dir", text(&dir)]).expect_code(0);
    assert_eq!(ran.objects().len(), 12);
    assert_log_whole(&dir);
    vidimus_run(&["replay", "--all", "--dir", text(&dir)]).expect_code(0);
}

/// Proves: REQ-SYS-033
#[test]
fn a_second_process_on_a_site_is_told_so() {
    let (_site, dir) = copy();
    // The test itself is the first process: it holds the lock that a writing process holds for life.
    let lock = fs::File::open(dir.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let second = read(&dir, &[&sample(1)]).expect_code(1);
    assert!(second.err.contains("another process works on this site"), "{}", second.err);
    assert!(second.out.is_empty());
    // Reading the log needs no lock.
    assert_log_whole(&dir);
    drop(lock);
    read(&dir, &[&sample(1)]).expect_code(0);
}

/// Proves: REQ-SYS-034
#[test]
fn missing_paths_and_wrong_arguments_are_told_apart() {
    let (_site, dir) = copy();
    let ran = read(&dir, &[Path::new("no-such-film.dcm")]).expect_code(1);
    assert_eq!(reason(&ran.objects()[0]).0, "unreadable");
    vidimus_run(&["read"]).expect_code(2);
    vidimus_run(&["read", "x", "--no-such-flag"]).expect_code(2);
    vidimus_run(&["inspect", "no-such-file.dcm"]).expect_code(1);
}

/// Proves: REQ-SYS-035
#[test]
fn a_full_disk_fails_clearly_and_leaves_the_log_whole() {
    let (_site, dir) = copy();
    let largest =
        fs::metadata(dir.join("log.db")).unwrap().len().max(fs::metadata(dir.join("vault.db")).unwrap().len());
    // No file may grow past what is there: the system answers as a full disk does.
    let script = format!("ulimit -f {}; trap '' XFSZ; exec \"$@\"", largest.div_ceil(1024));
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(program("vidimus")).arg("read");
    for number in 1..=12 {
        command.arg(sample(number));
    }
    let ran = run(command.args(["--dir", text(&dir), "--json"]));
    assert_eq!(ran.code, 1, "{}\n{}", ran.out, ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    // which file could not be written, and that the disk is why
    let last = ran.err.lines().last().unwrap_or_default();
    assert!(last.contains("disk"), "{}", ran.err);
    assert_log_whole(&dir);
    read(&dir, &[&sample(1)]).expect_code(0);
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-036
#[test]
fn every_damaged_file_of_the_corpus_is_answered_and_the_log_stays_whole() {
    let Some(data) = data() else { return };
    let (_site, dir) = copy();
    let ran = read(&dir, &[&data.join("dicom/broken")]);
    assert_eq!(ran.code, 1);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    let objects = ran.objects();
    assert!(objects.len() > 40, "{} objects", objects.len());
    assert!(objects.iter().all(|object| object["status"] != "evaluated"), "nothing there is a child's chest film");
    assert_log_whole(&dir);
}

/// Proves: REQ-SYS-037
#[test]
fn no_clinical_image_of_another_kind_is_read_as_a_chest_film() {
    let Some(data) = data() else { return };
    let (_site, dir) = copy();
    let ran = read(&dir, &[&data.join("dicom/series"), &data.join("dicom/modalities"), &data.join("dicom/cardiac-lv")]);
    let objects = ran.objects();
    assert!(objects.len() >= 5, "{} objects", objects.len());
    assert!(objects.iter().all(|object| object["status"] != "evaluated"));
}

/// Proves: REQ-SYS-034, REQ-IMG-020
#[test]
fn inspect_answers_for_every_sample_without_a_site() {
    let folder = demo().dir().join("samples");
    let objects = vidimus_run(&["inspect", text(&folder), "--json"]).expect_code(0).objects();
    assert_eq!(objects.len(), 12);
    for object in objects {
        assert_eq!((&object["rows"], &object["columns"], &object["error"]), (&224.into(), &224.into(), &Value::Null));
        assert_eq!(object["transfer_syntax_uid"], "1.2.840.10008.1.2.4.50");
    }
    std::io::stderr().flush().unwrap();
}
