//! Patient and ImagingStudy. What the films say wrongly is left out, so that no wrong record can be matched by it.

use serde_json::{Value, json};

use super::{BASE, Ids, Source, StudyFacts, terms::THO, values};

pub(super) fn patient(source: &Source<'_>) -> Value {
    let study = source.study;
    let identifier =
        values::text(study.patient_id.open()).map(|id| json!({ "system": format!("{BASE}/id/patient"), "value": id }));
    let sex = study.sex.as_deref().and_then(values::text).map(|sex| match sex {
        "F" => "female",
        "M" => "male",
        "O" => "other",
        _ => "unknown",
    });
    json!({
        "resourceType": "Patient",
        "identifier": [identifier],
        "name": [values::name(study.patient_name.open())],
        "birthDate": values::date(study.birth_date.open()),
        "gender": sex,
    })
}

/// The patient whom the client may have already. None without an identifier: an empty one matches anybody.
pub(super) fn patient_query(study: &StudyFacts) -> Option<String> {
    values::text(study.patient_id.open()).map(|id| format!("identifier={BASE}/id/patient|{}", values::query(id)))
}

pub(super) fn imaging_study(source: &Source<'_>, ids: &Ids<'_>) -> Value {
    let study = source.study;
    let uid = values::oid(study.study_uid.open()).map(|uid| json!({ "system": "urn:dicom:uid", "value": uid }));
    let accession = values::text(study.accession.open())
        .map(|number| json!({ "type": source.terms.concept(&format!("{THO}/v2-0203"), "ACSN"), "value": number }));
    let mut series: Vec<&str> = study.instances.iter().map(|instance| instance.series_uid.open().as_str()).collect();
    series.sort_unstable();
    series.dedup();
    json!({
        "resourceType": "ImagingStudy",
        "identifier": [uid, accession],
        "status": "available",
        "subject": ids.reference("patient"),
        "started": values::date(study.study_date.open()),
        "series": series_of(source),
        // of the study, which may hold more than can be listed
        "numberOfSeries": series.len(),
        "numberOfInstances": study.instances.len(),
    })
}

/// The study that the client may have already.
pub(super) fn imaging_study_query(study: &StudyFacts) -> Option<String> {
    values::oid(study.study_uid.open()).map(|uid| format!("identifier=urn:dicom:uid|{uid}"))
}

/// Series in the order of their first instance. One without a valid identifier cannot be listed, as R4 demands it; nor
/// can such an instance, or one of no valid class.
fn series_of(source: &Source<'_>) -> Vec<Value> {
    let mut series: Vec<(&str, Value, Vec<Value>)> = Vec::new();
    for instance in &source.study.instances {
        let Some(series_uid) = values::uid(instance.series_uid.open()) else { continue };
        let place = series.iter().position(|(uid, ..)| *uid == series_uid).unwrap_or_else(|| {
            series.push((series_uid, modality(source, &instance.modality), Vec::new()));
            series.len() - 1
        });
        let item = values::uid(instance.uid.open())
            .zip(values::oid(&instance.sop_class))
            .map(|(uid, class)| json!({ "uid": uid, "sopClass": { "system": "urn:ietf:rfc:3986", "code": class } }));
        if let Some((_, _, items)) = series.get_mut(place) {
            items.extend(item);
        }
    }
    series
        .into_iter()
        .map(|(uid, modality, items)| json!({ "uid": uid, "modality": modality, "instance": items }))
        .collect()
}

/// R4 demands a series' modality: where the film has none, that is what is said.
fn modality(source: &Source<'_>, dicom: &str) -> Value {
    values::code(dicom).map_or_else(
        || {
            json!({ "extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown",
            }] })
        },
        |code| source.terms.modality(code),
    )
}
