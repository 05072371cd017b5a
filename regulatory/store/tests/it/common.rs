//! A site in a temporary folder, and drafts for it.

use std::path::Path;

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _, dsl::sql, sql_types::Text,
};
use tempfile::TempDir;
use vidimus_log::{Actor, Body, Digest, Draft, EntryId, Receipt, Recorder as _, body, values::Commit};
use vidimus_store::{BootFacts, Site, SiteFacts};

pub(crate) fn boot() -> BootFacts {
    BootFacts {
        binary: Digest::of(b"binary"),
        version: "0.1.0".into(),
        config: Digest::of(b"config"),
        host: "test".into(),
        backend: "cpu".into(),
    }
}

pub(crate) fn facts() -> SiteFacts {
    SiteFacts { site: "test".into(), domain: "test.example".into(), log_code: None, opened_by: "tests".into() }
}

pub(crate) fn made() -> TempDir {
    let dir = TempDir::new().unwrap();
    Site::create(dir.path(), &facts()).unwrap();
    dir
}

pub(crate) fn opened(dir: &Path) -> Site {
    Site::open(dir, &boot()).unwrap()
}

pub(crate) fn incident(id: EntryId, text: &str) -> Draft {
    let detail = Digest::of(text.as_bytes()).into();
    Draft::system(id, body::Incident { code: "test".into(), severity: "info".into(), detail, text: text.into() })
}

pub(crate) fn fill(site: &Site, count: u64) {
    let drafts = (0..count).map(|index| (incident(site.new_id(), &format!("entry {index}")), Vec::new())).collect();
    site.record_all(drafts).unwrap();
}

pub(crate) fn model(site: &Site) -> Receipt {
    let digest = |text: &str| Digest::of(text.as_bytes()).into();
    let body = body::ModelRegistered {
        model: "test".into(),
        version: "1".into(),
        package: digest("package"),
        weights: digest("weights"),
        graph: digest("graph"),
        preproc: digest("preproc"),
        labels: digest("labels"),
        card: digest("card"),
        intended_use: digest("intended use"),
        sbom: None,
    };
    site.record(Draft::system(site.new_id(), body)).unwrap()
}

pub(crate) fn commit(text: &str) -> Commit {
    vidimus_log::commit::commitment("test", &[0; 32], text.as_bytes())
}

pub(crate) fn intent(site: &Site, model: &Receipt) -> Draft {
    let digest = |text: &str| Digest::of(text.as_bytes()).into();
    let body = body::ReadIntent {
        patient: commit("patient"),
        study: commit("study"),
        inputs: commit("inputs"),
        modality: "dx".into(),
        body_part: "chest".into(),
        n_images: 1,
        model: digest("package"),
        preproc: digest("preproc"),
        runtime: digest("runtime"),
        request: commit("request"),
        purpose: body::ReadPurpose::Research,
        priority: "routine".into(),
        deadline_ms: 1_800_000_000_000,
    };
    let refs = vec![model.as_ref_to("model")];
    Draft {
        entry_id: site.new_id(),
        actor: Actor::service([1; 16], "reader"),
        refs,
        body: Body::from(body),
        trace: None,
    }
}

pub(crate) fn outcome(site: &Site, intent: &Receipt) -> Draft {
    let digest = |text: &str| Digest::of(text.as_bytes()).into();
    let body = body::ReadOutcome {
        status: body::OutcomeStatus::Ok,
        input: Some(commit("input")),
        prepared: Some(commit("prepared")),
        output: Some(commit("output")),
        saliency: Some(commit("saliency")),
        report: Some(commit("report")),
        saliency_method: Some("grad_cam".into()),
        model: digest("package"),
        runtime: digest("runtime"),
        duration_us: 12,
        warnings: Vec::new(),
        error: None,
    };
    let refs = vec![intent.as_ref_to("intent")];
    Draft {
        entry_id: site.new_id(),
        actor: Actor::service([1; 16], "reader"),
        refs,
        body: Body::from(body),
        trace: None,
    }
}

/// A raw connection to a database of the site, as an intruder with the file has it.
pub(crate) fn raw(dir: &Path, file: &str) -> SqliteConnection {
    SqliteConnection::establish(dir.join(file).to_str().unwrap()).unwrap()
}

/// Runs statements on `log.db` with the triggers away, and puts them back as they were.
pub(crate) fn behind_the_triggers(dir: &Path, statements: &str) {
    let mut connection = raw(dir, "log.db");
    let query = "SELECT name || char(10) || sql FROM sqlite_schema WHERE type = 'trigger'";
    let triggers: Vec<String> = sql::<Text>(query).load(&mut connection).unwrap();
    let triggers: Vec<_> = triggers.iter().map(|row| row.split_once('\n').unwrap()).collect();
    for (name, _) in &triggers {
        connection.batch_execute(&format!("DROP TRIGGER {name}")).unwrap();
    }
    connection.batch_execute(statements).unwrap();
    for (_, create) in &triggers {
        connection.batch_execute(create).unwrap();
    }
}

/// Copies a folder with what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
