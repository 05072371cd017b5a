//! Validation: what a model must show before it may serve, and the proof that it did.
//! Locked data sets ([`LockedSet`]), protocols registered beforehand ([`Protocol`]), looks that the log knows of
//! ([`Look`]), the gate's statistics ([`statistics`]), verdicts ([`Verdict`]) and releases that two persons sign
//! ([`Release`]). The way is one way: `Protocol`, then `Look` (an entry first), then [`evaluate`] (uses the look up),
//! then [`judge`] (a pure function to canonical bytes), then a release. No clock, no randomness but the registered
//! seed's; entries are written through [`vidimus_log::Recorder`], and the model is seen through [`Rater`].

mod analysis;
mod dataset;
mod decimal;
mod evaluation;
mod judge;
mod ledger;
mod look;
mod protocol;
mod rater;
mod release;
mod selective;
pub mod statistics;
mod verdict;

pub use dataset::{
    Class, DatasetError, Datasheet, ImportFacts, Imported, LockedSet, ReferenceStandard, ShortcutProbe, import, lock,
    picture_pixel_digest,
};
pub use evaluation::{Evaluation, EvaluationError, evaluate, evaluate_with};
pub use judge::{JudgeError, judge};
pub use ledger::{Ledger, LedgerError, Placed};
pub use look::{Look, LookError, LookRequest, Subject, TrainingManifest};
pub use protocol::{
    Endpoint, IntervalMethod, Protocol, ProtocolError, ProtocolText, SecondaryStatistic, SelectiveRule, Statistic,
    SubgroupAction,
};
pub use rater::{Rater, Rating};
pub use release::{
    CitedVerdict, Mode, Release, ReleaseError, ReleaseFacts, Role, Signature, SignedRelease, Signer, SigningFacts,
    parse_signatures, signatures_to_toml,
};
pub use verdict::{GATE_VERSION, Verdict, VerdictError};
