//! The worklist: readings that can be seen, by attention or by age, a page at a time.
//! A page begins after the last row of the page before (keyset), so that rows which arrive meanwhile move nothing.
//! Errors: [`RowError`] at writing, [`SiteError`] at reading.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    SqliteConnection,
    dsl::{max, min},
    sqlite::Sqlite,
};
use vidimus_log::{Digest, EntryId};

use crate::{
    ObjectId, SiteError,
    nodes::{digest, natural, sql},
    registry::{database, id, object},
    rows::{RowError, attention, refusal},
    tables::registry_published::{self as published, dsl},
    work::{rows_max, small},
};

/// Which reading comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What needs attention first (smaller [`attention`]), then the newest.
    #[default]
    Attention,
    /// The newest.
    Newest,
}

/// A page of the worklist. Everything that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorklistQuery {
    /// Which reading comes first.
    pub order: Order,
    /// The status.
    pub status: Option<String>,
    /// The decision.
    pub decision: Option<String>,
    /// Signed or not.
    pub signed: Option<bool>,
    /// Keyed hash of the study instance UID.
    pub study: Option<Digest>,
    /// Keyed hash of the patient's id.
    pub patient: Option<Digest>,
    /// Published at this time or later, UTC milliseconds.
    pub from_ms: Option<u64>,
    /// Published at this time or earlier, UTC milliseconds.
    pub to_ms: Option<u64>,
    /// Attention and index of the last row of the page before; `Newest` looks at the index only.
    pub after: Option<(u32, u64)>,
    /// At most so many rows.
    pub limit: usize,
}

impl Default for WorklistQuery {
    fn default() -> Self {
        Self {
            order: Order::Attention,
            status: None,
            decision: None,
            signed: None,
            study: None,
            patient: None,
            from_ms: None,
            to_ms: None,
            after: None,
            limit: 50,
        }
    }
}

/// A reading that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRow {
    /// The reading: the entry of its outcome or refusal.
    pub reading: EntryId,
    /// Keyed hash of the study instance UID.
    pub study: Digest,
    /// Keyed hash of the patient's id.
    pub patient: Digest,
    /// The status that a user sees.
    pub status: String,
    /// The finding's decision; `None` where there is none.
    pub decision: Option<String>,
    /// Place in the worklist, of [`attention`].
    pub attention: u32,
    /// The model's package root.
    pub model_root: Digest,
    /// The vault document that holds the reading.
    pub document: ObjectId,
    /// When it was published, UTC milliseconds.
    pub issued_ms: u64,
    /// The entry that published it.
    pub index: u64,
    /// The sign-off, if there is one.
    pub signed: Option<SignedRow>,
}

/// A sign-off of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRow {
    /// The `sign_off` or `override`.
    pub sign_off: EntryId,
    /// Whether the clinician agrees.
    pub agrees: bool,
    /// The entry it came with.
    pub index: u64,
}

/// Lets a reading be seen.
pub(crate) fn publish(connection: &mut SqliteConnection, row: &PublishedRow) -> Result<(), RowError> {
    if row.attention >= attention::SIGNED {
        return Err(RowError::rule(refusal::ATTENTION));
    }
    let same = dsl::registry_published
        .filter(dsl::reading.eq(row.reading.as_bytes().as_slice()).or(dsl::idx.eq(sql(row.index))));
    if same.count().get_result::<i64>(connection)? > 0 {
        return Err(RowError::rule(refusal::PUBLISHED));
    }
    diesel::insert_into(published::table)
        .values((
            dsl::reading.eq(row.reading.as_bytes().as_slice()),
            dsl::study.eq(row.study.as_bytes().as_slice()),
            dsl::patient.eq(row.patient.as_bytes().as_slice()),
            dsl::status.eq(&row.status),
            dsl::decision.eq(&row.decision),
            dsl::attention.eq(i64::from(row.attention)),
            dsl::model_root.eq(row.model_root.as_bytes().as_slice()),
            dsl::document.eq(row.document.as_bytes().as_slice()),
            dsl::issued_ms.eq(sql(row.issued_ms)),
            dsl::idx.eq(sql(row.index)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Signs a published reading, once.
pub(crate) fn sign(connection: &mut SqliteConnection, reading: &EntryId, row: &SignedRow) -> Result<(), RowError> {
    let found = published::table.find(reading.as_bytes().as_slice());
    let held: Option<Option<i64>> = found.select(dsl::signed_idx).first(connection).optional()?;
    match held {
        None => return Err(RowError::rule(refusal::UNPUBLISHED)),
        Some(Some(_)) => return Err(RowError::rule(refusal::SIGNED)),
        Some(None) => {}
    }
    diesel::update(found)
        .set((
            dsl::attention.eq(i64::from(attention::SIGNED)),
            dsl::sign_off.eq(row.sign_off.as_bytes().as_slice()),
            dsl::agrees.eq(row.agrees),
            dsl::signed_idx.eq(sql(row.index)),
        ))
        .execute(connection)?;
    Ok(())
}

type Columns = (
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    String,
    Option<String>,
    i64,
    Vec<u8>,
    Vec<u8>,
    i64,
    i64,
    Option<Vec<u8>>,
    Option<bool>,
    Option<i64>,
);

fn read(row: Columns) -> Result<PublishedRow, SiteError> {
    let (reading, study, patient, status, decision, attention, model_root, document, issued_ms, index, ..) = row;
    let signed = match (row.10, row.11, row.12) {
        (Some(sign_off), Some(agrees), Some(index)) => {
            Some(SignedRow { sign_off: id(&sign_off)?, agrees, index: natural(index) })
        }
        _ => None,
    };
    Ok(PublishedRow {
        reading: id(&reading)?,
        study: digest(&study, "a key of the registry")?,
        patient: digest(&patient, "a key of the registry")?,
        status,
        decision,
        attention: small(attention),
        model_root: digest(&model_root, "a model root of the registry")?,
        document: object(&document)?,
        issued_ms: natural(issued_ms),
        index: natural(index),
        signed,
    })
}

/// A published reading.
pub(crate) fn find(connection: &mut SqliteConnection, reading: &EntryId) -> Result<Option<PublishedRow>, SiteError> {
    let row: Option<Columns> =
        published::table.find(reading.as_bytes().as_slice()).first(connection).optional().map_err(database)?;
    row.map(read).transpose()
}

/// The largest index at which the worklist changed; 0 if it never did.
pub(crate) fn last(connection: &mut SqliteConnection) -> Result<u64, SiteError> {
    let newest: Option<i64> = published::table.select(max(dsl::idx)).first(connection).map_err(database)?;
    let signed: Option<i64> = published::table.select(max(dsl::signed_idx)).first(connection).map_err(database)?;
    Ok(newest.max(signed).map_or(0, natural))
}

type Boxed<'a> = published::BoxedQuery<'a, Sqlite>;

/// A page of the worklist.
pub(crate) fn page(connection: &mut SqliteConnection, query: &WorklistQuery) -> Result<Vec<PublishedRow>, SiteError> {
    let Some(span) = span(connection, query)? else { return Ok(Vec::new()) };
    let limit = query.limit;
    let rows = match (query.order, query.after) {
        (Order::Newest, after) => {
            let rows = filtered(query, span);
            let rows = if let Some((_, index)) = after { rows.filter(dsl::idx.lt(sql(index))) } else { rows };
            newest(connection, rows, limit)?
        }
        (Order::Attention, None) => by_attention(connection, filtered(query, span), limit)?,
        (Order::Attention, Some((rank, index))) => {
            let rank = i64::from(rank);
            let same = filtered(query, span).filter(dsl::attention.eq(rank)).filter(dsl::idx.lt(sql(index)));
            let mut rows = newest(connection, same, limit)?;
            let later = filtered(query, span).filter(dsl::attention.gt(rank));
            rows.extend(by_attention(connection, later, limit.saturating_sub(rows.len()))?);
            rows
        }
    };
    rows.into_iter().map(read).collect()
}

fn newest(connection: &mut SqliteConnection, rows: Boxed<'_>, limit: usize) -> Result<Vec<Columns>, SiteError> {
    rows.order(dsl::idx.desc()).limit(rows_max(limit)).load(connection).map_err(database)
}

fn by_attention(connection: &mut SqliteConnection, rows: Boxed<'_>, limit: usize) -> Result<Vec<Columns>, SiteError> {
    let rows = rows.order((dsl::attention.asc(), dsl::idx.desc())).limit(rows_max(limit));
    rows.load(connection).map_err(database)
}

/// First and last index of what was published in the query's time, so that a page of an old day does not walk through
/// all later ones. Without a time there is no bound; `None` if nothing was published then.
fn span(connection: &mut SqliteConnection, query: &WorklistQuery) -> Result<Option<Span>, SiteError> {
    if query.from_ms.is_none() && query.to_ms.is_none() {
        return Ok(Some(None));
    }
    let (from, to) = (query.from_ms.unwrap_or(0), query.to_ms.unwrap_or(u64::MAX));
    let bounds: (Option<i64>, Option<i64>) = published::table
        .filter(dsl::issued_ms.between(sql(from), sql(to)))
        .select((min(dsl::idx), max(dsl::idx)))
        .first(connection)
        .map_err(database)?;
    Ok(bounds.0.zip(bounds.1).map(Some))
}

type Span = Option<(i64, i64)>;

fn filtered(query: &WorklistQuery, span: Span) -> Boxed<'_> {
    let mut rows = published::table.into_boxed();
    if let Some(status) = &query.status {
        rows = rows.filter(dsl::status.eq(status));
    }
    if let Some(decision) = &query.decision {
        rows = rows.filter(dsl::decision.eq(decision));
    }
    if let Some(study) = &query.study {
        rows = rows.filter(dsl::study.eq(study.as_bytes().as_slice()));
    }
    if let Some(patient) = &query.patient {
        rows = rows.filter(dsl::patient.eq(patient.as_bytes().as_slice()));
    }
    let signed = i64::from(attention::SIGNED);
    rows = match (query.signed, query.order) {
        (None, _) => rows,
        (Some(true), _) => rows.filter(dsl::attention.eq(signed)),
        (Some(false), Order::Attention) => rows.filter(dsl::attention.lt(signed)),
        (Some(false), Order::Newest) => rows.filter(dsl::signed_idx.is_null()),
    };
    if let Some((first, last)) = span {
        let (from, to) = (query.from_ms.unwrap_or(0), query.to_ms.unwrap_or(u64::MAX));
        rows = rows.filter(dsl::idx.between(first, last)).filter(dsl::issued_ms.between(sql(from), sql(to)));
    }
    rows
}
