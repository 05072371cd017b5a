//! A look: the one way to the labels of a locked set.
//! An entry `dataset_opened` is durable before the reference standard is read; a [`Look`] holds its receipt. A look
//! without a registered protocol, with a used one, or past the budget is refused, and the refusal is an entry too.
//! A repeat (same protocol, package and set as a verdict at hand) is a `reference_audit`: it spends no budget and bears
//! the number of the look that it repeats.
//! Errors: [`LookError`]; a refusal names its rule. Source: EVIDENCE section 3.

use std::collections::BTreeSet;

use vidimus_log::{
    Actor, Digest, Draft, Receipt, RecordError, Recorder,
    body::{DatasetOpened, Granted, OpenPurpose},
};

use crate::{
    dataset::{self, Case, Class, DatasetError, LockedSet},
    ledger::Ledger,
    protocol::Protocol,
    verdict::Verdict,
};

/// The model under test.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The model family: the code that the log registers it by.
    pub family: String,
    /// Its version.
    pub version: String,
    /// Merkle root of the package.
    pub root: Digest,
    /// What it was trained and tuned on, as the package declares it.
    pub training: Option<TrainingManifest>,
}

/// The cases that a package declares as its training and tuning data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainingManifest {
    /// Patient ids.
    pub patients: BTreeSet<String>,
    /// Digests of files.
    pub files: BTreeSet<Digest>,
}

/// What a look is asked for.
#[derive(Debug)]
pub struct LookRequest<'a> {
    /// The set.
    pub set: &'a LockedSet,
    /// The protocol.
    pub protocol: &'a Protocol,
    /// The model.
    pub subject: &'a Subject,
    /// Digest of the gate's build.
    pub gate: Digest,
    /// What the log says so far.
    pub ledger: &'a Ledger,
    /// Verdicts at hand, shipped or made here.
    pub verdicts: &'a [Verdict],
    /// Who asks.
    pub actor: Actor,
}

/// Why a look was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// A rule forbids it; the refusal was recorded.
    #[error("look refused ({code}): {rule}")]
    Refused {
        /// The code in the entry.
        code: &'static str,
        /// The rule, and what to do.
        rule: String,
    },
    /// The site's log does not hold the set: record its `dataset_locked` entry first.
    #[error("look refused: the log has no dataset_locked entry of this set; lock it into the site first")]
    NotLocked,
    /// The entry could not be recorded: nothing was opened.
    #[error("look: the opening could not be recorded, so nothing was opened")]
    Record(#[from] RecordError),
    /// The set is not what its root says.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// A granted look: the set's cases with their labels, and the receipt of the entry that says so.
#[derive(Debug)]
pub struct Look {
    pub(crate) protocol: Digest,
    pub(crate) subject: Subject,
    pub(crate) set: SetFacts,
    pub(crate) number: u64,
    pub(crate) cases: Vec<(Case, Vec<u8>)>,
    purpose: OpenPurpose,
    receipt: Receipt,
}

/// What a verdict says of its set.
#[derive(Debug, Clone)]
pub(crate) struct SetFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) root: Digest,
    pub(crate) datasheet: Digest,
    pub(crate) class: Class,
    pub(crate) class_reasons: Vec<String>,
    pub(crate) shortcut_probe: Vec<(String, String)>,
    pub(crate) items: u64,
    pub(crate) patients: u64,
}

impl Look {
    /// Records the opening, and only then reads the cases.
    pub fn open(request: &LookRequest<'_>, recorder: &dyn Recorder) -> Result<Self, LookError> {
        let locked = request.ledger.set(request.set.root()).ok_or(LookError::NotLocked)?;
        let asked = ask(request);
        let (purpose, number) = match &asked {
            Ok(granted) => *granted,
            Err(_) => (OpenPurpose::Gate, next_number(request)),
        };
        let body = DatasetOpened {
            purpose,
            set_root: request.set.root().into(),
            protocol: request.protocol.digest().into(),
            package_root: Some(request.subject.root.into()),
            gate: request.gate.into(),
            look: number,
            result: if asked.is_ok() { Granted::Granted } else { Granted::Refused },
            why: asked.as_ref().err().map(|(code, _)| (*code).into()),
        };
        let mut refs = vec![locked.as_ref_to("dataset")];
        refs.extend(request.ledger.model(request.subject.root).map(|model| model.as_ref_to("model")));
        let protocol = request.ledger.protocol(request.protocol.digest(), request.set.root());
        refs.extend(protocol.map(|protocol| protocol.as_ref_to("protocol")));
        let entry_id = recorder.new_id();
        let receipt =
            recorder.record(Draft { entry_id, actor: request.actor.clone(), refs, body: body.into(), trace: None })?;
        if let Err((code, rule)) = asked {
            return Err(LookError::Refused { code, rule });
        }
        let sheet = request.set.datasheet();
        let set = SetFacts {
            name: sheet.name.clone(),
            version: sheet.version.clone(),
            root: request.set.root(),
            datasheet: request.set.datasheet_digest(),
            class: sheet.class,
            class_reasons: sheet.class_reasons.clone(),
            shortcut_probe: sheet.shortcut_probe.iter().map(|p| (p.input.clone(), p.auc.clone())).collect(),
            items: request.set.items(),
            patients: request.set.patients(),
        };
        // the folder may have changed since the set was opened: all of it is verified again
        let again = LockedSet::open_manifest(request.set.folder())?;
        if again.root() != request.set.root() {
            return Err(DatasetError::Root { expected: request.set.root(), found: again.root() }.into());
        }
        let cases = dataset::read_cases(request.set.folder())?;
        Ok(Self {
            protocol: request.protocol.digest(),
            subject: request.subject.clone(),
            set,
            number,
            cases,
            purpose,
            receipt,
        })
    }

    /// The look's number: of the look itself, or of the one that it repeats.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// `Gate` for a look that spends budget, `ReferenceAudit` for a repeat.
    pub const fn purpose(&self) -> OpenPurpose {
        self.purpose
    }

    /// The receipt of the entry that opened the set; an evaluation refers to it as `opened`.
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Number of cases.
    pub const fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether the set has no case.
    pub const fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }
}

/// The rules: purpose and number of a granted look, or code and words of a refusal.
fn ask(request: &LookRequest<'_>) -> Result<(OpenPurpose, u64), (&'static str, String)> {
    let (protocol, set_root) = (request.protocol.digest(), request.set.root());
    let text = request.protocol.text();
    if text.locked_set.root != set_root {
        let rule =
            format!("protocol {} is about the set of root {}, this is {set_root}", text.id, text.locked_set.root);
        return Err(("wrong_set", rule));
    }
    if text.locked_set.class != request.set.datasheet().class {
        return Err(("wrong_class", format!("protocol {} states another class than the set's datasheet", text.id)));
    }
    if text.package.family != request.subject.family {
        return Err(("wrong_family", format!("protocol {} is about the family {}", text.id, text.package.family)));
    }
    let Some(registered) = request.ledger.protocol(protocol, set_root) else {
        return Err(("no_protocol", format!("protocol {} is not registered in this log; register it first", text.id)));
    };
    let same = |verdict: &&Verdict| {
        verdict.protocol() == protocol
            && verdict.set_root() == set_root
            && verdict.package_root() == request.subject.root
    };
    if let Some(verdict) = request.verdicts.iter().find(same) {
        return Ok((OpenPurpose::ReferenceAudit, verdict.look()));
    }
    let used = request.ledger.openings.iter().any(|opening| {
        let body = &opening.body;
        body.protocol.0 == protocol && body.result == Granted::Granted && body.purpose == OpenPurpose::Gate
    }) || request.verdicts.iter().any(|verdict| verdict.protocol() == protocol);
    if used {
        let rule = format!("protocol {} was used for a look already; register a new protocol", text.id);
        return Err(("used_protocol", rule));
    }
    let number = next_number(request);
    if number > registered.body.looks {
        let rule =
            format!("the budget of {} looks of this set is spent; a new set version is needed", registered.body.looks);
        return Err(("budget_spent", rule));
    }
    Ok((OpenPurpose::Gate, number))
}

/// One more than the highest look at this set by this family, in the log or in a verdict at hand.
fn next_number(request: &LookRequest<'_>) -> u64 {
    let root = request.set.root();
    let logged = request.ledger.looks(root, &request.subject.family).map(|opening| opening.body.look);
    let at_hand = request
        .verdicts
        .iter()
        .filter(|verdict| verdict.set_root() == root && verdict.family() == request.subject.family)
        .map(Verdict::look);
    1 + logged.chain(at_hand).max().unwrap_or(0)
}
