//! Task: the request for a second read and how it ended (INTERFACES section 1). While a study waits there is nothing to
//! store: the view of what waits is made from the work rows when it is asked for.

use serde_json::{Value, json};

use super::{BASE, Ids, Result, Source, terms::own, values};

/// What is asked for.
pub(super) fn second_read() -> Value {
    own("second-read", "Second read")
}

/// The request of one reading that has ended.
pub(super) fn task(source: &Source<'_>, ids: &Ids<'_>) -> Value {
    let (status, reason) = match source.result {
        Result::Evaluated(_) => ("completed", None),
        Result::NotEvaluated(refusal) => ("rejected", Some(reason(refusal.code.as_str(), &refusal.text))),
        Result::Failed { code, text } => ("failed", Some(reason(code, text))),
    };
    let requester = values::text(source.requester).map(requester);
    let package = source
        .model
        .map(|_| json!({ "type": own("package", "Package of the model"), "valueReference": ids.reference("package") }));
    json!({
        "resourceType": "Task",
        "status": status,
        "statusReason": reason,
        "intent": "order",
        "priority": "routine",
        "code": second_read(),
        "focus": ids.reference("imaging-study"),
        "for": ids.reference("patient"),
        "authoredOn": source.issued,
        "lastModified": source.issued,
        "requester": requester,
        "owner": ids.reference("service"),
        "input": [package],
        "output": [{ "type": own("report", "Report of the reading"), "valueReference": ids.reference("report") }],
    })
}

/// Who asked, by the log's pseudonym.
pub(super) fn requester(actor: &str) -> Value {
    json!({ "identifier": { "system": format!("{BASE}/id/actor"), "value": actor } })
}

/// Why nothing was found.
fn reason(code: &str, text: &str) -> Value {
    json!({ "coding": [{ "system": format!("{BASE}/CodeSystem/refusal"), "code": code }], "text": text })
}
