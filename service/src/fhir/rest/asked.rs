//! A whole search, read: criteria, shape of the answer, place in the list, and what of it was understood.
//! Errors: [`Problem`] 400; under `Prefer: handling=lenient` what is unknown is left out and `self` says so.
//! Source: INTERFACES section 1.7; HL7 FHIR R4, sections 3.1.1.4 and 3.2.1.4.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    criteria::{Criterion, is_id},
    parameters::{self, Parameter, Type},
};
use crate::{
    fhir::values,
    http::{Kind, Problem},
    site::House,
};

/// Resources of a page where nothing is said.
const COUNT: usize = 50;
/// Resources of a page at most.
const COUNT_MAX: usize = 200;
/// Parameters of one search.
const PARAMETERS_MAX: usize = 50;
/// Bytes of one value.
const VALUE_BYTES_MAX: usize = 2_000;

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The newest version first: the order of the store.
    Newest,
    /// By the newest version, the oldest first; or by a date of the resource.
    By { path: &'static str, descending: bool },
}

/// A way from or to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The type that has the parameter.
    pub of: &'static Type,
    pub parameter: &'static Parameter,
    /// The only type that is wanted.
    pub target: Option<&'static str>,
}

/// A search.
#[derive(Debug)]
pub(super) struct Asked {
    pub kind: &'static Type,
    pub criteria: Vec<Criterion>,
    pub count: usize,
    pub order: Order,
    /// The number of all that fit is to be given.
    pub total: bool,
    /// Nothing but that number.
    pub only_count: bool,
    pub elements: Vec<String>,
    pub include: Vec<Link>,
    pub revinclude: Vec<Link>,
    /// Where the page begins, as [`Asked::cursor`] wrote it.
    pub after: Option<String>,
    /// What was understood, for `self`.
    pub understood: Vec<(String, String)>,
}

/// Whose rules a search is read by.
pub(super) struct Rules<'a> {
    pub house: &'a House,
    /// Address of `/fhir`, without a slash at its end.
    pub base: &'a str,
    /// Unknown parameters are left out instead of refused.
    pub lenient: bool,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

impl Asked {
    /// Reads a search.
    pub(super) fn read(kind: &'static Type, sent: &[(String, String)], rules: &Rules<'_>) -> Result<Self, Problem> {
        if sent.len() > PARAMETERS_MAX {
            return Err(bad(format!("a search has at most {PARAMETERS_MAX} parameters")));
        }
        let mut asked = Self {
            kind,
            criteria: Vec::new(),
            count: COUNT,
            order: Order::Newest,
            total: false,
            only_count: false,
            elements: Vec::new(),
            include: Vec::new(),
            revinclude: Vec::new(),
            after: None,
            understood: Vec::new(),
        };
        let mut cursor = None;
        for (place, (name, value)) in sent.iter().enumerate() {
            if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                return Err(bad(format!("parameter {}: expected at most {VALUE_BYTES_MAX} bytes of text", place + 1)));
            }
            if name == "_cursor" {
                if cursor.replace(value.as_str()).is_some() {
                    return Err(bad("_cursor: given twice"));
                }
                continue;
            }
            match asked.one(name, value, rules) {
                Ok(Some(understood)) => asked.understood.push((name.clone(), understood)),
                Ok(None) => asked.understood.push((name.clone(), value.clone())),
                Err(Unfit::Unknown(_)) if rules.lenient => {}
                Err(Unfit::Unknown(what)) => return Err(bad(format!("parameter {}: {what}", place + 1))),
                Err(Unfit::Wrong(what)) => return Err(bad(what)),
            }
        }
        asked.after = cursor.map(|cursor| asked.open_cursor(rules.house, cursor)).transpose()?;
        Ok(asked)
    }

    /// One parameter; what `self` says where it is not what was sent.
    fn one(&mut self, name: &str, value: &str, rules: &Rules<'_>) -> Result<Option<String>, Unfit> {
        let wrong = |what: &str| Err(Unfit::Wrong(what.to_owned()));
        match name {
            "_count" => {
                let count = value.parse::<u64>().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
                let Some(count) = count else { return wrong("_count: expected a whole number from 0 to 200") };
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > COUNT_MAX && !rules.lenient {
                    return wrong("_count: at most 200");
                }
                self.count = count.min(COUNT_MAX);
                self.only_count |= count == 0;
                return Ok(Some(self.count.to_string()));
            }
            "_total" => match value {
                "none" => self.total = false,
                "estimate" | "accurate" => self.total = true,
                _ => return wrong("_total: expected none, estimate or accurate"),
            },
            "_summary" => match value {
                "count" => self.only_count = true,
                "false" => {}
                _ => return wrong("_summary: served are count and false"),
            },
            "_format" => match value {
                "json" | "application/json" | "application/fhir+json" => {}
                _ => return wrong("_format: expected json"),
            },
            "_elements" => {
                let names: Vec<&str> = value.split(',').collect();
                let plain = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if !names.iter().all(plain) {
                    return wrong("_elements: expected names of elements, with commas between them");
                }
                self.elements.extend(names.into_iter().map(str::to_owned));
            }
            "_sort" => self.order = self.order_of(value)?,
            "_include" => {
                let link = self.link(value, true)?;
                self.include.push(link);
            }
            "_revinclude" => {
                let link = self.link(value, false)?;
                self.revinclude.push(link);
            }
            _ => return self.criterion(name, value, rules).map(|()| None),
        }
        Ok(None)
    }

    fn criterion(&mut self, sent: &str, value: &str, rules: &Rules<'_>) -> Result<(), Unfit> {
        let (name, modifier) = sent.split_once(':').map_or((sent, None), |(name, modifier)| (name, Some(modifier)));
        if sent.contains('.') || name == "_has" {
            return Err(Unfit::Wrong("chained parameters are not served: search in two steps".into()));
        }
        let Some(parameter) = self.kind.parameter(name) else {
            let known: Vec<&str> = self.kind.parameters.iter().map(|parameter| parameter.name).collect();
            let what =
                format!("{} is not searched by it; served are _id, _lastUpdated, {}", self.kind.name, known.join(", "));
            return Err(Unfit::Unknown(what));
        };
        if parameter.name == "_id" && modifier.is_none() && !value.split(',').all(is_id) {
            return Err(Unfit::Wrong("_id: expected ids of letters, digits, - and .".into()));
        }
        self.criteria.push(Criterion::read(parameter, modifier, value, rules.base).map_err(Unfit::Wrong)?);
        Ok(())
    }

    fn order_of(&self, value: &str) -> Result<Order, Unfit> {
        let (name, descending) = value.strip_prefix('-').map_or((value, false), |name| (name, true));
        match name {
            "_lastUpdated" if descending => Ok(Order::Newest),
            "_lastUpdated" => Ok(Order::By { path: "meta.lastUpdated", descending: false }),
            _ => {
                let known = self.kind.sort.iter().find(|known| **known == name);
                let parameter = known.and_then(|name| self.kind.parameter(name));
                let path = parameter.and_then(|parameter| parameter.at.first());
                path.map(|path| Order::By { path, descending }).ok_or_else(|| {
                    let dates: String = self.kind.sort.iter().map(|name| format!(", {name}")).collect();
                    Unfit::Wrong(format!("_sort: served are -_lastUpdated, _lastUpdated{dates}; one of them"))
                })
            }
        }
    }

    /// `Type:parameter` or `Type:parameter:Target`, as the table of types allows it.
    fn link(&self, value: &str, forward: bool) -> Result<Link, Unfit> {
        let mut parts = value.split(':');
        let (of, name, target) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next());
        let allowed = if forward {
            of == self.kind.name && self.kind.include.contains(&name)
        } else {
            self.kind.revinclude.contains(&(of, name))
        };
        let types = parameters::of(of).filter(|_| allowed && parts.next().is_none());
        let link = types.and_then(|of| Some(Link { of, parameter: of.parameter(name)?, target: None }));
        let link = link.and_then(|link| match target {
            None => Some(link),
            Some(target) => Some(Link { target: Some(parameters::of(target)?.name), ..link }),
        });
        link.ok_or_else(|| {
            let known: Vec<String> = if forward {
                self.kind.include.iter().map(|name| format!("{}:{name}", self.kind.name)).collect()
            } else {
                self.kind.revinclude.iter().map(|(of, name)| format!("{of}:{name}")).collect()
            };
            let list = if known.is_empty() { "none".into() } else { known.join(", ") };
            Unfit::Wrong(format!("{}: served are {list}", if forward { "_include" } else { "_revinclude" }))
        })
    }

    /// Whether a resource fits.
    pub(super) fn holds(&self, resource: &Value) -> bool {
        self.criteria.iter().all(|criterion| criterion.holds(resource))
    }

    /// What a cursor belongs to: type and everything that decides which resources come in which order.
    fn identity(&self) -> String {
        let mut text = self.kind.name.to_owned();
        let shaping = ["_count", "_total", "_summary", "_elements", "_include", "_revinclude", "_format"];
        for (name, value) in self.understood.iter().filter(|(name, _)| !shaping.contains(&name.as_str())) {
            text.push_str(&format!("\n{name}={value}"));
        }
        text
    }

    /// A signed text for the place after which the next page begins.
    pub(super) fn cursor(&self, house: &House, place: &str) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(place), self.seal(house, place))
    }

    fn seal(&self, house: &House, place: &str) -> String {
        let digest = house.site.keyed("fhir-cursor", format!("{}\n\n{place}", self.identity()).as_bytes());
        digest.hex().get(..32).unwrap_or_default().to_owned()
    }

    fn open_cursor(&self, house: &House, cursor: &str) -> Result<String, Problem> {
        let open = || {
            let (place, seal) = cursor.split_once('.')?;
            let place = String::from_utf8(URL_SAFE_NO_PAD.decode(place).ok()?).ok()?;
            (self.seal(house, &place) == seal).then_some(place)
        };
        open().ok_or_else(|| bad("_cursor: it is none of this search; begin again without it"))
    }

    /// The search as an address: `self`, or `next` with a cursor.
    pub(super) fn address(&self, base: &str, cursor: Option<&str>) -> String {
        let mut pairs: Vec<String> = self
            .understood
            .iter()
            .map(|(name, value)| format!("{}={}", values::percent(name), values::percent(value)))
            .collect();
        pairs.extend(cursor.map(|cursor| format!("_cursor={}", values::percent(cursor))));
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        format!("{base}/{}{query}", self.kind.name)
    }
}

/// Why a parameter is not taken.
enum Unfit {
    /// It is not known; in lenient handling it is left out.
    Unknown(String),
    /// It is known, and its value or modifier is not.
    Wrong(String),
}
