//! The store as a whole: one binary, one module a subject.

#[cfg(test)]
mod common;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod group;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod site;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod vault;
