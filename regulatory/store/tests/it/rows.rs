//! The rows of the service: work that waits, the worklist, versions of resources, answered requests, searched entries.

use diesel::{RunQueryDsl as _, connection::SimpleConnection as _};
use vidimus_log::{Body, Digest, Draft, Entry, EntryId, Receipt, RecordError, Recorder as _, body};
use vidimus_store::{
    EntryQuery, ObjectId, Order, ResourceQuery, Row, Site, SiteError, WorklistQuery, attention, refusal,
};

use crate::common::{boot, fill, incident, made, opened, raw};

fn append(site: &Site, row: Row) -> Result<Receipt, RecordError> {
    site.record_with(incident(site.new_id(), "with a row"), vec![row])
}

fn refused(site: &Site, row: Row) -> String {
    let size = site.size();
    let error = append(site, row).unwrap_err();
    assert_eq!(site.size(), size, "a refused row takes its entry with it");
    match error {
        RecordError::Refused { rule } => rule,
        error => panic!("{error}"),
    }
}

fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn object(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

fn work(study: &str, arrival: EntryId, document: u8) -> Row {
    Row::Work { study: key(study), patient: key("patient"), arrival, document: object(document) }
}

/// Proves: REQ-STO-101
#[test]
fn a_study_waits_once_in_its_turn_until_its_newest_arrival_is_read() {
    let dir = made();
    let site = opened(dir.path());
    let (first, second, other) = (site.new_id(), site.new_id(), site.new_id());
    let began = append(&site, work("a", first, 1)).unwrap().index;
    append(&site, work("b", other, 2)).unwrap();
    assert_eq!((site.work_begin(&key("a")).unwrap(), site.work_begin(&key("a")).unwrap()), (1, 2));
    drop(site);
    let site = opened(dir.path());
    let waiting = site.work(10).unwrap();
    assert_eq!(waiting.iter().map(|row| (row.study, row.attempts)).collect::<Vec<_>>(), [(key("a"), 2), (key("b"), 0)]);
    append(&site, work("a", second, 3)).unwrap();
    let row = site.work(1).unwrap().remove(0);
    assert_eq!((row.arrival, row.document, row.attempts, row.index), (second, object(3), 0, began), "keeps its turn");
    append(&site, Row::WorkDone { study: key("a"), arrival: first }).unwrap();
    assert_eq!(site.work_count().unwrap(), 2, "another arrival came meanwhile");
    assert!(site.waits(&key("a")).unwrap());
    append(&site, Row::WorkDone { study: key("a"), arrival: second }).unwrap();
    assert_eq!(site.work(10).unwrap().iter().map(|row| row.study).collect::<Vec<_>>(), [key("b")]);
    assert_eq!(site.work_begin(&key("a")).unwrap(), 0, "it does not wait any more");
    assert!(!site.waits(&key("a")).unwrap() && site.waits(&key("b")).unwrap());
    site.verify().unwrap();
}

fn published(reading: EntryId, study: &str, status: &str, decision: Option<&str>, attention: u32, at: u64) -> Row {
    Row::Published {
        reading,
        study: key(study),
        patient: key("patient"),
        status: status.into(),
        decision: decision.map(str::to_owned),
        attention,
        model_root: key("model"),
        document: object(7),
        issued_ms: at,
    }
}

/// Proves: REQ-STO-102
#[test]
fn the_worklist_shows_what_needs_attention_first_and_pages_without_gap_or_repeat() {
    let dir = made();
    let site = opened(dir.path());
    let sorts = [
        ("evaluated", Some("present"), attention::PRESENT),
        ("failed", None, attention::FAILED),
        ("not_evaluated", None, attention::NOT_EVALUATED),
        ("evaluated", Some("absent"), attention::ABSENT),
    ];
    let mut readings = Vec::new();
    for number in 0..20_u64 {
        let (status, decision, attention) = sorts[usize::try_from(number % 4).unwrap()];
        let id = site.new_id();
        append(&site, published(id, &format!("study {}", number / 2), status, decision, attention, number)).unwrap();
        readings.push(id);
    }
    let signed = |reading| Row::Signed { reading, sign_off: readings[0], agrees: true };
    let last = append(&site, signed(readings[0])).unwrap().index;
    assert_eq!(site.last_published().unwrap(), last);
    for order in [Order::Attention, Order::Newest] {
        let whole = site.worklist(&WorklistQuery { order, ..WorklistQuery::default() }).unwrap();
        assert_eq!(whole.len(), 20);
        let newest = |row: &vidimus_store::PublishedRow| std::cmp::Reverse(row.index);
        match order {
            Order::Attention => assert!(whole.is_sorted_by_key(|row| (row.attention, newest(row)))),
            Order::Newest => assert!(whole.is_sorted_by_key(newest)),
        }
        let mut pages = Vec::new();
        let mut query = WorklistQuery { order, limit: 3, ..WorklistQuery::default() };
        loop {
            let page = site.worklist(&query).unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some((last.attention, last.index));
            pages.extend(page);
        }
        assert_eq!(pages, whole, "{order:?}");
        let count = |query: WorklistQuery| site.worklist(&WorklistQuery { order, ..query }).unwrap().len();
        let all = WorklistQuery::default;
        assert_eq!(count(WorklistQuery { status: Some("failed".into()), ..all() }), 5);
        assert_eq!(count(WorklistQuery { decision: Some("present".into()), ..all() }), 5);
        assert_eq!(count(WorklistQuery { signed: Some(true), ..all() }), 1);
        assert_eq!(count(WorklistQuery { signed: Some(false), ..all() }), 19);
        assert_eq!(count(WorklistQuery { study: Some(key("study 3")), ..all() }), 2);
        assert_eq!(count(WorklistQuery { patient: Some(key("nobody")), ..all() }), 0);
        assert_eq!(count(WorklistQuery { from_ms: Some(4), to_ms: Some(9), ..all() }), 6);
        assert_eq!(count(WorklistQuery { from_ms: Some(100), ..all() }), 0);
    }
    let first = site.published_reading(&readings[0]).unwrap().unwrap();
    assert_eq!((first.attention, first.signed.unwrap().index), (attention::SIGNED, last));
    assert_eq!(site.published_reading(&site.new_id()).unwrap(), None);
}

/// Proves: REQ-STO-103
#[test]
fn a_reading_is_published_once_and_signed_once() {
    let dir = made();
    let site = opened(dir.path());
    assert_eq!(site.last_published().unwrap(), 0);
    let (reading, sign_off) = (site.new_id(), site.new_id());
    let row = || published(reading, "study", "evaluated", Some("present"), attention::PRESENT, 1);
    let sign = |agrees| Row::Signed { reading, sign_off, agrees };
    assert_eq!(refused(&site, sign(true)), refusal::UNPUBLISHED);
    let early = published(reading, "study", "evaluated", None, attention::SIGNED, 1);
    assert_eq!(refused(&site, early), refusal::ATTENTION);
    append(&site, row()).unwrap();
    assert_eq!(refused(&site, row()), refusal::PUBLISHED);
    append(&site, sign(false)).unwrap();
    assert_eq!(refused(&site, sign(true)), refusal::SIGNED);
    let held = site.published_reading(&reading).unwrap().unwrap();
    assert!(!held.signed.unwrap().agrees, "the first sign-off stays");
    let two = || published(site.new_id(), "study", "failed", None, attention::FAILED, 1);
    let both = site.record_with(incident(site.new_id(), "two in one entry"), vec![two(), two()]);
    assert!(matches!(both, Err(RecordError::Refused { rule }) if rule == refusal::PUBLISHED));
}

fn resource(kind: &str, id: &str, version: u32, status: &str) -> Row {
    Row::Resource {
        kind: kind.into(),
        id: id.into(),
        version,
        patient: Some(key(&format!("patient of {id}"))),
        study: None,
        reading: None,
        status: status.into(),
        code: Some(format!("code-{status}")),
        document: object(u8::try_from(version).unwrap()),
        updated_ms: u64::from(version) * 100,
    }
}

/// Proves: REQ-STO-104
#[test]
fn versions_of_a_resource_follow_one_another_and_all_of_them_stay() {
    let dir = made();
    let site = opened(dir.path());
    let observation = |version, status| resource("Observation", "one", version, status);
    assert_eq!(refused(&site, observation(2, "preliminary")), refusal::VERSION);
    append(&site, observation(1, "preliminary")).unwrap();
    append(&site, observation(2, "final")).unwrap();
    for stale in [1, 2, 4] {
        assert_eq!(refused(&site, observation(stale, "final")), refusal::VERSION);
    }
    append(&site, resource("Device", "one", 1, "active")).unwrap();
    append(&site, resource("Observation", "two", 1, "preliminary")).unwrap();
    let newest = site.resource("Observation", "one").unwrap().unwrap();
    assert_eq!((newest.version, newest.status.as_str(), newest.document), (2, "final", object(2)));
    let first = site.resource_version("Observation", "one", 1).unwrap().unwrap();
    assert_eq!((first.status.as_str(), first.document), ("preliminary", object(1)));
    assert_eq!(site.resource_version("Observation", "one", 3).unwrap(), None);
    assert_eq!(site.resource_history("Observation", "one").unwrap(), [newest.clone(), first]);
    let observations = || ResourceQuery { kind: "Observation".into(), ..ResourceQuery::default() };
    let found = |query: ResourceQuery| -> Vec<(String, u32)> {
        site.resources(&query).unwrap().into_iter().map(|row| (row.id, row.version)).collect()
    };
    let (one, two) = (("one".to_owned(), 2), ("two".to_owned(), 1));
    assert_eq!(found(observations()), [two.clone(), one.clone()], "the newest version of each, newest first");
    assert_eq!(found(ResourceQuery { limit: 1, ..observations() }), std::slice::from_ref(&two));
    let before = Some(site.resource("Observation", "two").unwrap().unwrap().sequence);
    assert_eq!(found(ResourceQuery { before, ..observations() }), std::slice::from_ref(&one));
    let only = |query| assert_eq!(found(query), std::slice::from_ref(&one));
    only(ResourceQuery { ids: vec!["one".into()], ..observations() });
    only(ResourceQuery { patient: newest.patient, ..observations() });
    only(ResourceQuery { status: vec!["final".into()], ..observations() });
    only(ResourceQuery { code: vec!["code-final".into(), "other".into()], ..observations() });
    only(ResourceQuery { updated_from_ms: Some(150), ..observations() });
    assert_eq!(found(ResourceQuery { status: vec!["preliminary".into(), "final".into()], ..observations() }).len(), 2);
    assert_eq!(found(ResourceQuery { updated_to_ms: Some(120), ..observations() }), [two]);
    assert_eq!(found(ResourceQuery { updated_to_ms: Some(99), ..observations() }), []);
    assert_eq!(found(ResourceQuery { study: Some(key("none")), ..observations() }), []);
}

/// Proves: REQ-STO-105
#[test]
fn a_requests_key_is_used_once() {
    let dir = made();
    let site = opened(dir.path());
    let row = |answer| Row::Request { key: key("k"), body: key("b"), answer: object(answer), made_ms: 5 };
    assert_eq!(site.request(&key("k")).unwrap(), None);
    append(&site, row(1)).unwrap();
    assert_eq!(refused(&site, row(2)), refusal::REQUEST);
    let held = site.request(&key("k")).unwrap().unwrap();
    assert_eq!((held.body, held.answer, held.made_ms), (key("b"), object(1), 5));
}

fn access(site: &Site, operation: &str) -> Draft {
    let body = body::Access {
        operation: operation.into(),
        action: body::AccessAction::Read,
        what: body::AccessWhat::Log,
        subject: None,
        result: body::AccessResult::Granted,
        why: "allowed".into(),
        policy: key("policy").into(),
        client: crate::common::commit("client"),
    };
    Draft::system(site.new_id(), body)
}

/// Proves: REQ-STO-106
#[test]
fn entries_are_found_by_kind_actor_operation_and_time_newest_first() {
    let dir = made();
    let site = opened(dir.path());
    for number in 0..30 {
        let draft = access(&site, if number % 3 == 0 { "log_search" } else { "log_verify" });
        site.record(draft).unwrap();
    }
    fill(&site, 5);
    let all = EntryQuery::default;
    let found = |query: EntryQuery| -> Vec<u64> {
        let found = site.search_entries(&query).unwrap();
        for (index, bytes) in &found {
            assert_eq!(&site.entry(*index).unwrap(), bytes);
        }
        found.into_iter().map(|(index, _)| index).collect()
    };
    let expected = |fits: &dyn Fn(&Entry) -> bool| -> Vec<u64> {
        let entries = (0..site.size()).rev().map(|index| (index, Entry::parse(&site.entry(index).unwrap()).unwrap()));
        entries.filter(|(_, entry)| fits(entry)).map(|(index, _)| index).collect()
    };
    assert_eq!(found(all()), expected(&|_| true));
    let kind = Some("access".to_owned());
    assert_eq!(found(EntryQuery { kind, ..all() }), expected(&|entry| entry.body.kind() == "access"));
    let searched = |entry: &Entry| matches!(&entry.body, Body::Access(body) if body.operation.as_str() == "log_search");
    let operation = || Some("log_search".to_owned());
    assert_eq!(found(EntryQuery { operation: operation(), ..all() }), expected(&searched));
    let page = found(EntryQuery { operation: operation(), limit: 4, ..all() });
    let rest = found(EntryQuery { operation: operation(), before: page.last().copied(), ..all() });
    assert_eq!([page, rest].concat(), expected(&searched));
    assert_eq!(found(EntryQuery { actor: Some("sys".into()), ..all() }).len(), 37);
    assert!(found(EntryQuery { actor: Some("stf_nobody".into()), ..all() }).is_empty());
    let at = Entry::parse(&site.entry(20).unwrap()).unwrap().t_ms;
    assert_eq!(found(EntryQuery { to_ms: Some(at), ..all() }), expected(&|entry| entry.t_ms <= at));
    assert_eq!(found(EntryQuery { from_ms: Some(at), ..all() }), expected(&|entry| entry.t_ms >= at));
    assert!(found(EntryQuery { to_ms: Some(1), ..all() }).is_empty());
}

/// The site's `log.db` as a program of schema 1 would have left it.
fn put_back_to_schema_1(dir: &std::path::Path) {
    let path = dir.join("log.db");
    let old = dir.join("old.db");
    std::fs::File::create_new(&old).unwrap();
    std::fs::set_permissions(&old, std::fs::metadata(&path).unwrap().permissions()).unwrap();
    let mut connection = raw(dir, "old.db");
    connection.batch_execute(include_str!("../../../../migrations/sqlite/0001_log/up.sql")).unwrap();
    connection.batch_execute(&format!("ATTACH '{}' AS new", path.display())).unwrap();
    let query = "SELECT sql FROM new.sqlite_schema WHERE name = '__diesel_schema_migrations'";
    let table: String = diesel::dsl::sql::<diesel::sql_types::Text>(query).get_result(&mut connection).unwrap();
    connection.batch_execute(&table).unwrap();
    connection
        .batch_execute(
            "INSERT INTO main.__diesel_schema_migrations SELECT * FROM new.__diesel_schema_migrations \
             WHERE version = '0001'; \
             INSERT INTO main.log_meta SELECT * FROM new.log_meta; \
             INSERT INTO main.log_entry SELECT idx, entry_id, leaf, body FROM new.log_entry; \
             INSERT INTO main.log_tile SELECT * FROM new.log_tile; \
             INSERT INTO main.log_head SELECT * FROM new.log_head; \
             INSERT INTO main.registry_instance SELECT * FROM new.registry_instance; \
             DETACH new",
        )
        .unwrap();
    drop(connection);
    std::fs::rename(old, path).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("log.db{suffix}")));
    }
}

/// Proves: REQ-STO-100
#[test]
fn a_site_of_schema_1_is_brought_up_to_date_by_its_writer_and_a_reader_says_so() {
    let dir = made();
    let site = opened(dir.path());
    let instance = Row::Instance {
        key: key("instance"),
        study: key("study"),
        patient: key("patient"),
        content: key("content"),
        object: object(1),
    };
    append(&site, instance).unwrap();
    let searched = site.record(access(&site, "log_search")).unwrap();
    fill(&site, 300);
    site.shutdown("test").unwrap();
    drop(site);
    put_back_to_schema_1(dir.path());
    let before = std::fs::read(dir.path().join("log.db")).unwrap();
    let refused = Site::open_read(dir.path()).err().unwrap();
    assert!(matches!(refused, SiteError::OlderSchema { found: 1, known: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("brings it up to date"), "{refused}");
    assert_eq!(std::fs::read(dir.path().join("log.db")).unwrap(), before, "a reader changes nothing");
    let site = Site::open(dir.path(), &boot()).unwrap();
    let query = EntryQuery { operation: Some("log_search".into()), ..EntryQuery::default() };
    assert_eq!(site.search_entries(&query).unwrap(), [(searched.index, searched.entry)], "old entries are found too");
    assert_eq!(site.study_instances(&key("study")).unwrap().len(), 1);
    append(&site, work("study", site.new_id(), 1)).unwrap();
    site.verify().unwrap();
    Site::open_read(dir.path()).unwrap().verify().unwrap();
}
