//! The kinds of entry: one type each, with the fields of AUDIT_LOG section 2; the schema table is made from them.
//! Fields of type `Option` are absent when `None`; unknown fields are refused. Refs that a kind needs stand beside it.
//! Errors: [`SchemaError`] for the rules between fields ([`judge_rules`]).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Digest,
    canonical::Node,
    schema::{FieldRule, Kind, SchemaError, Shape},
    values::{Code, Commit, Decimal, Field, Seed, Sha256, Text},
};

macro_rules! record {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$doc])*
                #[doc = concat!("Field `", stringify!($field), "` of the entry's body.")]
                pub $field: $type,
            )*
        }

        impl Field for $name {
            const SHAPE: Shape = Shape::Record(&[$(FieldRule {
                name: stringify!($field),
                shape: <$type as Field>::SHAPE,
                optional: <$type as Field>::OPTIONAL,
            }),*]);
        }
    )*};
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("`", $word, "`")]
                #[serde(rename = $word)]
                $variant,
            )*
        }

        impl $name {
            /// The word in the entry.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Field for $name {
            const SHAPE: Shape = Shape::Word(&[$($word),*]);
        }
    )*};
}

macro_rules! kinds {
    ($($word:literal => $name:ident needs [$($rel:literal),*];)*) => {
        /// The body of an entry; the variant is its kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Body {
            $(
                #[doc = concat!("Kind `", $word, "`.")]
                $name($name),
            )*
        }

        /// Every kind, its body and the references it needs.
        pub const KINDS: &[Kind] = &[$(Kind { name: $word, body: $name::SHAPE, needs: &[$($rel),*] },)*];

        impl Body {
            /// The kind's name in the entry.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $word,)* }
            }

            pub(crate) fn to_value(&self) -> Result<Value, serde_json::Error> {
                match self { $(Self::$name(body) => to_object(body),)* }
            }

            pub(crate) fn from_value(kind: &str, value: Value) -> Result<Self, SchemaError> {
                match kind {
                    $($word => read_body(value).map(Self::$name),)*
                    _ => Err(SchemaError::new("kind", format!("{kind} is not known to this version"))),
                }
            }
        }

        $(
            impl From<$name> for Body {
                fn from(body: $name) -> Self {
                    Self::$name(body)
                }
            }
        )*
    };
}

fn to_object(body: &impl Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(body)?;
    strip_absent(&mut value);
    Ok(value)
}

fn strip_absent(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(strip_absent);
    }
}

fn read_body<T: DeserializeOwned>(value: Value) -> Result<T, SchemaError> {
    serde_json::from_value(value).map_err(|error| SchemaError::new("body", error.to_string()))
}

words! {
    /// What a locked set was opened for.
    OpenPurpose {
        Gate = "gate", ReferenceAudit = "reference_audit", LeakageCheck = "leakage_check",
        Withdrawal = "withdrawal",
    }
    /// Whether a request was granted.
    Granted { Granted = "granted", Refused = "refused" }
    /// Whether an access was granted.
    AccessResult { Granted = "granted", Denied = "denied" }
    /// What an evaluation showed.
    Verdict { Pass = "pass", Fail = "fail", Inconclusive = "inconclusive" }
    /// What was decided about a release.
    Decision { Approve = "approve", Reject = "reject", Withdraw = "withdraw", Suspend = "suspend" }
    /// The use that a released model is put to.
    RolloutState {
        Off = "off", Shadow = "shadow", Demonstration = "demonstration", Canary = "canary", Active = "active",
        Fallback = "fallback", Recalled = "recalled",
    }
    /// Why a study is read.
    ReadPurpose {
        Clinical = "clinical", Demonstration = "demonstration", Research = "research", Replay = "replay",
    }
    /// How a read ended.
    OutcomeStatus {
        Ok = "ok", Abstained = "abstained", Failed = "failed", Timeout = "timeout", Interrupted = "interrupted",
    }
    /// What a signature means (21 CFR 11.50).
    Meaning {
        Authorship = "authorship", Review = "review", Approval = "approval", Responsibility = "responsibility",
        Rejection = "rejection",
    }
    /// What was done to a thing.
    AccessAction { Create = "create", Read = "read", Update = "update", Execute = "execute" }
    /// The sort of thing accessed.
    AccessWhat {
        Finding = "finding", Image = "image", Explanation = "explanation", Study = "study", Query = "query",
        Model = "model", Dataset = "dataset", Session = "session", Export = "export", Log = "log",
        Opening = "opening",
    }
    /// What a rotated key is for.
    KeyPurpose {
        Log = "log", Witness = "witness", Vault = "vault", Tsa = "tsa", Signoff = "signoff",
    }
    /// What a witness did.
    WitnessEvent {
        Cosigned = "cosigned", Refused = "refused", Unreachable = "unreachable", QuorumLost = "quorum_lost",
        QuorumBack = "quorum_back", Conflict = "conflict",
    }
    /// How a self-audit ended.
    AuditResult { Ok = "ok", Failed = "failed" }
}

record! {
    /// The first entry of a log.
    SiteOpened {
        site: Code, policy: Sha256, vkeys: Vec<Text>, schema: Sha256, vault: Code, opened_by: Code,
        previous: Option<Sha256>,
    }
    /// The database of a process.
    Database { engine: Code, version: Text, settings: Sha256, }
    /// A process starts: software, configuration, host.
    Boot {
        binary: Sha256, version: Text, config: Sha256, host: Code, backend: Code, db: Database, prev_size: u64,
        anchor_size: u64,
    }
    /// A process ends.
    Shutdown { reason: Code, last_size: u64, }
    /// A model enters the registry; `package` is the Merkle root that every other body calls `model`.
    ModelRegistered {
        model: Code, version: Text, package: Sha256, weights: Sha256, graph: Sha256, preproc: Sha256,
        labels: Sha256, card: Sha256, intended_use: Sha256, sbom: Option<Sha256>,
    }
    /// A reference set is locked.
    DatasetLocked {
        dataset: Code, version: Text, set_root: Sha256, manifest: Sha256, items: u64, licence: Code,
        split: Code, locked_by: Code,
    }
    /// A protocol is registered before any look.
    ProtocolRegistered {
        protocol: Sha256, set_root: Sha256, looks: u64, primary: Vec<Code>, supersedes: Option<Sha256>,
    }
    /// A locked set is opened; appended before the first byte is decrypted.
    DatasetOpened {
        purpose: OpenPurpose, set_root: Sha256, protocol: Sha256, package_root: Option<Sha256>, gate: Sha256,
        look: u64, result: Granted, why: Option<Code>,
    }
    /// The primary figure of an evaluation.
    Primary { metric: Code, value: Decimal, ci_low: Decimal, ci_high: Decimal, n: u64, }
    /// A model was evaluated.
    Evaluation {
        protocol: Sha256, harness: Sha256, seed: Seed, results: Sha256, primary: Primary, verdict: Verdict,
        made_by: Option<Text>,
    }
    /// A release was decided by two people.
    ReleaseDecision {
        decision: Decision, scope: Code, reason: Text, effective_ms: u64, signoffs: Vec<Digest>,
    }
    /// A released model changes its use.
    Rollout { from: RolloutState, to: RolloutState, share_permille: u64, rule: Code, reason: Text, }
    /// The guard said no; there was no inference.
    ReadRefused {
        input: Option<Commit>, reason: Code, guard: Sha256, model: Sha256, request: Commit,
    }
    /// A read is about to start; durable before inference.
    ReadIntent {
        patient: Commit, study: Commit, inputs: Commit, modality: Code, body_part: Code, n_images: u64,
        model: Sha256, preproc: Sha256, runtime: Sha256, request: Commit, purpose: ReadPurpose, priority: Code,
        deadline_ms: u64,
    }
    /// How a read ended; durable before the result leaves.
    ReadOutcome {
        status: OutcomeStatus, input: Option<Commit>, prepared: Option<Commit>, output: Option<Commit>,
        saliency: Option<Commit>, report: Option<Commit>, saliency_method: Option<Code>, model: Sha256,
        runtime: Sha256, duration_us: u64, warnings: Vec<Code>, error: Option<Code>,
    }
    /// A finding left the service.
    FindingReleased { resource: Commit, recipient: Code, channel: Code, }
    /// How a signer was authenticated.
    Authentication { method: Code, factors: u64, auth_ms: u64, first_in_session: bool, }
    /// A person signed an outcome or an evaluation.
    SignOff {
        manifest: Commit, meaning: Meaning, signed_leaf: Digest, auth: Authentication, signer_kid: Text,
        jws: Text,
    }
    /// A record was amended; the old value stays.
    Amendment { what: Code, before: Commit, after: Commit, reason: Text, }
    /// A clinician's result beside the program's.
    Override { clinician_result: Commit, agrees: bool, reason_code: Code, reason: Option<Text>, }
    /// An audited operation without a kind of its own.
    Access {
        operation: Code, action: AccessAction, what: AccessWhat, subject: Option<Commit>, result: AccessResult,
        why: Code, policy: Sha256, client: Commit,
    }
    /// A setting changed.
    ConfigChange { key: Code, before: Sha256, after: Sha256, reason: Text, approved_by: Code, }
    /// A person's roles changed.
    RoleChange { target: Code, before: Vec<Code>, after: Vec<Code>, reason: Text, }
    /// A key was enrolled or replaced.
    KeyRotation {
        purpose: KeyPurpose, old: Option<Text>, new: Text, overlap_until_size: u64, reason: Text,
        proof: Option<Text>,
    }
    /// A subject's documents were erased.
    Erasure {
        subject: Commit, basis: Code, scope: Code, key_epoch: u64, documents: u64, verified: bool, reason: Text,
    }
    /// Something happened at a witness.
    Witness { name: Text, event: WitnessEvent, size: u64, root: Sha256, note: Option<Sha256>, }
    /// A time stamp over a checkpoint.
    Timestamp { size: u64, root: Sha256, tsr: Sha256, tsa: Text, gen_ms: u64, serial: Text, }
    /// The log was audited by itself.
    SelfAudit {
        from: u64, to: u64, root: Sha256, result: AuditResult, open_intents: u64, duration_ms: u64,
        detail: Option<Sha256>,
    }
    /// Something that must not pass in silence.
    Incident { code: Code, severity: Code, detail: Sha256, text: Text, }
    /// Records left the site.
    Export { bundle: Sha256, from: u64, to: u64, openings: u64, recipient: Code, basis: Code, }
}

kinds! {
    "site_opened" => SiteOpened needs [];
    "boot" => Boot needs [];
    "shutdown" => Shutdown needs [];
    "model_registered" => ModelRegistered needs [];
    "dataset_locked" => DatasetLocked needs [];
    "protocol_registered" => ProtocolRegistered needs [];
    "dataset_opened" => DatasetOpened needs ["dataset"];
    "evaluation" => Evaluation needs ["model", "dataset"];
    "release_decision" => ReleaseDecision needs ["model", "evaluation"];
    "rollout" => Rollout needs ["decision"];
    "read_refused" => ReadRefused needs [];
    "read_intent" => ReadIntent needs ["model"];
    "read_outcome" => ReadOutcome needs ["intent"];
    "finding_released" => FindingReleased needs ["outcome"];
    "sign_off" => SignOff needs [];
    "amendment" => Amendment needs ["amends"];
    "override" => Override needs ["outcome"];
    "access" => Access needs [];
    "config_change" => ConfigChange needs [];
    "role_change" => RoleChange needs [];
    "key_rotation" => KeyRotation needs [];
    "erasure" => Erasure needs [];
    "witness" => Witness needs [];
    "timestamp" => Timestamp needs [];
    "self_audit" => SelfAudit needs [];
    "incident" => Incident needs [];
    "export" => Export needs [];
}

/// The rules between fields, and between body and refs, that a table of fields cannot say.
pub(crate) fn judge_rules(kind: &str, body: Node<'_>, has: &dyn Fn(&str) -> bool) -> Result<(), SchemaError> {
    let word = |name: &str| body.member(name).map(Node::raw);
    let absent = |name: &str| body.member(name).is_none();
    let refuse = |field: &str, rule: &str| Err(SchemaError::new(field, rule));
    match kind {
        "evaluation" if !has("opened") && absent("made_by") => {
            refuse("body.made_by", "required where no look of this site is referred to")
        }
        "evaluation" if has("opened") && !absent("made_by") => {
            refuse("body.made_by", "only where the verdict was made elsewhere")
        }
        "read_outcome" if word("status") == Some("\"ok\"") => {
            // A network without a map (a denoiser) has no saliency and no report: "absent where never made".
            match ["input", "prepared", "output"].into_iter().find(|name| absent(name)) {
                Some(name) => refuse(&format!("body.{name}"), "required with status ok"),
                None => Ok(()),
            }
        }
        "sign_off" if has("outcome") == has("evaluation") => {
            refuse("refs", "a sign_off refers to its outcome or to its evaluation")
        }
        "dataset_opened" if (word("result") == Some("\"refused\"")) == absent("why") => {
            refuse("body.why", "required with a refusal, and only with one")
        }
        "release_decision" if body.member("signoffs").and_then(Node::items).is_none_or(|items| items.count() < 2) => {
            refuse("body.signoffs", "a release decision lists two sign-offs of different people")
        }
        _ => Ok(()),
    }
}
