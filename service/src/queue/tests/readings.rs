//! What a study that waited becomes: its sealed record, what the page sees, who asked, what the metrics are told.

use super::*;

/// Proves: REQ-SVC-201
#[test]
fn the_sealed_record_holds_all_that_a_page_shows_and_the_log_commits_to_what_was_released() {
    let place = Place::new();
    place.take(&[film(0)]);
    let rows = place.read();
    let [row] = rows.as_slice() else { panic!("{} readings", rows.len()) };
    assert_eq!(row.status, "evaluated");
    let expected = if row.decision.as_deref() == Some("present") { attention::PRESENT } else { attention::ABSENT };
    assert_eq!(row.attention, expected);
    let record = Record::open(&place.house, row).unwrap();
    let original = Instance::from_bytes(film(0)).unwrap();
    assert_eq!(record.object["status"], "evaluated");
    assert_eq!(record.object["receipt"]["entry_id"], row.reading.to_string());
    assert!(record.object.get("files").is_none() && record.object.get("input").is_none(), "no name of a file");
    assert!(record.object["timing_ms"]["infer_explain"].as_f64().unwrap() > 0.0);
    assert_eq!(record.patient.id, *original.patient.id.open());
    assert_eq!(record.patient.name, *original.patient.name.open());
    assert_eq!(record.study.study_instance_uid, *original.study_instance_uid.open());
    assert_eq!((record.films, record.images.len(), record.study.key), (1, 1, row.study));
    assert!(!record.limits.is_empty());
    let explanation = record.explanation.as_ref().unwrap();
    assert_eq!(explanation.values.len(), explanation.grid[0] * explanation.grid[1]);
    assert!(explanation.values.iter().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!((explanation.image, explanation.rows, explanation.columns), (0, 224, 224));
    for picture in [record.saliency_png(&place.house), record.overlay_png(&place.house)] {
        assert!(picture.unwrap().unwrap().open().starts_with(b"\x89PNG"));
    }
    // the entry that published it commits to the very bytes of the Bundle
    let bundle = record.bundle(&place.house).unwrap();
    let entry = Entry::parse(&place.house.site.entry(row.index).unwrap()).unwrap();
    let Body::FindingReleased(released) = &entry.body else { panic!("{}", entry.body.kind()) };
    let opening = place.house.site.vault().opening(&entry.entry_id, "resource").unwrap().opening;
    assert_eq!(commitment("resource", &opening, bundle.open()), released.resource);
    place.assert_log_whole();
}

/// Proves: REQ-SVC-200, REQ-SVC-202
#[test]
fn a_films_stored_values_reach_the_screen_exactly_and_what_is_not_there_is_named() {
    let place = Place::new();
    place.take(&[film(0)]);
    let row = place.read().remove(0);
    let record = Record::open(&place.house, &row).unwrap();
    let original = Instance::from_bytes(film(0)).unwrap();
    let decoded = original.decode().unwrap();
    let shown = pixels(&place.house, &record, 0, 0).unwrap();
    assert_eq!((shown.rows, shown.columns), (224, 224));
    let numbers: Vec<f64> =
        shown.bytes.chunks_exact(2).map(|pair| f64::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
    let stored: Vec<f64> = decoded.stored.floats(decoded.frame_range(0)).collect();
    assert!(numbers.iter().zip(&stored).all(|(number, stored)| (number - stored).abs() < 1e-9));
    assert_eq!(numbers.len(), stored.len());
    let png = rendered(&place.house, &record, 0, 0).unwrap();
    assert_eq!(png[16..24], [0, 0, 0, 224, 0, 0, 0, 224]);
    let missing = |instance, frame| pixels(&place.house, &record, instance, frame).err().unwrap();
    assert!(matches!(missing(1, 0), ViewError::NoImage { instance: 1 }));
    assert!(matches!(missing(0, 1), ViewError::NoFrame { instance: 0, frames: 1 }));
}

/// Proves: REQ-SVC-211
#[test]
fn a_reading_names_who_sent_the_study_and_goes_on_with_the_senders_trace() {
    let place = Place::new();
    place.take(&[film(5)]);
    place.read();
    let entries = place.bodies();
    let intent = entries.iter().find(|entry| entry.body.kind() == "read_intent").unwrap();
    assert_eq!(intent.actor, sender());
    for kind in ["read_intent", "read_outcome", "finding_released"] {
        let entry = entries.iter().find(|entry| entry.body.kind() == kind).unwrap();
        assert_eq!(entry.trace.as_deref(), Some(TRACE), "{kind}");
    }
    let outcome = entries.iter().find(|entry| entry.body.kind() == "read_outcome").unwrap();
    assert_eq!(outcome.actor, Actor::system(), "what the program concludes is its own");
}

/// Proves: REQ-SVC-212
#[test]
fn what_the_guard_refuses_is_published_with_its_reason_and_no_probability() {
    let place = Place::new();
    place.take(&[&altered(film(6), "CHEST ", "ANKLE ")]);
    let row = place.read().remove(0);
    assert_eq!(
        (row.status.as_str(), row.attention, row.decision.clone()),
        ("not_evaluated", attention::NOT_EVALUATED, None)
    );
    let record = Record::open(&place.house, &row).unwrap();
    assert_eq!(record.object["findings"], serde_json::json!([]));
    assert_eq!(record.not_evaluated[0].code, "body-part-unsupported");
    assert!(record.explanation.is_none() && record.saliency.is_none() && record.images.len() == 1);
    let entry = Entry::parse(&place.house.site.entry(row.index).unwrap()).unwrap();
    let Body::Access(access) = &entry.body else { panic!("{}", entry.body.kind()) };
    assert_eq!((access.operation.as_str(), access.why.as_str()), ("publish", "not_evaluated"));
    assert_eq!(entry.actor, Actor::system());
    place.assert_log_whole();
}

/// Proves: REQ-SVC-212
#[test]
fn all_films_of_a_study_are_read_together_and_those_set_aside_are_named() {
    let place = Place::new();
    let uid = Instance::from_bytes(film(7)).unwrap().sop_instance_uid.open().clone();
    let mut other = uid.clone().into_bytes();
    let last = other.len() - 1;
    other[last] = b'9';
    assert!(other > uid.clone().into_bytes(), "films without a number stand in the order of their identifiers");
    let second = altered(film(7), &uid, std::str::from_utf8(&other).unwrap());
    place.take(&[film(7), &altered(&second, "CHEST ", "ANKLE ")]);
    let row = place.read().remove(0);
    assert_eq!(row.status, "evaluated");
    let record = Record::open(&place.house, &row).unwrap();
    assert_eq!((record.films, record.images.len()), (2, 2));
    let named: Vec<&str> = record.not_evaluated.iter().map(|why| why.code.as_str()).collect();
    assert_eq!(named, ["body-part-unsupported"]);
    assert!(record.not_evaluated[0].text.starts_with("Image 2: "), "{}", record.not_evaluated[0].text);
}

/// Proves: REQ-SVC-215
#[test]
fn every_stage_of_a_reading_is_told_with_how_it_ended() {
    #[derive(Default)]
    struct Listens(Mutex<Vec<String>>);
    impl Observer for Listens {
        fn stage(&self, name: &'static str, seconds: f64) {
            assert!(seconds >= 0.0);
            self.0.lock().unwrap().push(name.to_owned());
        }
        fn reading(&self, status: &'static str, reason: Option<&str>) {
            self.0.lock().unwrap().push(format!("{status}/{}", reason.unwrap_or_default()));
        }
    }
    let place = Place::new();
    place.take(&[film(11)]);
    let listens = Arc::new(Listens::default());
    let queue = place.queue(Arc::clone(&listens) as _);
    place.wait_for_all(&queue);
    assert!(queue.stop(LONG));
    let told = listens.0.lock().unwrap().join(" ");
    // no folder: nothing is written outside of the site
    assert_eq!(told, "open guard intent infer_explain draw outcome write seal release evaluated/");
    assert!(!place.house.readings().exists());
}

/// The folder of a path that a test of the command line writes to.
fn folder(place: &Place) -> PathBuf {
    place.house.readings()
}

/// Proves: REQ-SVC-212
#[test]
fn a_reading_of_the_command_line_is_published_and_a_file_that_is_no_film_is_not() {
    let place = Place::new();
    let films = TempDir::new().unwrap();
    fs::write(films.path().join("1.dcm"), film(0)).unwrap();
    fs::write(films.path().join("2.dcm"), b"no film at all").unwrap();
    let model = gate::admit(&place.house).unwrap();
    let out = folder(&place);
    let asked = Asked::on_command_line(&place.house);
    let reader = Pipeline::new(&place.house, model.as_ref(), Pipeline::purpose_of(&model), asked).into_folder(&out);
    let facts = vidimus_imaging::import::ImportFacts::default();
    let mut published = Vec::new();
    for group in pipeline::gather(&[films.path().to_owned()], &facts) {
        published.extend(reader.read(group, &facts).unwrap().iter().map(|result| result.published));
    }
    assert_eq!(published, [true, false]);
    assert_eq!(place.list().len(), 1);
    place.assert_log_whole();
}
