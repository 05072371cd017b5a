//! Patient data on its way to the vault: a wrapper that cannot be printed, logged or serialised by mistake.

/// A value that may identify a patient. It has no `Debug`, `Display` or `Serialize`; every use names [`Phi::open`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Closes `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Opens the value. Callers: the vault, the resources that name a patient (FHIR), comparison of two identities.
    pub const fn open(&self) -> &T {
        &self.0
    }
}
