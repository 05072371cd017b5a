//! The admitted model, loaded once and shared by all readings of a process.
//!
//! It is checked before each use: the package's files are hashed again, and the log is asked for its newest
//! registration, decision and rollout. Where anything has changed the model is admitted anew, so that a withdrawal made
//! meanwhile, or a file that differs by one bit, holds for the next reading.
//! Errors: the log cannot be read. That no model is admitted is a result.

use std::sync::{Arc, Mutex, PoisonError};

use vidimus_log::Digest;
use vidimus_reader::{AdmissionError, Bundle, ReleasedModel};
use vidimus_store::EntryQuery;

use crate::{gate, site::House};

/// Kinds of entries that say which model may read.
const KINDS: [&str; 3] = ["model_registered", "release_decision", "rollout"];

/// What an admission rests on.
#[derive(PartialEq)]
struct Ground {
    /// Index of the newest entry of each of [`KINDS`].
    newest: [Option<u64>; KINDS.len()],
    /// The newest package, and the root of its files as they lie there now; else what is wrong with them.
    package: Option<(Digest, Result<Digest, String>)>,
}

/// A model, or why none is admitted.
pub(crate) type Answer = Result<ReleasedModel, AdmissionError>;

/// The model of this site.
#[derive(Default)]
pub(crate) struct Admitted(Mutex<Option<(Ground, Arc<Answer>)>>);

impl Admitted {
    /// The model that may read now, checked.
    pub(crate) fn now(&self, house: &House) -> anyhow::Result<Arc<Answer>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ground = ground(house)?;
        if let Some((known, model)) = &*held
            && *known == ground
        {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(gate::admit(house)?);
        *held = Some((ground, Arc::clone(&model)));
        Ok(model)
    }

    /// Whether a model was admitted when it was last asked for.
    pub(crate) fn is_some(&self) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|(_, model)| model.is_ok())
    }
}

fn ground(house: &House) -> anyhow::Result<Ground> {
    let mut newest = [None; KINDS.len()];
    for (index, kind) in newest.iter_mut().zip(KINDS) {
        let query = EntryQuery { kind: Some(kind.to_owned()), limit: 1, ..EntryQuery::default() };
        *index = house.site.search_entries(&query)?.first().map(|(index, _)| *index);
    }
    let models = house.site.models()?;
    let package = models.iter().max_by_key(|row| row.index).map(|row| {
        let files = Bundle::read(&gate::folder(house, &row.root));
        (row.root, files.map(|bundle| bundle.root()).map_err(|error| error.to_string()))
    });
    Ok(Ground { newest, package })
}
