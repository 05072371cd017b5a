//! Media types of header fields: a name and its parameters.
//! Errors: none; what cannot be read is `None`, as is a type that says one thing twice.
//! Source: RFC 9110 sections 5.6 and 8.3.1. One leniency: a value without quotation marks may hold the characters of a
//! MIME boundary that a token may not (`=`, `/`, `:`, `?`, ..), as real senders do not quote theirs.

/// A media type, without judgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// Type and subtype in lower case, such as `application/dicom`.
    pub name: String,
    /// Names in lower case, values as sent.
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Reads a header field's value.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (name, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let name = name.trim_end_matches([' ', '\t']);
        let (kind, subtype) = name.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        while let Some(behind) = rest.strip_prefix(';') {
            let behind = behind.trim_start_matches([' ', '\t']);
            // An empty parameter (`; ;`, or a semicolon at the end) says nothing.
            if behind.is_empty() || behind.starts_with(';') {
                rest = behind;
                continue;
            }
            let (name, value) = behind.split_once('=')?;
            let (value, behind) = value_of(value)?;
            rest = behind.trim_start_matches([' ', '\t']);
            let name = name.to_ascii_lowercase();
            if !is_token(&name) || parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            parameters.push((name, value));
        }
        rest.is_empty().then(|| Self { name: name.to_ascii_lowercase(), parameters })
    }

    /// The value of a parameter, by its name in lower case.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A value at the start of `text`, and what follows.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([';', ' ', '\t', '"']).unwrap_or(text.len()));
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
