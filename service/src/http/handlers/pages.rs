//! The pages: static files that hold no data. What they show comes from the operations, by the reader's own rights.

use super::super::{Answer, Call, Kind, Problem};
use crate::shipped;

/// What the pages may do: their own scripts, styles and pictures, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// The one page.
pub(in super::super) fn index(_: &Call<'_>) -> Result<Answer, Problem> {
    file_named("index.html")
}

/// A file of the pages.
pub(in super::super) fn file(call: &Call<'_>) -> Result<Answer, Problem> {
    file_named(call.path("file"))
}

fn file_named(name: &str) -> Result<Answer, Problem> {
    let missing = || Problem::new(Kind::NotFound, "the pages have no file of this name");
    let bytes = shipped::page(name).ok_or_else(missing)?;
    let media = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => return Err(missing()),
    };
    let answer = Answer::bytes(media, bytes).header("content-security-policy", POLICY);
    // A new program has new files under the old names: the reader asks each time.
    Ok(answer.header("cache-control", "no-cache"))
}
