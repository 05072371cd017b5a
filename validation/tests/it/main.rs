//! Validation from outside: statistics against independent programs, locked sets, looks, verdicts and releases, each
//! with what must be refused.

#[cfg(test)]
mod committed;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod locked_set;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod protocols;
#[cfg(test)]
mod releases;
#[cfg(test)]
mod support;
#[cfg(test)]
mod verdicts;
