//! The two Devices: the service, and the package of the model.

use serde_json::{Value, json};
use vidimus_reader::ModelFacts;

use super::{BASE, Ids, Source, terms};

pub(super) fn service(source: &Source<'_>) -> Value {
    json!({
        "resourceType": "Device",
        "identifier": [{ "system": format!("{BASE}/id/sha256"), "value": source.service.binary }],
        "status": "active",
        "manufacturer": "Vidimus",
        "deviceName": [{ "name": "Vidimus", "type": "model-name" }],
        "version": [{ "type": { "text": "software" }, "value": source.service.version }],
    })
}

pub(super) fn package(model: &ModelFacts, ids: &Ids<'_>) -> Value {
    let root = model.package_root.hex();
    let serial = root.get(..16).unwrap_or(&root);
    // no GTIN has been assigned yet
    let di = "00000000000000";
    json!({
        "resourceType": "Device",
        "identifier": [
            { "system": format!("{BASE}/id/package-root-sha256"), "value": root },
            { "system": format!("{BASE}/id/sha256"), "value": root },
        ],
        "udiCarrier": [{
            "deviceIdentifier": di,
            "issuer": "http://hl7.org/fhir/NamingSystem/gs1-di",
            "carrierHRF": format!("(01){di}(10){}(21){serial}", model.version),
            "entryType": "manual",
        }],
        "status": "active",
        "manufacturer": "Vidimus",
        "lotNumber": model.version,
        "serialNumber": serial,
        "modelNumber": model.version,
        "deviceName": [{ "name": model.id, "type": "model-name" }],
        "type": terms::artificial_intelligence(),
        "version": [
            { "type": { "text": "package" }, "value": model.version },
            { "type": { "text": "weights-sha256" }, "value": model.weights_sha256.hex() },
            { "type": { "text": "precision" }, "value": model.precision },
            { "type": { "text": "deployment mode" }, "value": model.mode },
        ],
        "parent": ids.reference("service"),
    })
}

/// The Device that the client may have already.
pub(super) fn query(digest: &str) -> Option<String> {
    (!digest.is_empty()).then(|| format!("identifier={BASE}/id/sha256|{digest}"))
}
