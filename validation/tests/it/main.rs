//! Validation from outside: statistics against independent programs, the committed locked set, looks, verdicts and
//! releases, each with what must be refused.

#[cfg(test)]
mod peers;
