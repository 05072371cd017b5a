//! A push parser of `multipart/related` bodies: bytes go in as they come, parts come out.
//!
//! Exact where two readers could differ: a line that begins with the boundary and is no delimiter, a bare line feed in
//! a header, a part given two types, a body that ends before its closing delimiter are faults, and nothing of such a
//! request is kept. Work is linear in the bytes for any chunking; memory is one part's header.
//! A part without `Content-Type` has the type that the request's `type` parameter names (PS3.18 section 8.7.3.5: it
//! "defines the media type of the parts"). Units: bytes.
//! Errors: [`Fault`]. Source: RFC 2046 section 5.1, RFC 2387, DICOM PS3.18 sections 8.6.1.2 and 8.7.3.5.
//! Requirement: REQ-SVC-150 to REQ-SVC-155.

use super::media::{MediaType, is_token};

/// The media type of a part that can be stored, and the `type` of a request.
pub(crate) const DICOM: &str = "application/dicom";
/// Bytes of one part's header at most, padding of delimiter lines included. Real ones have below 300.
pub(crate) const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Parts of one request at most: the largest real series hold about as many, and a sender may part them at will.
pub(crate) const PARTS_MAX: usize = 2_000;
/// Bytes before the first and after the last delimiter at most, each: text for people, which nobody reads.
pub(crate) const ASIDE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a boundary at most (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why a request is no multipart body that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The request has another media type.
    #[error("Content-Type: expected multipart/related with type=\"application/dicom\"")]
    Media,
    /// The media type's text is broken, or says a thing twice.
    #[error("Content-Type: the parameters cannot be read; give type=\"application/dicom\" and one boundary")]
    Parameters,
    /// The boundary is missing or is none.
    #[error("Content-Type: expected a boundary of 1 to 70 characters of RFC 2046")]
    Boundary,
    /// No delimiter was found in the first bytes, or in all of them.
    #[error("multipart body: no line begins with the boundary that Content-Type names")]
    NoBoundary,
    /// The first delimiter is the closing one.
    #[error("multipart body: it holds no part")]
    Empty,
    /// A delimiter's line holds something else.
    #[error("multipart body: a line begins with the boundary and is no delimiter")]
    Delimiter,
    /// A part's header cannot be read.
    #[error("multipart body: the header of part {part} cannot be read")]
    Head {
        /// Which part, counted from 1.
        part: usize,
    },
    /// A part's header is too long.
    #[error("multipart body: the header of part {part} is longer than {HEAD_BYTES_MAX} bytes")]
    HeadLength {
        /// Which part, counted from 1.
        part: usize,
    },
    /// Too many parts: the rest can be sent in further requests.
    #[error("multipart body: more than {PARTS_MAX} parts; send the rest in further requests")]
    Parts,
    /// Too much text after the closing delimiter.
    #[error("multipart body: more than {ASIDE_BYTES_MAX} bytes after the closing delimiter")]
    Epilogue,
    /// The body ends before its closing delimiter.
    #[error("multipart body: it ends before its closing delimiter")]
    Ended,
}

/// What the parser found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A part begins.
    Start {
        /// Its type, without parameters and in lower case; that of the request where the part names none; empty where
        /// it names none that can be read.
        media: String,
    },
    /// Bytes of the part.
    Data(&'a [u8]),
    /// The part ends.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Behind a boundary, within its line.
    Line,
    /// Behind a boundary and one dash.
    Dash,
    /// Behind a boundary and padding: nothing but more of it and a line's end may follow.
    Padding,
    /// Behind the carriage return of a delimiter's line.
    LineEnd,
    /// In the header of a part.
    Head,
    /// In the bytes of a part.
    Body,
    /// Behind the closing delimiter, within its line.
    Closed,
    /// Behind the carriage return of the closing delimiter's line.
    ClosedEnd,
    /// Behind the closing delimiter's line.
    Epilogue,
}

/// Reads one body.
#[derive(Debug)]
pub(crate) struct Parser {
    /// CR LF, two dashes, the boundary. The carriage return stands at its start only, which makes the search linear.
    delimiter: Vec<u8>,
    state: State,
    /// Bytes of the delimiter that the input ended with.
    matched: usize,
    /// Of these, bytes that belong to what stands before the body: the line end that may open a delimiter.
    borrowed: usize,
    head: Vec<u8>,
    /// Bytes of padding in this delimiter's line, of the preamble or the epilogue.
    aside: usize,
    parts: usize,
}

impl Parser {
    /// A parser for a request of this `Content-Type`.
    pub(crate) fn new(content_type: &str) -> Result<Self, Fault> {
        if content_type.trim().is_empty() {
            return Err(Fault::Media);
        }
        let media = MediaType::parse(content_type).ok_or(Fault::Parameters)?;
        if media.name != "multipart/related" {
            return Err(Fault::Media);
        }
        let of = |name: &str| media.parameter(name);
        if !of("type").is_some_and(|kind| kind.eq_ignore_ascii_case(DICOM)) {
            return Err(Fault::Media);
        }
        let boundary = of("boundary").filter(|text| is_boundary(text)).ok_or(Fault::Boundary)?;
        Ok(Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            state: State::Preamble,
            matched: 2,
            borrowed: 2,
            head: Vec::new(),
            aside: 0,
            parts: 0,
        })
    }

    /// Reads the next bytes. An error, its own or `sink`'s, ends the body: the parser is then not to be used again.
    pub(crate) fn push<E: From<Fault>>(
        &mut self,
        chunk: &[u8],
        mut sink: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = chunk;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = match self.state {
                State::Preamble | State::Body => self.search(rest, &mut sink)?,
                State::Head => self.head(rest, &mut sink)?,
                State::Epilogue => {
                    self.aside += rest.len();
                    if self.aside > ASIDE_BYTES_MAX {
                        return Err(Fault::Epilogue.into());
                    }
                    &[]
                }
                _ => {
                    self.state = self.line(byte)?;
                    behind
                }
            };
        }
        Ok(())
    }

    /// Ends the body.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::Closed | State::Epilogue => Ok(()),
            State::Preamble => Err(Fault::NoBoundary),
            _ => Err(Fault::Ended),
        }
    }

    /// One byte of a delimiter's line, behind the boundary.
    fn line(&mut self, byte: u8) -> Result<State, Fault> {
        let next = match (self.state, byte) {
            (State::Line, b'-') => State::Dash,
            (State::Dash, b'-') if self.parts == 0 => return Err(Fault::Empty),
            (State::Dash, b'-') => State::Closed,
            (State::Line | State::Padding, b' ' | b'\t') => State::Padding,
            (State::Line | State::Padding, b'\r') => State::LineEnd,
            (State::LineEnd, b'\n') => State::Head,
            (State::Closed, b' ' | b'\t') => State::Closed,
            (State::Closed, b'\r') => State::ClosedEnd,
            (State::ClosedEnd, b'\n') => State::Epilogue,
            _ => return Err(Fault::Delimiter),
        };
        self.aside += 1;
        if self.aside > HEAD_BYTES_MAX {
            return Err(Fault::Delimiter);
        }
        if matches!(next, State::Head | State::Epilogue) {
            self.aside = 0;
        }
        if next == State::Head {
            if self.parts == PARTS_MAX {
                return Err(Fault::Parts);
            }
            self.parts += 1;
            self.head.clear();
        }
        Ok(next)
    }

    /// Bytes of a part's header, up to the empty line.
    fn head<'a, E: From<Fault>>(
        &mut self,
        input: &'a [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        for (at, byte) in input.iter().enumerate() {
            if self.head.len() == HEAD_BYTES_MAX {
                return Err(Fault::HeadLength { part: self.parts }.into());
            }
            self.head.push(*byte);
            if self.head == b"\r\n" || self.head.ends_with(b"\r\n\r\n") {
                let media = self.media().ok_or(Fault::Head { part: self.parts })?;
                self.state = State::Body;
                // The empty line's end may open the next delimiter: the part is then empty.
                (self.matched, self.borrowed) = (2, 2);
                sink(Event::Start { media })?;
                return Ok(input.get(at + 1..).unwrap_or_default());
            }
        }
        Ok(&[])
    }

    /// The type that the header names, or the request's; none where a line is no field or two fields name a type.
    fn media(&self) -> Option<String> {
        let text = self.head.strip_suffix(b"\r\n")?;
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines(text)? {
            let control = line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
            if control || line.starts_with(self.delimiter.get(2..)?) {
                return None;
            }
            if matches!(line.first(), Some(b' ' | b'\t')) {
                // A folded line goes on with the field above it.
                fields.last_mut()?.1.extend_from_slice(line);
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(line.get(..colon)?).ok().filter(|name| is_token(name))?;
            fields.push((name.to_ascii_lowercase(), line.get(colon + 1..)?.to_vec()));
        }
        let mut types = fields.iter().filter(|(name, _)| name == "content-type");
        let Some((_, value)) = types.next() else { return Some(DICOM.to_owned()) };
        if types.next().is_some() {
            return None;
        }
        let media = std::str::from_utf8(value).ok().and_then(MediaType::parse);
        Some(media.map_or_else(String::new, |media| media.name))
    }

    /// Bytes up to the next delimiter. What looks like its beginning is held back until the next byte decides.
    fn search<'a, E: From<Fault>>(
        &mut self,
        input: &'a [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        // Bytes of the match that came with earlier chunks, and are in `input` no more.
        let mut carried = self.matched;
        let mut at = 0;
        while at < input.len() {
            let rest = input.get(at..).unwrap_or_default();
            if self.matched == 0 {
                let Some(place) = rest.iter().position(|byte| *byte == b'\r') else { break };
                (at, self.matched) = (at + place + 1, 1);
                continue;
            }
            if rest.first() != self.delimiter.get(self.matched) {
                let held = self.delimiter.get(self.borrowed..carried).unwrap_or_default();
                give(self.state, &mut self.aside, held, sink)?;
                (self.matched, self.borrowed, carried) = (0, 0, 0);
                continue;
            }
            (at, self.matched) = (at + 1, self.matched + 1);
            if self.matched == self.delimiter.len() {
                let data = input.get(..(at + carried).saturating_sub(self.matched)).unwrap_or_default();
                give(self.state, &mut self.aside, data, sink)?;
                if self.state == State::Body {
                    sink(Event::Stop)?;
                }
                (self.state, self.matched, self.borrowed, self.aside) = (State::Line, 0, 0, 0);
                return Ok(input.get(at..).unwrap_or_default());
            }
        }
        let data = input.get(..(input.len() + carried).saturating_sub(self.matched)).unwrap_or_default();
        give(self.state, &mut self.aside, data, sink)?;
        Ok(&[])
    }
}

/// Hands bytes of a part on; those of the preamble are counted.
fn give<E: From<Fault>>(
    state: State,
    aside: &mut usize,
    data: &[u8],
    sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if state == State::Body {
        return if data.is_empty() { Ok(()) } else { sink(Event::Data(data)) };
    }
    *aside += data.len();
    if *aside > ASIDE_BYTES_MAX { Err(Fault::NoBoundary.into()) } else { Ok(()) }
}

/// Lines that each end by CR LF; none where the text does not end so.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        found.push(rest.get(..end)?);
        rest = rest.get(end + 2..)?;
    }
    Some(found)
}

/// RFC 2046 section 5.1.1: `bchars`, not ending with a space.
fn is_boundary(text: &str) -> bool {
    (1..=BOUNDARY_BYTES_MAX).contains(&text.len())
        && !text.ends_with(' ')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte))
}
