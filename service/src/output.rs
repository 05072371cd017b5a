//! Standard output: results for people as text, for programs as JSON Lines.
//! Errors: a closed pipe ends the run with exit code 1 and without a message, as in `vidimus ... | head`; the log is
//! closed in order all the same.

use std::io::{self, Write as _};

use serde_json::Value;

/// Where results go.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// One result: the object for a program, the text for a person.
    pub(crate) fn result(self, object: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json { self.line(&object.to_string()) } else { self.line(&text()) }
    }

    /// Text for a person; nothing where a program reads along.
    pub(crate) fn text(self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    fn line(self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())
    }
}
