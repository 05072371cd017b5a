//! Tests of the imaging crate as its users see it: committed samples of every syntax, the shared corpus where it is at
//! hand, damaged and hostile files, geometry, display, studies, paths and imports.

#[cfg(test)]
mod build;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod display;
#[cfg(test)]
mod geometry;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod import;
#[cfg(test)]
mod leniency;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod study;
#[cfg(test)]
mod viewing;
#[cfg(test)]
mod volume;
