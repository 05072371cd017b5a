//! The typed states of a reading, held to the shipped bundle and to a log made in memory.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod hippodeep;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod measure_data;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod saliency;
#[cfg(test)]
mod world;
