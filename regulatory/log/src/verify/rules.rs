//! The rules between entries: unique ids, references that hold, intent before outcome, two people for a release,
//! time that does not run back unseen. Kept small: ids, leaves and kinds, never bodies.
//! Errors: [`VerifyError::Schema`], as these are an insider's breaches under a valid root.

use std::collections::{BTreeMap, HashMap};

use super::{VerifyError, read_entry};
use crate::{
    Digest, EntryId,
    canonical::Node,
    limits::CLOCK_STEP_MS_MAX,
    schema::{Header, SchemaError, related},
};

struct Seen {
    index: u64,
    leaf: Digest,
    kind: &'static str,
}

pub(super) struct Rules {
    origin: String,
    ids: HashMap<EntryId, Seen>,
    kinds: BTreeMap<String, u64>,
    open: BTreeMap<u64, EntryId>,
    signers: HashMap<Digest, (String, Digest)>,
    booted: bool,
    unknown: Vec<(u64, String)>,
    t_ms_max: i64,
}

type Findings = (BTreeMap<String, u64>, Vec<EntryId>, Vec<(u64, String)>);

impl Rules {
    pub(super) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            ids: HashMap::new(),
            kinds: BTreeMap::new(),
            open: BTreeMap::new(),
            signers: HashMap::new(),
            booted: false,
            unknown: Vec::new(),
            t_ms_max: 0,
        }
    }

    pub(super) fn finish(self) -> Result<Findings, VerifyError> {
        Ok((self.kinds, self.open.into_values().collect(), self.unknown))
    }

    pub(super) fn entry(&mut self, index: u64, leaf: Digest, bytes: &[u8]) -> Result<(), VerifyError> {
        let header = read_entry(bytes, index)?;
        self.judge(index, leaf, &header)
            .map_err(|error| VerifyError::Schema { index: Some(index), source: error.into() })?;
        *self.kinds.entry(header.kind.to_owned()).or_default() += 1;
        self.unknown.extend(header.unknown.into_iter().map(|field| (index, field)));
        Ok(())
    }

    fn judge(&mut self, index: u64, leaf: Digest, header: &Header<'_>) -> Result<(), SchemaError> {
        let refuse = |field: &str, rule: &str| Err(SchemaError::new(field, rule));
        if header.log != self.origin {
            return refuse("log", "the entry is of another log");
        }
        if (index == 0) != (header.kind == "site_opened") {
            return refuse("kind", "a log begins with site_opened, and only there");
        }
        self.judge_time(header)?;
        self.judge_boot(header)?;
        for found in &header.refs {
            let held = self.ids.get(&found.entry_id).filter(|seen| seen.index == found.index);
            if held.is_none_or(|seen| seen.leaf != found.leaf || !related(found.rel, seen.kind)) {
                return refuse("refs", "refers to an entry that is not there, or that cannot stand in this relation");
            }
        }
        match header.kind {
            "read_intent" => {
                self.open.insert(index, header.entry_id);
            }
            "read_outcome" => {
                let intents = header.refs.iter().filter(|found| found.rel == "intent");
                for intent in intents {
                    if self.open.remove(&intent.index).is_none() {
                        return refuse("refs", "a read_outcome needs an intent without an outcome");
                    }
                }
            }
            "sign_off" => {
                let signed = header.body.member("signed_leaf").and_then(Node::text);
                let signed = signed.and_then(|text| text.parse().ok());
                let named = header.refs.iter().find(|found| matches!(found.rel, "outcome" | "evaluation"));
                let Some(signed) = signed.filter(|signed| named.is_some_and(|named| named.leaf == *signed)) else {
                    return refuse("body.signed_leaf", "must be the leaf that the sign_off refers to");
                };
                self.signers.insert(leaf, (header.actor.to_owned(), signed));
            }
            "release_decision" => self.judge_signers(header)?,
            "boot" => self.booted = true,
            _ => {}
        }
        let kind = crate::schema::kind(header.kind).map_or("", |kind| kind.name);
        if self.ids.insert(header.entry_id, Seen { index, leaf, kind }).is_some() {
            return refuse("entry_id", "names two entries");
        }
        Ok(())
    }

    fn judge_time(&mut self, header: &Header<'_>) -> Result<(), SchemaError> {
        if is_clock_step(header) {
            self.t_ms_max = header.t_ms;
            return Ok(());
        }
        if header.t_ms < self.t_ms_max - CLOCK_STEP_MS_MAX {
            return Err(SchemaError::new("t_ms", "steps back by more than a minute without an incident clock_step"));
        }
        self.t_ms_max = self.t_ms_max.max(header.t_ms);
        Ok(())
    }

    fn judge_boot(&self, header: &Header<'_>) -> Result<(), SchemaError> {
        let good = match header.boot {
            // A process whose clock stepped back says so before it announces itself.
            None => !self.booted || is_clock_step(header),
            Some(boot) if header.kind == "boot" => boot == header.entry_id,
            Some(boot) => self.ids.get(&boot).is_some_and(|seen| seen.kind == "boot"),
        };
        if good { Ok(()) } else { Err(SchemaError::new("boot", "expected the boot entry of the process")) }
    }

    fn judge_signers(&self, header: &Header<'_>) -> Result<(), SchemaError> {
        let leaves = header.body.member("signoffs").and_then(Node::items).into_iter().flatten();
        let evaluation = header.refs.iter().find(|found| found.rel == "evaluation").map(|found| found.leaf);
        let mut people: Vec<&String> = Vec::new();
        for leaf in leaves {
            let leaf = leaf.text().and_then(|text| text.parse::<Digest>().ok());
            match leaf.and_then(|leaf| self.signers.get(&leaf)) {
                Some((person, signed)) if Some(*signed) == evaluation => people.push(person),
                _ => return Err(SchemaError::new("body.signoffs", "names no sign_off of this evaluation")),
            }
        }
        people.sort();
        people.dedup();
        if people.len() < 2 {
            return Err(SchemaError::new("body.signoffs", "a release needs sign-offs of two different people"));
        }
        Ok(())
    }
}

fn is_clock_step(header: &Header<'_>) -> bool {
    header.kind == "incident" && header.body.member("code").map(Node::raw) == Some("\"clock_step\"")
}
