//! One `access` entry a request: who asked for what, of which patient, and whether it was granted.
//! The client (address and program) and the patient stand as salted commitments, their values sealed in the vault.
//! Strangers can knock without end: beyond a rate their denials are counted and listed in one incident a minute.
//! Errors: the vault or the log cannot be written; then the request is not answered with what it asked for.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use vidimus_log::{
    Actor, Digest, Draft, EntryId, Receipt, Recorder as _, Ref,
    body::{Access as AccessBody, AccessResult, Incident},
    values::Sha256,
};
use vidimus_store::{Row, Subject, VaultError};

use super::{Operation, Problem, Service, operations};
use crate::access::{Caller, Role};

/// Denials of strangers that are listed one by one, at most, in a burst.
const BURST: f64 = 400.0;
/// And again for each second after it.
const PER_SECOND: f64 = 10.0;
/// How often the others are summed up.
const SUMMARY: Duration = Duration::from_secs(60);

/// Who is at the other end, as committed to.
#[derive(Clone, Default)]
pub(super) struct Client(pub(super) String);

/// What is said of a request that was granted.
pub(super) struct Granted<'a> {
    pub subject: Option<&'a Digest>,
    pub why: &'a str,
    pub refs: Vec<Ref>,
}

/// Digest of who may do what: it changes with every rule.
pub(super) fn policy() -> Digest {
    let mut text = String::from("vidimus/access/v1\n");
    for operation in operations() {
        let roles: Vec<&str> = operation.roles.iter().map(|role| role.as_str()).collect();
        let line = format!("{} {} {} {}\n", operation.id, operation.verb.as_str(), operation.path, roles.join(","));
        text.push_str(&line);
    }
    Digest::of(text.as_bytes())
}

fn actor(caller: Option<&Caller>) -> Actor {
    caller.map_or_else(|| Actor { id: "sys".into(), role: "stranger".into() }, |caller| caller.actor.clone())
}

/// The client's facts are a member of staff's own data; a stranger's are the site's.
fn subject_of(service: &Service, caller: Option<&Caller>) -> Result<Subject, Problem> {
    let (site, vault) = (&service.house.site, service.house.site.vault());
    Ok(match caller {
        Some(caller) => vault.staff(&site.keyed("staff", caller.actor.id.as_bytes()))?,
        None => vault.site()?,
    })
}

/// The draft of an entry with the result `granted`.
pub(super) fn granted(
    service: &Service,
    operation: &Operation,
    caller: Option<&Caller>,
    id: EntryId,
    client: &Client,
    said: Granted<'_>,
) -> Result<Draft, Problem> {
    let vault = service.house.site.vault();
    let patient = match said.subject {
        Some(patient) => Some((service.house.subject(patient)?, patient.hex())),
        None => None,
    };
    let caller_subject = subject_of(service, caller)?;
    let (subject, client) = vault.batch(|batch| -> Result<_, VaultError> {
        let subject = patient.map(|(owner, key)| batch.commit(&owner, &id, "subject", key.as_bytes())).transpose()?;
        Ok((subject, batch.commit(&caller_subject, &id, "client", client.0.as_bytes())?))
    })?;
    let body = AccessBody {
        operation: operation.id.as_ref().into(),
        action: operation.action,
        what: operation.what,
        subject,
        result: AccessResult::Granted,
        why: said.why.into(),
        policy: Sha256(service.policy),
        client,
    };
    let trace = service.house.trace();
    Ok(Draft { entry_id: id, actor: actor(caller), refs: said.refs, body: body.into(), trace })
}

/// Records a granted request with its rows.
pub(super) fn record_granted(service: &Service, draft: Draft, rows: Vec<Row>) -> Result<Receipt, Problem> {
    Ok(service.house.site.record_with(draft, rows)?)
}

/// Records a request that was denied or failed; `why` is the code.
pub(super) fn record_denied(
    service: &Service,
    operation: Option<&Operation>,
    caller: Option<&Caller>,
    id: EntryId,
    client: &Client,
    why: &str,
) -> Result<(), Problem> {
    if caller.is_none() && !service.denials.admit(service) {
        return Ok(());
    }
    let client =
        service.house.site.vault().commit(&subject_of(service, caller)?, &id, "client", client.0.as_bytes())?;
    let body = AccessBody {
        operation: operation.map_or("unknown", |operation| operation.id.as_ref()).into(),
        action: operation.map_or(vidimus_log::body::AccessAction::Read, |operation| operation.action),
        what: operation.map_or(vidimus_log::body::AccessWhat::Query, |operation| operation.what),
        subject: None,
        result: AccessResult::Denied,
        why: why.into(),
        policy: Sha256(service.policy),
        client,
    };
    let draft =
        Draft { entry_id: id, actor: actor(caller), refs: Vec::new(), body: body.into(), trace: service.house.trace() };
    service.house.site.record(draft)?;
    Ok(())
}

/// Bounds what strangers can write into the log.
pub(super) struct Denials(Mutex<Bucket>);

struct Bucket {
    left: f64,
    filled: Instant,
    uncounted: u64,
    summed: Instant,
}

impl Denials {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Bucket { left: BURST, filled: now, uncounted: 0, summed: now }))
    }

    /// Whether this denial gets an entry of its own. Those that do not are summed up.
    fn admit(&self, service: &Service) -> bool {
        let (admitted, sum) = {
            let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            bucket.left = (bucket.left + now.duration_since(bucket.filled).as_secs_f64() * PER_SECOND).min(BURST);
            bucket.filled = now;
            let admitted = bucket.left >= 1.0;
            if admitted {
                bucket.left -= 1.0;
            } else {
                bucket.uncounted += 1;
            }
            let due = bucket.uncounted > 0 && now.duration_since(bucket.summed) >= SUMMARY;
            let sum = due.then(|| std::mem::take(&mut bucket.uncounted));
            if due {
                bucket.summed = now;
            }
            (admitted, sum)
        };
        if let Some(sum) = sum {
            summarise(service, sum);
        }
        admitted
    }

    /// What is still to be summed up, at the end.
    pub(super) fn flush(&self, service: &Service) {
        let sum = std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).uncounted);
        if sum > 0 {
            summarise(service, sum);
        }
    }
}

fn summarise(service: &Service, sum: u64) {
    let text = format!("{sum} requests without valid credentials were refused beyond those listed one by one");
    let body = Incident {
        code: "denials".into(),
        severity: "warning".into(),
        detail: Sha256(Digest::of(text.as_bytes())),
        text: text.into(),
    };
    let site = &service.house.site;
    if let Err(error) = site.record(Draft::system(site.new_id(), body)) {
        tracing::error!(target: "vidimus", %error, "denials could not be summed up in the log");
    }
}

/// Whether a role stands in a row.
pub(super) fn may(operation: &Operation, role: Role) -> bool {
    operation.roles.contains(&role)
}

/// Records a sign-in or sign-out: public operations, audited all the same.
pub(super) fn record_session(
    call: &super::Call<'_>,
    caller: Option<&Caller>,
    result: AccessResult,
    why: &str,
) -> Result<(), Problem> {
    if result == AccessResult::Denied {
        return record_denied(call.service, Some(call.operation), caller, call.id, &call.client, why);
    }
    let said = Granted { subject: None, why, refs: Vec::new() };
    let draft = granted(call.service, call.operation, caller, call.id, &call.client, said)?;
    record_granted(call.service, draft, Vec::new()).map(|_| ())
}
