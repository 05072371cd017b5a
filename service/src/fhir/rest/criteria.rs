//! One parameter of a search, read and then held to a resource: token, date, reference, text, address, component.
//! A parameter that is given twice must hold twice; values between commas are alternatives.
//! Errors: what the parameter's form should be, by the parameter's name and never by the value that was sent.
//! Source: HL7 FHIR R4, section 3.1.1 (search).

use serde_json::Value;

use super::{
    parameters::{Parameter, Sort},
    when::{Prefix, Span, span},
};

/// Alternatives within one parameter.
const VALUES_MAX: usize = 100;

/// One thing that must hold.
#[derive(Debug)]
pub(super) struct Criterion {
    pub parameter: &'static Parameter,
    wanted: Vec<Wanted>,
    negated: bool,
}

#[derive(Debug, PartialEq)]
enum Wanted {
    /// Whether the element is absent.
    Missing(bool),
    Token(Token),
    Date(Prefix, Span),
    Reference(Target),
    /// A reference by its logical identifier.
    Identifier(Token),
    Text(Comparison, String),
    Uri(String),
    /// Code of a component; prefix, number, unit.
    Component(Token, Prefix, f64, f64, Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Starts,
    Contains,
    Exact,
}

/// `code`, `system|code`, `|code` (no system), `system|` (any code).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub system: Option<String>,
    pub code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    kind: Option<String>,
    id: String,
    version: Option<String>,
}

impl Criterion {
    /// Reads a parameter as it was sent: its modifier, if one stood behind the name, and its value. `base` is the
    /// address under which the caller knows `/fhir`.
    pub(super) fn read(
        parameter: &'static Parameter,
        modifier: Option<&str>,
        value: &str,
        base: &str,
    ) -> Result<Self, String> {
        let name = parameter.name;
        let parts = split(value, ',');
        if value.is_empty() || parts.iter().any(String::is_empty) {
            return Err(format!("{name}: a value is empty"));
        }
        if parts.len() > VALUES_MAX {
            return Err(format!("{name}: at most {VALUES_MAX} alternatives"));
        }
        let mut negated = false;
        let mut wanted = Vec::with_capacity(parts.len());
        for part in &parts {
            wanted.push(match (modifier, parameter.sort) {
                (Some("missing"), _) => match part.as_str() {
                    "true" => Wanted::Missing(true),
                    "false" => Wanted::Missing(false),
                    _ => return Err(format!("{name}:missing: expected true or false")),
                },
                (None, Sort::Token(_)) => Wanted::Token(Token::read(part, name)?),
                (Some("not"), Sort::Token(_)) => {
                    negated = true;
                    Wanted::Token(Token::read(part, name)?)
                }
                (None, Sort::Date) => date(part, name)?,
                (Some("identifier"), Sort::Reference(_)) => Wanted::Identifier(Token::read(part, name)?),
                (kind, Sort::Reference(types)) => Wanted::Reference(Target::read(part, kind, types, base, name)?),
                (None, Sort::Text) => Wanted::Text(Comparison::Starts, folded(&unescape(part))),
                (Some("contains"), Sort::Text) => Wanted::Text(Comparison::Contains, folded(&unescape(part))),
                (Some("exact"), Sort::Text) => Wanted::Text(Comparison::Exact, unescape(part)),
                (None, Sort::Uri) => Wanted::Uri(unescape(part)),
                (None, Sort::CodeQuantity) => component(part, name)?,
                (Some(_), _) => {
                    return Err(format!(
                        "{name}: this modifier is not served; served are {}",
                        modifiers(parameter.sort)
                    ));
                }
            });
        }
        Ok(Self { parameter, wanted, negated })
    }

    /// Whether a resource fits.
    pub(super) fn holds(&self, resource: &Value) -> bool {
        let found: Vec<&Value> = self.parameter.at.iter().flat_map(|path| at(resource, path)).collect();
        let any = self.wanted.iter().any(|wanted| self.fits(wanted, &found));
        any != self.negated
    }

    fn fits(&self, wanted: &Wanted, found: &[&Value]) -> bool {
        let plain = if let Sort::Token(system) = self.parameter.sort { system } else { "" };
        let any = |test: &dyn Fn(&Value) -> bool| found.iter().any(|value| test(value));
        match wanted {
            Wanted::Missing(missing) => found.is_empty() == *missing,
            Wanted::Token(token) => any(&|value| token.fits(value, plain)),
            Wanted::Date(prefix, wanted) => {
                any(&|value| span_of(value).is_some_and(|span| prefix.holds(span, *wanted)))
            }
            Wanted::Reference(target) => any(&|value| target.fits(value)),
            Wanted::Identifier(token) => any(&|value| token.fits(&value["identifier"], "")),
            Wanted::Text(comparison, wanted) => any(&|value| {
                value.as_str().is_some_and(|text| match comparison {
                    Comparison::Starts => folded(text).starts_with(wanted),
                    Comparison::Contains => folded(text).contains(wanted),
                    Comparison::Exact => text == wanted,
                })
            }),
            Wanted::Uri(wanted) => any(&|value| value.as_str() == Some(wanted)),
            Wanted::Component(code, prefix, low, high, unit) => any(&|value| {
                let quantity = &value["valueQuantity"];
                let units = [&quantity["code"], &quantity["unit"]];
                code.fits(&value["code"], "")
                    && unit.as_ref().is_none_or(|unit| units.iter().any(|found| *found == unit.as_str()))
                    && quantity["value"].as_f64().is_some_and(|number| compares(*prefix, number, *low, *high))
            }),
        }
    }

    /// The tokens, where they narrow: neither negated nor asked to be missing.
    pub(super) fn tokens(&self) -> Option<Vec<&Token>> {
        if self.negated {
            return None;
        }
        self.wanted.iter().map(|one| if let Wanted::Token(token) = one { Some(token) } else { None }).collect()
    }

    /// Id, and type where one is named, of the only reference that is wanted.
    pub(super) fn only_reference(&self) -> Option<(Option<&str>, &str)> {
        match self.wanted.as_slice() {
            [Wanted::Reference(target)] => Some((target.kind.as_deref(), &target.id)),
            _ => None,
        }
    }

    /// The code of the only logical identifier that is wanted.
    pub(super) fn only_identifier(&self) -> Option<&Token> {
        match self.wanted.as_slice() {
            [Wanted::Identifier(token)] => Some(token),
            _ => None,
        }
    }

    /// Microseconds within which everything lies that fits: `None` where there is no bound.
    pub(super) fn bounds(&self) -> (Option<i64>, Option<i64>) {
        let [Wanted::Date(prefix, wanted)] = self.wanted.as_slice() else { return (None, None) };
        match prefix {
            Prefix::Equal => (Some(wanted.low), Some(wanted.high)),
            Prefix::Greater | Prefix::StartsAfter => (Some(wanted.high), None),
            Prefix::GreaterOrEqual => (Some(wanted.low), None),
            Prefix::Less | Prefix::EndsBefore => (None, Some(wanted.low)),
            Prefix::LessOrEqual => (None, Some(wanted.high)),
            Prefix::NotEqual => (None, None),
        }
    }
}

/// The modifiers of a sort of parameter.
fn modifiers(sort: Sort) -> &'static str {
    match sort {
        Sort::Token(_) => ":missing and :not",
        Sort::Reference(_) => ":missing, :identifier and the name of a type",
        Sort::Text => ":missing, :exact and :contains",
        Sort::Date | Sort::Uri | Sort::CodeQuantity => ":missing",
    }
}

impl Token {
    fn read(text: &str, name: &str) -> Result<Self, String> {
        let parts = split(text, '|');
        let full = |part: &str| (!part.is_empty()).then(|| unescape(part));
        match parts.as_slice() {
            [code] => Ok(Self { system: None, code: full(code) }),
            [system, code] if !(system.is_empty() && code.is_empty()) => {
                Ok(Self { system: Some(unescape(system)), code: full(code) })
            }
            _ => Err(format!("{name}: expected code, system|code, |code or system|")),
        }
    }

    /// Whether a code, Coding, CodeableConcept, Identifier or boolean is it.
    fn fits(&self, value: &Value, plain: &str) -> bool {
        match value {
            Value::String(code) => self.is(if plain.is_empty() { None } else { Some(plain) }, code),
            Value::Bool(flag) => self.is(None, if *flag { "true" } else { "false" }),
            Value::Object(fields) => {
                if let Some(codings) = fields.get("coding").and_then(Value::as_array) {
                    return codings.iter().any(|coding| self.fits(coding, ""));
                }
                let code = fields.get("code").or_else(|| fields.get("value")).and_then(Value::as_str);
                let system = fields.get("system").and_then(Value::as_str);
                code.is_some_and(|code| self.is(system, code))
            }
            _ => false,
        }
    }

    fn is(&self, system: Option<&str>, code: &str) -> bool {
        let system_fits = match self.system.as_deref() {
            None => true,
            Some("") => system.is_none(),
            Some(wanted) => system == Some(wanted),
        };
        system_fits && self.code.as_ref().is_none_or(|wanted| wanted == code)
    }
}

impl Target {
    fn read(text: &str, kind: Option<&str>, types: &[&str], base: &str, name: &str) -> Result<Self, String> {
        let expected = || format!("{name}: expected an id, Type/id, or an address of this server");
        let text = unescape(text);
        let known = |kind: &str| super::parameters::of(kind).is_some() && (types.is_empty() || types.contains(&kind));
        if let Some(kind) = kind
            && !known(kind)
        {
            return Err(format!("{name}: this modifier is not served; served are {}", modifiers(Sort::Reference(&[]))));
        }
        let local = match text.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) {
            Some(local) => local,
            None if text.contains("://") || text.starts_with("urn:") => return Err(expected()),
            None => &text,
        };
        let parts: Vec<&str> = local.split('/').collect();
        let (found, id, version) = match parts.as_slice() {
            [id] => (None, *id, None),
            [kind, id] => (Some(*kind), *id, None),
            [kind, id, "_history", version] => (Some(*kind), *id, Some((*version).to_owned())),
            _ => return Err(expected()),
        };
        if !is_id(id) || found.is_some_and(|found| !known(found) || kind.is_some_and(|kind| kind != found)) {
            return Err(expected());
        }
        let only = if let [only] = types { Some(*only) } else { None };
        Ok(Self { kind: found.or(kind).or(only).map(str::to_owned), id: id.to_owned(), version })
    }

    /// Whether a reference leads there. One that names no version leads to every version.
    fn fits(&self, value: &Value) -> bool {
        let Some(reference) = value["reference"].as_str() else { return false };
        let (resource, version) = reference.split_once("/_history/").map_or((reference, None), |(a, b)| (a, Some(b)));
        let Some((kind, id)) = resource.rsplit_once('/') else { return false };
        id == self.id
            && self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && self.version.as_deref().is_none_or(|wanted| version == Some(wanted))
    }
}

/// Whether the text can be the id of a resource.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn date(text: &str, name: &str) -> Result<Wanted, String> {
    let read = || {
        let (prefix, rest) = Prefix::split(text)?;
        Some(Wanted::Date(prefix, span(rest)?))
    };
    let expected = "expected a prefix (eq ne gt lt ge le sa eb) and a date such as 2026-01-31";
    read().ok_or_else(|| format!("{name}: {expected}"))
}

/// `code$[prefix]number[|system|unit]`.
fn component(text: &str, name: &str) -> Result<Wanted, String> {
    let read = || {
        let parts = split(text, '$');
        let [code, quantity] = parts.as_slice() else { return None };
        let code = Token::read(code, name).ok()?;
        let parts = split(quantity, '|');
        let (prefix, digits) = Prefix::split(parts.first()?)?;
        let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite())?;
        // what the precision of the number leaves open
        let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let half = 0.5 * 10_f64.powi(-i32::try_from(decimals).ok()?);
        let unit = match parts.as_slice() {
            [_] => None,
            [_, _, unit] => Some(unescape(unit)).filter(|unit| !unit.is_empty()),
            _ => return None,
        };
        Some(Wanted::Component(code, prefix, number - half, number + half, unit))
    };
    let expected = "expected code$value, such as http://dicom.nema.org/resources/ontology/DCM|111012$gt80";
    read().ok_or_else(|| format!("{name}: {expected}"))
}

fn compares(prefix: Prefix, number: f64, low: f64, high: f64) -> bool {
    let middle = f64::midpoint(low, high);
    match prefix {
        Prefix::Equal => (low..high).contains(&number),
        Prefix::NotEqual => !(low..high).contains(&number),
        Prefix::Greater | Prefix::StartsAfter => number > middle,
        Prefix::Less | Prefix::EndsBefore => number < middle,
        Prefix::GreaterOrEqual => number >= middle,
        Prefix::LessOrEqual => number <= middle,
    }
}

/// The values of an element; lists are walked. An empty path is the resource itself.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![value];
    for name in path.split('.').filter(|name| !name.is_empty()) {
        found = found.into_iter().filter_map(|value| value.get(name)).flat_map(items).collect();
    }
    if path.is_empty() { found } else { found.into_iter().filter(|value| !value.is_null()).collect() }
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}

/// The span of a date, a time or a Period.
pub(super) fn span_of(value: &Value) -> Option<Span> {
    match value {
        Value::String(text) => span(text),
        Value::Object(_) => {
            let end = |name: &str| value[name].as_str().and_then(span);
            let (start, end) = (end("start"), end("end"));
            (start.is_some() || end.is_some()).then(|| Span {
                low: start.map_or(i64::MIN, |span| span.low),
                high: end.map_or(i64::MAX, |span| span.high),
            })
        }
        _ => None,
    }
}

/// Splits at a separator that no backslash escapes; the backslashes stay.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut part, mut escaped) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        escaped = c == '\\' && !escaped;
        part.push(c);
    }
    parts.push(part);
    parts
}

fn unescape(text: &str) -> String {
    let (mut plain, mut escaped) = (String::new(), false);
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(c);
    }
    plain
}

/// For comparing names: without case.
fn folded(text: &str) -> String {
    text.to_lowercase()
}
