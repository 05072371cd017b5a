//! Tasks of studies that wait: a view of the work rows, for as long as there is no report to store.
//! Errors: the registry or the log.

use serde_json::json;
use vidimus_log::Entry;
use vidimus_store::WorkRow;

use super::search::Found;
use crate::{
    fhir::{publish, task, values},
    http::Problem,
    site::House,
};

/// Studies that are looked at: more than the queue holds.
const MOST: usize = 1_000;

/// The Tasks of all studies that wait, the oldest first.
pub(super) fn tasks(house: &House) -> Result<Vec<Found>, Problem> {
    house.site.work(MOST)?.iter().map(|row| view(house, row)).collect()
}

/// The Task of this id, if its study waits.
pub(super) fn task(house: &House, id: &str) -> Result<Option<Found>, Problem> {
    let rows = house.site.work(MOST)?;
    rows.iter().find(|row| publish::task_id(&row.arrival) == id).map(|row| view(house, row)).transpose()
}

fn view(house: &House, row: &WorkRow) -> Result<Found, Problem> {
    let site = &house.site;
    let index = site.find(&row.arrival)?;
    let arrival = index.map(|index| site.entry(index)).transpose()?;
    let arrival = arrival.and_then(|bytes| Entry::parse(&bytes).ok());
    let authored = arrival.as_ref().map(|entry| publish::instant(entry.t_ms));
    // what was read before is there to be referred to; the first reading of a study has nothing yet
    let known = |kind: &str, id: String| -> Result<_, Problem> {
        Ok(site.resource(kind, &id)?.map(|_| json!({ "reference": format!("{kind}/{id}") })))
    };
    let resource = json!({
        "resourceType": "Task",
        "id": publish::task_id(&row.arrival),
        "meta": { "lastUpdated": authored },
        "status": if row.attempts == 0 { "requested" } else { "in-progress" },
        "intent": "order",
        "priority": "routine",
        "code": task::second_read(),
        "focus": known("ImagingStudy", row.study.hex())?,
        "for": known("Patient", row.patient.hex())?,
        "authoredOn": authored,
        "lastModified": authored,
        "requester": arrival.as_ref().map(|entry| task::requester(&entry.actor.id)),
        "owner": known("Device", house.service.binary.clone())?,
    });
    Ok(Found::view(values::without_empty(resource), Some(row.patient)))
}
