//! Canonical JSON: RFC 8785, narrowed so that every implementation agrees, and a view over it that builds no tree.
//! Objects, arrays, strings, booleans and integers within 2^53 - 1; no floats, no `null`; keys `[a-z][a-z0-9_]{0,63}`
//! in order. The canonical bytes are the entry: they are stored, hashed and served as they are.
//! Errors: [`CanonicalError`] names the byte offset and the rule. Source: AUDIT_LOG section 3.

use std::borrow::Cow;

use serde_json::Value;

use crate::limits::{ARRAY_ITEMS_MAX, DEPTH_MAX, INTEGER_MAX, KEY_BYTES_MAX};

/// Not in canonical form: which rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not canonical JSON at byte {at}: {rule}")]
pub struct CanonicalError {
    /// Offset of the first byte that breaks the rule; for a value being written, how much was written before it.
    pub at: usize,
    /// The rule.
    pub rule: &'static str,
}

/// The canonical bytes of `value`; refused is what canonical JSON cannot say (floats, `null`, odd keys, depth).
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(512);
    write(value, 1, &mut out)?;
    Ok(out)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let refuse = |rule, out: &Vec<u8>| Err(CanonicalError { at: out.len(), rule });
    match value {
        Value::Null => return refuse("null has no canonical form here", out),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) => match number.as_i64() {
            Some(value) if value.abs() <= INTEGER_MAX => out.extend_from_slice(value.to_string().as_bytes()),
            _ => return refuse("a number must be an integer within 2^53 - 1", out),
        },
        Value::String(text) => write_string(text, out)?,
        Value::Array(items) => {
            if depth > DEPTH_MAX || items.len() > ARRAY_ITEMS_MAX {
                return refuse("array too deep or too long", out);
            }
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            if depth > DEPTH_MAX {
                return refuse("object too deep", out);
            }
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if !is_key(key.as_bytes()) {
                    return refuse("a key must match [a-z][a-z0-9_]{0,63}", out);
                }
                write_string(key, out)?;
                out.push(b':');
                write(value, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    use std::io::Write as _;
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\0'..'\u{20}' => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            '\u{fffe}' | '\u{ffff}' => {
                return Err(CanonicalError { at: out.len(), rule: "U+FFFE and U+FFFF are not characters" });
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
    Ok(())
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= KEY_BYTES_MAX
        && key.first().is_some_and(u8::is_ascii_lowercase)
        && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether `bytes` are canonical JSON, in one pass and without building anything; the checked bytes as a view.
pub fn check(bytes: &[u8]) -> Result<Node<'_>, CanonicalError> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(CanonicalError { at: 0, rule: "not UTF-8" });
    };
    let mut checker = Checker { bytes, text, at: 0 };
    checker.value(1)?;
    if checker.at != bytes.len() {
        return checker.refuse("bytes after the value");
    }
    Ok(Node(text))
}

struct Checker<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl<'a> Checker<'a> {
    fn refuse<T>(&self, rule: &'static str) -> Result<T, CanonicalError> {
        Err(CanonicalError { at: self.at, rule })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8, rule: &'static str) -> Result<(), CanonicalError> {
        if self.peek() != Some(byte) {
            return self.refuse(rule);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), CanonicalError> {
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            _ => self.refuse("expected an object, array, string, boolean or integer"),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), CanonicalError> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.refuse("expected true or false");
        }
        self.at += word.len();
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), CanonicalError> {
        if depth > DEPTH_MAX {
            return self.refuse("object too deep");
        }
        self.at += 1;
        let mut previous: Option<&[u8]> = None;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at;
            let key = self.string()?;
            if !is_key(key) {
                self.at = start;
                return self.refuse("a key must match [a-z][a-z0-9_]{0,63}");
            }
            if previous.is_some_and(|previous| previous >= key) {
                self.at = start;
                return self.refuse("keys must be unique and in order");
            }
            previous = Some(key);
            self.take(b':', "expected : after the key")?;
            self.value(depth + 1)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.refuse("expected , or } in the object"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), CanonicalError> {
        if depth > DEPTH_MAX {
            return self.refuse("array too deep");
        }
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for _ in 0..ARRAY_ITEMS_MAX {
            self.value(depth + 1)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.refuse("expected , or ] in the array"),
            }
        }
        self.refuse("array too long")
    }

    /// The raw bytes between the quotes.
    fn string(&mut self) -> Result<&'a [u8], CanonicalError> {
        self.take(b'"', "expected a string")?;
        let start = self.at;
        loop {
            match self.peek() {
                None => return self.refuse("string without end"),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return self.refuse("control character not escaped"),
                Some(0xef) => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    if rest.starts_with(['\u{fffe}', '\u{ffff}']) {
                        return self.refuse("U+FFFE and U+FFFF are not characters");
                    }
                    self.at += 3;
                }
                Some(_) => self.at += 1,
            }
        }
        let content = self.bytes.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(content)
    }

    fn escape(&mut self) -> Result<(), CanonicalError> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        match rest {
            [b'b' | b't' | b'n' | b'f' | b'r' | b'"' | b'\\', ..] => self.at += 2,
            [b'u', b'0', b'0', high @ (b'0' | b'1'), low @ (b'0'..=b'9' | b'a'..=b'f'), ..]
                if !(*high == b'0' && matches!(low, b'8' | b'9' | b'a' | b'c' | b'd')) =>
            {
                self.at += 6;
            }
            _ => return self.refuse("escape not in its shortest form"),
        }
        Ok(())
    }

    fn integer(&mut self) -> Result<(), CanonicalError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let canonical = digits == "0" && text == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c));
        let within = text.parse::<i64>().is_ok_and(|value| value.abs() <= INTEGER_MAX);
        if !canonical || !within {
            self.at = start;
            return self.refuse("an integer has no leading zero, no -0 and lies within 2^53 - 1");
        }
        Ok(())
    }
}

/// A value within bytes that [`check`] found canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a>(&'a str);

impl<'a> Node<'a> {
    /// The bytes of the value.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// The members of an object, in order.
    pub fn members(self) -> Option<impl Iterator<Item = (&'a str, Node<'a>)>> {
        let mut rest = self.0.strip_prefix('{')?;
        Some(std::iter::from_fn(move || {
            let (key, after) = split(rest.trim_start_matches(','))?;
            let (value, after) = split(after.strip_prefix(':')?)?;
            rest = after;
            Some((key.get(1..key.len() - 1)?, Node(value)))
        }))
    }

    /// The member of an object under `key`.
    pub fn member(self, key: &str) -> Option<Node<'a>> {
        self.members()?.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The items of an array.
    pub fn items(self) -> Option<impl Iterator<Item = Node<'a>>> {
        let mut rest = self.0.strip_prefix('[')?;
        Some(std::iter::from_fn(move || {
            let (item, after) = split(rest.trim_start_matches(','))?;
            rest = after;
            Some(Node(item))
        }))
    }

    /// The text of a string.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !raw.contains('\\') {
            return Some(Cow::Borrowed(raw));
        }
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }

    /// The value of an integer.
    pub fn integer(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The value of a boolean.
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// The first value of canonical bytes and what follows it; `None` at the end of the object or array around it.
fn split(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if *bytes.get(at)? == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => depth -= 1,
            b',' | b':' if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    if at == 0 { None } else { text.split_at_checked(at) }
}
