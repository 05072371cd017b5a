//! The rules between entries at append: references that hold, one outcome for each intent, two people for a release.
//! The verifier checks the same rules again (`vidimus_log::verify_log`). Runs inside the transaction of the entry.
//! Errors: [`Breach`].

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};
use vidimus_log::{Body, Digest, Entry, EntryId, Ref, schema};

use crate::{
    nodes::sql,
    tables::{log_entry, open_intent},
};

/// A rule that the entry breaks, or a database that does not answer.
pub(crate) enum Breach {
    Rule(String),
    Database(diesel::result::Error),
}

impl From<diesel::result::Error> for Breach {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

fn refuse<T>(rule: &str) -> Result<T, Breach> {
    Err(Breach::Rule(rule.to_owned()))
}

/// Checks the entry and keeps the table of open intents, before the entry's row is written.
pub(crate) fn apply(connection: &mut SqliteConnection, entry: &Entry, index: u64) -> Result<(), Breach> {
    for found in &entry.refs {
        check_ref(connection, found)?;
    }
    match &entry.body {
        Body::ReadIntent(body) => open(connection, entry.entry_id, index, body.deadline_ms)?,
        Body::ReadOutcome(_) => {
            for intent in entry.refs.iter().filter(|found| found.rel == "intent") {
                let id = intent.entry_id.as_bytes().as_slice();
                if diesel::delete(open_intent::table.find(id)).execute(connection)? != 1 {
                    return refuse("a read_outcome needs an intent without an outcome");
                }
            }
        }
        Body::SignOff(body) => {
            let named = entry.refs.iter().find(|found| matches!(found.rel.as_str(), "outcome" | "evaluation"));
            if named.is_none_or(|named| named.leaf != body.signed_leaf) {
                return refuse("signed_leaf must be the leaf that the sign_off refers to");
            }
        }
        Body::ReleaseDecision(body) => {
            let evaluation = entry.refs.iter().find(|found| found.rel == "evaluation").map(|found| found.leaf);
            check_signers(connection, &body.signoffs, evaluation)?;
        }
        Body::SiteOpened(_) if index != 0 => return refuse("site_opened is the first entry of a log and no other"),
        _ => {}
    }
    Ok(())
}

fn open(connection: &mut SqliteConnection, id: EntryId, index: u64, deadline_ms: u64) -> Result<(), Breach> {
    diesel::insert_into(open_intent::table)
        .values((
            open_intent::intent_id.eq(id.as_bytes().as_slice()),
            open_intent::idx.eq(sql(index)),
            open_intent::deadline_ms.eq(sql(deadline_ms)),
        ))
        .execute(connection)?;
    Ok(())
}

fn check_ref(connection: &mut SqliteConnection, found: &Ref) -> Result<(), Breach> {
    let row: Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = log_entry::table
        .find(sql(found.index))
        .select((log_entry::entry_id, log_entry::leaf, log_entry::body))
        .first(connection)
        .optional()?;
    let Some((id, leaf, body)) = row else {
        return refuse("refs: there is no entry at this index");
    };
    if id != found.entry_id.as_bytes() || leaf != found.leaf.as_bytes() {
        return refuse("refs: the entry at this index has another id or another leaf");
    }
    let kind = Entry::parse(&body).map(|entry| entry.body.kind());
    if kind.is_ok_and(|kind| !schema::related(&found.rel, kind)) {
        return refuse("refs: an entry of this kind cannot stand in this relation");
    }
    Ok(())
}

/// Two different people must have signed this evaluation. A release is rare, so the leaves are looked for in the rows.
fn check_signers(
    connection: &mut SqliteConnection,
    leaves: &[Digest],
    evaluation: Option<Digest>,
) -> Result<(), Breach> {
    let mut people = Vec::new();
    for leaf in leaves {
        let body: Option<Vec<u8>> = log_entry::table
            .filter(log_entry::leaf.eq(leaf.as_bytes().as_slice()))
            .select(log_entry::body)
            .first(connection)
            .optional()?;
        let entry = body.and_then(|body| Entry::parse(&body).ok());
        match entry.map(|entry| (entry.actor.id, entry.body)) {
            Some((person, Body::SignOff(body))) if Some(body.signed_leaf) == evaluation => people.push(person),
            _ => return refuse("signoffs: names no sign_off of this evaluation"),
        }
    }
    people.sort();
    people.dedup();
    if people.len() < 2 {
        return refuse("signoffs: a release needs sign-offs of two different people");
    }
    Ok(())
}
