//! The checker against a small repository that is whole, and against each way to break it.

#[cfg(test)]
mod checker;
