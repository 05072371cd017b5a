//! Builds again when a migration is added or changed: they are embedded into the program.

fn main() {
    // A build script speaks to cargo on standard output.
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "cargo:rerun-if-changed=../../migrations");
}
