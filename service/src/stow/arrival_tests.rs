//! Instances into a real site: what is stored, what is refused and how, what the log and the queue know of it.

use std::sync::Barrier;

use vidimus_imaging::import::{ImportFacts, picture_to_instance};
use vidimus_log::{
    Actor, Body, Digest, Draft, Entry, Phi, Recorder as _,
    body::{Access, AccessAction, AccessResult, AccessWhat, Incident},
    values::Sha256,
};

use vidimus_store::Row;

use super::{
    answer,
    arrival::{ArrivalError, Part, Parts, Received, Sort, Stored, receive},
    budget::Arrivals,
    failure::Failure,
    multipart::DICOM,
};
use crate::{pipeline::holding::ConflictKind, site::House};

/// Two pictures of 8 x 8 pixels.
const PICTURES: [&[u8]; 2] = [include_bytes!("test_a.png"), include_bytes!("test_b.png")];

struct Fixture {
    house: House,
    arrivals: Arrivals,
    _dir: tempfile::TempDir,
}

/// An instance of an invented patient.
struct Film {
    picture: usize,
    patient: &'static str,
    name: &'static str,
    study: &'static str,
    instance: &'static str,
}

const FILM: Film =
    Film { picture: 0, patient: "INVENTED-1", name: "INVENTED^ANNA", study: "2.25.1", instance: "2.25.11" };

impl Film {
    fn bytes(&self) -> Vec<u8> {
        let facts = ImportFacts {
            modality: Some("DX".into()),
            patient_id: Some(Phi::new(self.patient.into())),
            patient_name: Some(Phi::new(self.name.into())),
            study_instance_uid: Some(self.study.into()),
            series_instance_uid: Some("2.25.2".into()),
            sop_instance_uid: Some(self.instance.into()),
            ..ImportFacts::default()
        };
        picture_to_instance(PICTURES[self.picture], &facts).unwrap()
    }
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let house = House::create(&dir.path().join("site")).unwrap();
        let arrivals = Arrivals::open(house.site.dir()).unwrap();
        Self { house, arrivals, _dir: dir }
    }

    fn send(&self, parts: &[(&str, &[u8])], sort: Sort<'_>) -> Received {
        let mut spool = self.arrivals.spool();
        let mut held = Vec::new();
        for (media, bytes) in parts {
            spool.begin();
            spool.write(bytes).unwrap();
            held.push(Part { media: (*media).into(), span: spool.end().unwrap() });
        }
        let parts = Parts { spool: &spool, parts: &held, sort };
        let (site, id) = (&self.house.site, self.house.site.new_id());
        let received = receive(&self.house, &self.arrivals, &parts, |subject, why| {
            let vault = site.vault();
            let subject = subject.map(|patient| {
                vault.commit(&self.house.subject(patient).unwrap(), &id, "subject", patient.hex().as_bytes()).unwrap()
            });
            let body = Access {
                operation: "stow".into(),
                action: AccessAction::Create,
                what: AccessWhat::Study,
                subject,
                result: AccessResult::Granted,
                why: why.into(),
                policy: Sha256(Digest::of(b"policy")),
                client: vault.commit(&vault.site().unwrap(), &id, "client", b"test").unwrap(),
            };
            let actor = Actor { id: "svc_aaaaaaaaaaaaaaaaaaaaaaaaaa".into(), role: "modality".into() };
            Ok::<_, ArrivalError>(Draft { entry_id: id, actor, refs: Vec::new(), body: body.into(), trace: None })
        });
        received.unwrap()
    }

    fn send_films(&self, films: &[Film]) -> Received {
        let bytes: Vec<Vec<u8>> = films.iter().map(Film::bytes).collect();
        let parts: Vec<(&str, &[u8])> = bytes.iter().map(|bytes| (DICOM, bytes.as_slice())).collect();
        self.send(&parts, Sort::Stow { study: None })
    }

    fn study(&self, uid: &str) -> Digest {
        self.house.site.keyed("study", uid.as_bytes())
    }

    /// Kinds of the entries since `from`, with the code that each says.
    fn entries(&self, from: u64) -> Vec<(&'static str, String)> {
        let entries = self.house.site.entries(from..self.house.site.size()).unwrap();
        let said = |bytes: &Vec<u8>| match Entry::parse(bytes).unwrap().body {
            Body::Access(body) => ("access", body.why.as_str().to_owned()),
            Body::ReadRefused(body) => ("read_refused", body.reason.as_str().to_owned()),
            Body::Incident(body) => ("incident", body.code.as_str().to_owned()),
            other => panic!("an entry of another kind: {other:?}"),
        };
        entries.iter().map(said).collect()
    }
}

fn said(kind: &'static str, code: &str) -> (&'static str, String) {
    (kind, code.to_owned())
}

/// Proves: REQ-SVC-170
#[test]
fn a_study_that_is_held_and_was_never_read_waits_when_it_is_sent_again() {
    let site = Fixture::new();
    let first = site.send_films(&[FILM]).receipt.unwrap().entry_id;
    let study = site.study(FILM.study);
    site.send_films(&[FILM]);
    assert_eq!(site.house.site.work(10).unwrap()[0].arrival, first, "what waits keeps its arrival");

    // A reading of the command line died after its intent: held, not waiting, not published.
    let store = &site.house.site;
    let text = "the test ends the wait";
    let body = Incident {
        code: "test".into(),
        severity: "warning".into(),
        detail: Sha256(Digest::of(text.as_bytes())),
        text: text.into(),
    };
    let draft = Draft::system(store.new_id(), body);
    store.record_with(draft, vec![Row::WorkDone { study, arrival: first }]).unwrap();
    assert_eq!(store.work_count().unwrap(), 0);
    let again = site.send_films(&[FILM]);
    assert_eq!(answer::status(&again), 200);
    assert_eq!(again.parts[0].outcome, Ok(Stored::Known));
    let waiting = store.work(10).unwrap();
    assert_eq!((waiting.len(), waiting[0].study, waiting[0].arrival), (1, study, again.receipt.unwrap().entry_id));
}

/// Proves: REQ-SVC-161
#[test]
fn new_instances_are_held_and_wait_for_their_reading_and_the_same_bytes_again_change_nothing() {
    let site = Fixture::new();
    let from = site.house.site.size();
    let second = Film { instance: "2.25.12", picture: 1, ..FILM };
    let received = site.send_films(&[FILM, Film { instance: "2.25.12", picture: 1, ..FILM }]);
    assert_eq!(answer::status(&received), 200);
    assert_eq!(site.entries(from), [said("access", "stored")]);
    let rows = site.house.site.study_instances(&site.study("2.25.1")).unwrap();
    assert_eq!(rows.len(), 2);
    let key = site.house.site.keyed("instance", b"2.25.12");
    let row = rows.iter().find(|row| row.key == key).unwrap();
    assert_eq!(site.house.site.vault().get(&row.object).unwrap().open(), &second.bytes());
    let work = site.house.site.work(9).unwrap();
    assert_eq!(work.len(), 1);
    assert_eq!((work[0].study, work[0].arrival), (site.study("2.25.1"), received.receipt.unwrap().entry_id));

    let again = site.send_films(&[FILM, FILM, second]);
    assert_eq!(answer::status(&again), 200);
    assert!(again.parts.iter().all(|part| part.outcome == Ok(Stored::Known)));
    assert_eq!(site.house.site.study_instances(&site.study("2.25.1")).unwrap().len(), 2);
    assert_eq!(site.house.site.work(9).unwrap(), work, "no new work");
}

/// Proves: REQ-SVC-162
#[test]
fn what_cannot_be_stored_harms_no_part_beside_it_and_each_failure_has_its_reason() {
    let site = Fixture::new();
    let from = site.house.site.size();
    let (good, other) = (FILM.bytes(), Film { study: "2.25.5", instance: "2.25.51", ..FILM }.bytes());
    let mut nameless = FILM.bytes();
    let element = b"\x20\0\x0d\0UI\x06\x002.25.1";
    let place = nameless.windows(element.len()).position(|window| window == element).unwrap();
    nameless[place + 8..place + 14].copy_from_slice(b"2..5.1");
    let parts: [(&str, &[u8]); 6] = [
        (DICOM, b"no instance"),
        ("text/plain", &good),
        (DICOM, PICTURES[0]),
        (DICOM, &nameless),
        (DICOM, &other),
        (DICOM, &good),
    ];
    let received = site.send(&parts, Sort::Stow { study: Some("2.25.1") });
    assert_eq!(answer::status(&received), 202);
    let reasons: Vec<Option<u16>> =
        received.parts.iter().map(|part| part.outcome.as_ref().err().map(Failure::reason)).collect();
    assert_eq!(reasons, [Some(0xc000), Some(0xc000), Some(0xc000), Some(0xc000), Some(0xa900), None]);
    let mut expected = vec![said("access", "some-stored")];
    expected.extend(std::iter::repeat_n(said("read_refused", "unreadable"), 5));
    assert_eq!(site.entries(from), expected);
    let document = answer::document(&received);
    assert_eq!(document["00081199"]["Value"][0]["00081155"]["Value"][0], "2.25.11");
    assert_eq!(document["00081198"]["Value"][0]["00081155"]["Value"][0], "2.25.51");
    assert_eq!(document["00081198"]["Value"][0]["00081197"]["Value"][0], 0xa900);
    assert_eq!(document["0008119A"]["Value"].as_array().unwrap().len(), 4);
    assert_eq!(document["00081190"], serde_json::json!({ "vr": "UR" }));
    assert!(site.house.site.study_instances(&site.study("2.25.5")).unwrap().is_empty());
}

/// Proves: REQ-SVC-163
#[test]
fn another_image_or_another_person_under_a_held_name_is_refused_with_an_alarm() {
    let site = Fixture::new();
    site.send_films(&[FILM]);
    let from = site.house.site.size();
    for (film, kind) in [
        (Film { picture: 1, ..FILM }, ConflictKind::Instance),
        (Film { study: "2.25.9", ..FILM }, ConflictKind::Instance),
        (Film { patient: "INVENTED-2", instance: "2.25.13", ..FILM }, ConflictKind::Patient),
        (Film { name: "INVENTED^BERTA", instance: "2.25.13", ..FILM }, ConflictKind::Patient),
    ] {
        let received = site.send_films(&[film]);
        assert_eq!(received.parts[0].outcome, Err(Failure::Conflict(kind)));
        assert_eq!(answer::status(&received), 409);
        assert_eq!(answer::document(&received)["00081198"]["Value"][0]["00081197"]["Value"][0], 0x0110);
    }
    let alarm =
        |code: &str| [said("access", "none-stored"), said("read_refused", "unreadable"), said("incident", code)];
    let expected = ["duplicate-instance", "duplicate-instance", "patient-conflict", "patient-conflict"];
    assert_eq!(site.entries(from), expected.map(alarm).concat());
    assert_eq!(site.house.site.study_instances(&site.study("2.25.1")).unwrap().len(), 1);
    // A process that never saw the study finds the person in the vault.
    let fresh = Fixture { arrivals: Arrivals::open(site.house.site.dir()).unwrap(), ..site };
    let received = fresh.send_films(&[Film { name: "INVENTED^BERTA", instance: "2.25.13", ..FILM }]);
    assert_eq!(received.parts[0].outcome, Err(Failure::Conflict(ConflictKind::Patient)));
    assert_eq!(answer::status(&fresh.send_films(&[Film { name: "invented^anna", instance: "2.25.13", ..FILM }])), 200);
}

/// Proves: REQ-SVC-164
#[test]
fn a_single_part_that_fails_leaves_its_refusal_and_no_granted_access() {
    let site = Fixture::new();
    let from = site.house.site.size();
    let received = site.send(&[(DICOM, b"no instance")], Sort::Upload { picture: None });
    assert!(received.receipt.is_none());
    assert_eq!(site.entries(from), [said("read_refused", "unreadable")]);
}

/// Proves: REQ-SVC-165
#[test]
fn of_two_contradicting_requests_at_once_one_is_stored() {
    let site = Fixture::new();
    for turn in 0..6_u64 {
        let study: &'static str = Box::leak(format!("2.25.7{turn}").into_boxed_str());
        let instance: &'static str = Box::leak(format!("2.25.8{turn}").into_boxed_str());
        let other: &'static str = Box::leak(format!("2.25.9{turn}").into_boxed_str());
        let film = Film { study, instance, ..FILM };
        // The same UID with other pixels, a study of another patient, the same patient under another name.
        let rival = match turn % 3 {
            0 => Film { study, instance, picture: 1, ..FILM },
            1 => Film { study, instance: other, patient: "INVENTED-2", ..FILM },
            _ => Film { study, instance: other, name: "INVENTED^BERTA", ..FILM },
        };
        let (start, site) = (Barrier::new(2), &site);
        let stored = std::thread::scope(|scope| {
            let send = |film: Film| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    answer::status(&site.send_films(&[film]))
                })
            };
            let (one, two) = (send(film), send(rival));
            [one.join().unwrap(), two.join().unwrap()]
        });
        assert!(stored == [200, 409] || stored == [409, 200], "turn {turn}: {stored:?}");
        assert_eq!(site.house.site.study_instances(&site.study(study)).unwrap().len(), 1);
    }
}

/// Proves: REQ-SVC-165
#[test]
fn nothing_of_a_patient_stands_in_an_entry() {
    let site = Fixture::new();
    site.send_films(&[FILM, Film { patient: "INVENTED-2", instance: "2.25.13", ..FILM }]);
    site.send(&[(DICOM, b"INVENTED^ANNA")], Sort::Stow { study: Some("2.25.1") });
    for entry in site.house.site.entries(0..site.house.site.size()).unwrap() {
        let text = String::from_utf8(entry).unwrap();
        for canary in ["INVENTED", "2.25.1"] {
            assert!(!text.contains(canary), "{text}");
        }
    }
}
