//! The system from outside, in one binary.

#[cfg(test)]
mod browser;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod http_access;
#[cfg(test)]
mod http_bad_input;
#[cfg(test)]
mod http_fhir;
#[cfg(test)]
mod http_line;
#[cfg(test)]
mod http_stow;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod research;
#[cfg(test)]
mod site;
#[cfg(test)]
mod tidy;
