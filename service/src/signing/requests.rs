//! Three requests, one act: `POST /readings/{id}/sign-off`, `/override`, and `$sign` of a DiagnosticReport.
//! Errors: [`Problem`]. Source: INTERFACES sections 1.3, 1.7 and 6; RFC 9470.

use serde::Deserialize;
use serde_json::{Value, json};
use vidimus_log::{EntryId, body::Meaning};

use super::{Act, Decision, Judgement, Signed, sign};
use crate::{
    fhir::publish::instant,
    http::{Answer, Call, Kind, Problem},
};

/// What a signature may mean here.
const MEANINGS: &[Meaning] = &[Meaning::Review, Meaning::Approval, Meaning::Responsibility, Meaning::Authorship];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignOffRequest {
    meaning: String,
    comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideRequest {
    decision: String,
    reason_code: String,
    meaning: Option<String>,
    comment: Option<String>,
}

/// What a request asks for, read.
struct Asked {
    judgement: Judgement,
    meaning: Meaning,
    comment: Option<String>,
    if_match: Option<u32>,
}

/// The clinician agrees.
pub(crate) fn sign_off(call: &Call<'_>) -> Result<Answer, Problem> {
    let reading = reading(call)?;
    let request: SignOffRequest = call.json()?;
    let asked = Asked {
        judgement: Judgement::Agrees,
        meaning: meaning(&request.meaning)?,
        comment: said(request.comment),
        if_match: if_match(call)?,
    };
    answer(call, &act(call, reading, asked)?)
}

/// The clinician disagrees.
pub(crate) fn override_(call: &Call<'_>) -> Result<Answer, Problem> {
    let reading = reading(call)?;
    let request: OverrideRequest = call.json()?;
    let asked = Asked {
        judgement: Judgement::Disagrees { decision: decision(&request.decision)?, reason: request.reason_code },
        meaning: request.meaning.as_deref().map_or(Ok(Meaning::Review), meaning)?,
        comment: said(request.comment),
        if_match: if_match(call)?,
    };
    answer(call, &act(call, reading, asked)?)
}

/// `$sign` of a DiagnosticReport: the report, now final.
pub(crate) fn operation(call: &Call<'_>) -> Result<Answer, Problem> {
    let body: Value = call.json()?;
    let parameters = Parameters::read(&body)?;
    let Some(if_match) = if_match(call)? else {
        let detail = "If-Match: name the version of the report that was seen, such as W/\"1\"";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    };
    let missing = || Problem::new(Kind::NotFound, "there is no DiagnosticReport of this id");
    let row = call.house().site.resource("DiagnosticReport", call.path("id"))?.ok_or_else(missing)?;
    let reading = row.reading.ok_or_else(missing)?;
    let judgement = match parameters.required("decision")? {
        "agree" if parameters.one("reason").is_none() && parameters.one("result").is_none() => Judgement::Agrees,
        "agree" => return Err(unprocessable("reason, result: only where the decision is disagree")),
        "disagree" => Judgement::Disagrees {
            decision: decision(parameters.required("result")?)?,
            reason: parameters.required("reason")?.to_owned(),
        },
        _ => return Err(unprocessable("decision: expected agree or disagree")),
    };
    let meaning = parameters.one("meaning").map_or(Ok(Meaning::Review), meaning)?;
    let comment = said(parameters.one("comment").map(str::to_owned));
    let signed = act(call, reading, Asked { judgement, meaning, comment, if_match: Some(if_match) })?;
    let minimal = call.header("prefer").is_some_and(|prefer| prefer.contains("return=minimal"));
    let answer = Answer::fhir(if minimal { String::new() } else { signed.bytes });
    Ok(crate::fhir::rest::versioned(answer, &signed.report).about(signed.patient).recorded())
}

fn unprocessable(detail: &str) -> Problem {
    Problem::new(Kind::Unprocessable, detail)
}

fn reading(call: &Call<'_>) -> Result<EntryId, Problem> {
    EntryId::parse(call.path("id")).map_err(|_| Problem::new(Kind::NotFound, "there is no reading of this id"))
}

/// Signs, with the request's own entry in the same transaction. A signature needs a fresh authentication.
fn act(call: &Call<'_>, reading: EntryId, asked: Asked) -> Result<Signed, Problem> {
    let caller = call.caller()?;
    call.service.access.fresh(caller, call.house().now_ms() / 1_000).map_err(|denial| {
        let detail = "a signature needs an authentication of the last 5 minutes: sign in again, then sign";
        Problem::new(Kind::StepUp, detail).challenge(denial.challenge).because(denial.code)
    })?;
    let Asked { judgement, meaning, comment, if_match } = asked;
    let act = Act { house: call.house(), caller, reading, judgement, meaning, comment, if_match };
    let signed = sign(&act, &|patient, refs| call.audit(Some(patient), "role", refs))?;
    call.service.metrics.signed(signed.agrees);
    // Whoever waits for changes of the worklist sees it now.
    call.service.queue.announce();
    Ok(signed)
}

fn answer(call: &Call<'_>, signed: &Signed) -> Result<Answer, Problem> {
    let id = signed.receipt.entry_id.to_string();
    let body = json!({
        "sign_off": id,
        "index": signed.receipt.index,
        "signed": {
            "agrees": signed.agrees, "by": call.caller()?.name, "at": instant(signed.at_ms), "sign_off": id,
        },
    });
    Ok(Answer::json(&body)?.status(201).header("location", format!("/receipts/{id}")).about(signed.patient).recorded())
}

fn meaning(text: &str) -> Result<Meaning, Problem> {
    MEANINGS.iter().copied().find(|meaning| meaning.as_str() == text).ok_or_else(|| {
        let words: Vec<&str> = MEANINGS.iter().map(|meaning| meaning.as_str()).collect();
        unprocessable(&format!("meaning: expected one of {}", words.join(", ")))
    })
}

fn decision(text: &str) -> Result<Decision, Problem> {
    Decision::parse(text).ok_or_else(|| unprocessable("decision: expected present, absent or undetermined"))
}

/// A comment that says nothing is none.
fn said(comment: Option<String>) -> Option<String> {
    comment.map(|comment| comment.trim().to_owned()).filter(|comment| !comment.is_empty())
}

/// The version in `If-Match`: `W/"3"` or `"3"`.
fn if_match(call: &Call<'_>) -> Result<Option<u32>, Problem> {
    let Some(text) = call.header("if-match") else { return Ok(None) };
    let text = text.trim();
    let digits = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(|| Problem::new(Kind::BadRequest, "If-Match: expected one version such as W/\"1\""))
}

/// The parameters of an operation, each once.
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    const KNOWN: &'static [&'static str] = &["decision", "reason", "result", "meaning", "comment"];

    fn read(body: &'a Value) -> Result<Self, Problem> {
        let bad = |detail: &str| Problem::new(Kind::BadRequest, detail);
        if body["resourceType"] != "Parameters" {
            return Err(bad("the body: expected a resource of type Parameters"));
        }
        let mut found: Vec<(&str, &str)> = Vec::new();
        for parameter in body["parameter"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().filter(|name| Self::KNOWN.contains(name));
            let Some(name) = name else {
                return Err(bad(&format!("parameter: expected are {}", Self::KNOWN.join(", "))));
            };
            let value = ["valueCode", "valueString"].into_iter().find_map(|field| parameter[field].as_str());
            let value = value.ok_or_else(|| bad(&format!("{name}: expected valueCode or valueString")))?;
            if found.iter().any(|(known, _)| *known == name) {
                return Err(bad(&format!("{name}: given twice")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn required(&self, name: &str) -> Result<&'a str, Problem> {
        self.one(name).ok_or_else(|| unprocessable(&format!("{name}: missing")))
    }
}
