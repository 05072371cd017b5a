//! What an entry may say: one table of kinds and fields, made from the body types, judged over canonical bytes.
//! On append an unknown field or kind is refused; a verifier of an older version keeps and reports it.
//! Errors: [`SchemaError`] names the field and the rule. Source: AUDIT_LOG section 2.

use crate::{
    Digest, EntryId,
    body::KINDS,
    canonical::Node,
    values::{is_code, is_decimal, is_hex, is_text},
};

/// The rule for one value.
#[derive(Debug)]
pub enum Shape {
    /// `sha256:` and 64 hexadecimal characters.
    Digest,
    /// `c1:` and 64 hexadecimal characters.
    Commit,
    /// A decimal number as text.
    Decimal,
    /// `[a-z0-9_.-]{1,64}`.
    Code,
    /// Prose.
    Text,
    /// A leaf hash, 64 hexadecimal characters.
    Leaf,
    /// 64 bits as 16 hexadecimal characters.
    Seed,
    /// An integer of zero or more.
    Natural,
    /// An integer.
    Integer,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An array.
    List(&'static Shape),
    /// An object.
    Record(&'static [FieldRule]),
}

/// One field of a record.
#[derive(Debug)]
pub struct FieldRule {
    /// Its key.
    pub name: &'static str,
    /// Its value's rule.
    pub shape: Shape,
    /// Whether it may be absent.
    pub optional: bool,
}

/// One kind of entry.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its body.
    pub body: Shape,
    /// The `rel`s that its refs must hold.
    pub needs: &'static [&'static str],
}

/// The relations that a reference may state.
pub const RELATIONS: &[&str] = &[
    "amends",
    "dataset",
    "decision",
    "erases",
    "evaluation",
    "intent",
    "model",
    "opened",
    "outcome",
    "overrides",
    "protocol",
    "replaces",
];

/// Whether an entry of `kind` can stand in the relation `rel`; an unknown kind (empty: of a later version) may.
pub fn related(rel: &str, kind: &str) -> bool {
    match rel {
        _ if kind.is_empty() => true,
        "intent" => kind == "read_intent",
        "outcome" => kind == "read_outcome",
        "model" => kind == "model_registered",
        "dataset" => kind == "dataset_locked",
        "opened" => kind == "dataset_opened",
        "protocol" => kind == "protocol_registered",
        "evaluation" => kind == "evaluation",
        "decision" => kind == "release_decision",
        _ => true,
    }
}

/// An entry that breaks the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct SchemaError {
    /// The path of the field.
    pub field: String,
    /// What was expected.
    pub rule: String,
}

impl SchemaError {
    pub(crate) fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The table as text: what `schema` in `site_opened` is the digest of.
pub fn text() -> String {
    let mut out = String::from("vidimus/schema/v1\n");
    for kind in KINDS {
        out.push_str(&format!("{}({}) {}\n", kind.name, kind.needs.join(","), describe(&kind.body)));
    }
    out
}

fn describe(shape: &Shape) -> String {
    let word = match shape {
        Shape::Digest => "digest",
        Shape::Commit => "commit",
        Shape::Decimal => "dec",
        Shape::Code => "code",
        Shape::Text => "text",
        Shape::Leaf => "leaf",
        Shape::Seed => "seed",
        Shape::Natural => "natural",
        Shape::Integer => "int",
        Shape::Bool => "bool",
        Shape::Word(words) => return words.join("/"),
        Shape::List(item) => return format!("[{}]", describe(item)),
        Shape::Record(fields) => {
            let field = |field: &FieldRule| {
                format!("{}{}:{}", field.name, if field.optional { "?" } else { "" }, describe(&field.shape))
            };
            return format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","));
        }
    };
    word.to_owned()
}

/// The digest of [`text`].
pub fn digest() -> Digest {
    Digest::of(text().as_bytes())
}

/// Judges `node` by `shape`; the paths of fields that the shape does not know are added to `unknown`.
pub fn judge(node: Node<'_>, shape: &Shape, path: &str, unknown: &mut Vec<String>) -> Result<(), SchemaError> {
    let text = |rule: fn(&str) -> bool| node.text().is_some_and(|text| rule(&text));
    let prefixed =
        |prefix: &str| node.text().is_some_and(|text| text.strip_prefix(prefix).is_some_and(|hex| is_hex(hex, 64)));
    let (good, expected) = match shape {
        Shape::Digest => (prefixed("sha256:"), "expected sha256: and 64 hexadecimal characters".to_owned()),
        Shape::Commit => (prefixed("c1:"), "expected c1: and 64 hexadecimal characters".to_owned()),
        Shape::Decimal => (text(is_decimal), "expected a decimal number as text".to_owned()),
        Shape::Code => (text(is_code), "expected a code, [a-z0-9_.-]{1,64}".to_owned()),
        Shape::Text => (text(is_text), "expected a text of 1 to 2,000 characters in NFC".to_owned()),
        Shape::Leaf => (text(|text| is_hex(text, 64)), "expected 64 hexadecimal characters".to_owned()),
        Shape::Seed => (text(|text| is_hex(text, 16)), "expected 16 hexadecimal characters".to_owned()),
        Shape::Natural => (node.integer().is_some_and(|value| value >= 0), "expected an integer >= 0".to_owned()),
        Shape::Integer => (node.integer().is_some(), "expected an integer".to_owned()),
        Shape::Bool => (node.boolean().is_some(), "expected true or false".to_owned()),
        Shape::Word(words) => {
            let known = node.text().is_some_and(|text| words.contains(&text.as_ref()));
            (known, format!("expected one of {}", words.join(", ")))
        }
        Shape::List(item) => {
            let Some(items) = node.items() else {
                return Err(SchemaError::new(path, "expected an array"));
            };
            for (index, node) in items.enumerate() {
                judge(node, item, &format!("{path}[{index}]"), unknown)?;
            }
            return Ok(());
        }
        Shape::Record(fields) => return judge_record(node, fields, path, unknown),
    };
    if good { Ok(()) } else { Err(SchemaError::new(path, expected)) }
}

fn judge_record(
    node: Node<'_>,
    fields: &[FieldRule],
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), SchemaError> {
    let Some(members) = node.members() else {
        return Err(SchemaError::new(path, "expected an object"));
    };
    let mut found = 0;
    for (key, value) in members {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match fields.iter().find(|field| field.name == key) {
            None => unknown.push(path),
            Some(field) => {
                judge(value, &field.shape, &path, unknown)?;
                found += usize::from(!field.optional);
            }
        }
    }
    if found != fields.iter().filter(|field| !field.optional).count() {
        let missing = fields.iter().find(|field| !field.optional && node.member(field.name).is_none());
        let name = missing.map_or("", |field| field.name);
        return Err(SchemaError::new(format!("{path}.{name}"), "required, but absent"));
    }
    Ok(())
}

/// The frame of an entry, read from canonical bytes without building the body.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// Who acted.
    pub actor: &'a str,
    /// The actor's role.
    pub role: &'a str,
    /// The process's `boot` entry; `None` in the first entry of a log.
    pub boot: Option<EntryId>,
    /// The entry's name.
    pub entry_id: EntryId,
    /// The kind's name.
    pub kind: &'a str,
    /// The log's origin.
    pub log: &'a str,
    /// What the entry refers to.
    pub refs: Vec<RefView<'a>>,
    /// UTC milliseconds.
    pub t_ms: i64,
    /// The body.
    pub body: Node<'a>,
    /// Fields and kinds that this version does not know.
    pub unknown: Vec<String>,
}

/// A reference as it stands in the bytes.
#[derive(Debug, Clone, Copy)]
pub struct RefView<'a> {
    /// The entry referred to.
    pub entry_id: EntryId,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// In which relation.
    pub rel: &'a str,
}

const FRAME: &[&str] = &["actor", "body", "boot", "entry_id", "kind", "log", "refs", "t_ms", "trace", "v"];

/// Reads and judges the frame and the body of a canonical entry. `version` other than 1 is a [`SchemaError`] on `v`.
pub fn read<'a>(entry: Node<'a>) -> Result<Header<'a>, SchemaError> {
    let field = |name: &str| entry.member(name).ok_or_else(|| SchemaError::new(name, "required, but absent"));
    let word = |node: Node<'a>, name: &str| {
        let text = node.raw().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        text.ok_or_else(|| SchemaError::new(name, "expected a string"))
    };
    if field("v")?.integer() != Some(1) {
        return Err(SchemaError::new("v", "expected 1: a newer vidimus-verify may know this entry"));
    }
    let mut unknown: Vec<String> = entry.members().into_iter().flatten().map(|(key, _)| key.to_owned()).collect();
    unknown.retain(|key| !FRAME.contains(&key.as_str()));
    let id = |name: &str| {
        EntryId::parse(word(field(name)?, name)?).map_err(|error| SchemaError::new(name, error.to_string()))
    };
    let (actor, role) = read_actor(field("actor")?, &word)?;
    let boot = if word(field("boot")?, "boot")? == crate::NO_BOOT { None } else { Some(id("boot")?) };
    let kind_name = word(field("kind")?, "kind")?;
    let log = word(field("log")?, "log")?;
    if !crate::note::is_origin(log) {
        return Err(SchemaError::new("log", "expected an origin: <domain>/vidimus/<code>"));
    }
    let t_ms = field("t_ms")?.integer().filter(|value| *value >= 0);
    let t_ms = t_ms.ok_or_else(|| SchemaError::new("t_ms", "expected milliseconds, an integer >= 0"))?;
    if !is_hex(word(field("trace")?, "trace")?, 32) {
        return Err(SchemaError::new("trace", "expected 32 hexadecimal characters"));
    }
    let refs = read_refs(field("refs")?)?;
    let body = field("body")?;
    match kind(kind_name) {
        Some(kind) => judge_kind(kind, body, &refs, &mut unknown)?,
        None if is_code(kind_name) && body.members().is_some() => unknown.push(format!("kind {kind_name}")),
        None => return Err(SchemaError::new("kind", "expected a code, and an object as body")),
    }
    Ok(Header { actor, role, boot, entry_id: id("entry_id")?, kind: kind_name, log, refs, t_ms, body, unknown })
}

fn read_actor<'a>(
    node: Node<'a>,
    word: &impl Fn(Node<'a>, &str) -> Result<&'a str, SchemaError>,
) -> Result<(&'a str, &'a str), SchemaError> {
    let member = |name: &str, path: &str| node.member(name).ok_or_else(|| SchemaError::new(path, "required"));
    let id = word(member("id", "actor.id")?, "actor.id")?;
    let role = word(member("role", "actor.role")?, "actor.role")?;
    if !crate::entry::is_actor(id) {
        return Err(SchemaError::new("actor.id", "expected sys, or stf_ or svc_ and 26 base32 characters"));
    }
    if !is_code(role) {
        return Err(SchemaError::new("actor.role", "expected a code"));
    }
    if node.members().into_iter().flatten().count() != 2 {
        return Err(SchemaError::new("actor", "expected id and role and nothing else"));
    }
    Ok((id, role))
}

fn read_refs(node: Node<'_>) -> Result<Vec<RefView<'_>>, SchemaError> {
    let items = node.items().ok_or_else(|| SchemaError::new("refs", "expected an array"))?;
    let mut refs: Vec<RefView<'_>> = Vec::new();
    for item in items {
        let text = |name: &str| item.member(name)?.raw().strip_prefix('"')?.strip_suffix('"');
        let read = || {
            let rel = RELATIONS.iter().find(|rel| Some(**rel) == text("rel"))?;
            Some(RefView {
                entry_id: EntryId::parse(text("entry_id")?).ok()?,
                index: u64::try_from(item.member("index")?.integer()?).ok()?,
                leaf: text("leaf")?.parse().ok()?,
                rel,
            })
        };
        let found = read().filter(|_| item.members().into_iter().flatten().count() == 4);
        let found = found.ok_or_else(|| SchemaError::new("refs", "expected entry_id, index, leaf and rel"))?;
        if refs.last().is_some_and(|last| (last.rel, last.index) >= (found.rel, found.index)) {
            return Err(SchemaError::new("refs", "must be unique and sorted by rel, then index"));
        }
        refs.push(found);
    }
    Ok(refs)
}

fn judge_kind(kind: &Kind, body: Node<'_>, refs: &[RefView<'_>], unknown: &mut Vec<String>) -> Result<(), SchemaError> {
    judge(body, &kind.body, "body", unknown)?;
    let has = |rel: &str| refs.iter().any(|found| found.rel == rel);
    if let Some(rel) = kind.needs.iter().find(|rel| !has(rel)) {
        return Err(SchemaError::new("refs", format!("a {} must refer to its {rel}", kind.name)));
    }
    crate::body::judge_rules(kind.name, body, &has)
}
