//! Prints the inspection record of each path as one line of JSON: what `vidimus inspect --json` prints.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for found in vidimus_imaging::walk(std::env::args_os().skip(1)) {
        let record = match &found.fault {
            Some(error) => vidimus_imaging::failed(&found.path.to_string_lossy(), error),
            None => vidimus_imaging::inspect(&found.path),
        };
        writeln!(out, "{}", serde_json::to_string(&record)?)?;
    }
    Ok(())
}
