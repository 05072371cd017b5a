//! The program `vidimus`: a second read of a medical image, with an explanation and a receipt that anyone can check.
//!
//! `main` reads the command line, starts telemetry and hands over to `commands`. Standard output belongs to results
//! (with `--json` one object a line, nothing else); progress and messages go to standard error.
//! Exit codes: 0; 1 faults found; 2 usage.

mod access;
mod admitted;
mod commands;
mod fhir;
mod gate;
mod http;
mod metrics;
mod output;
mod page;
mod pipeline;
mod queue;
mod replay;
mod research;
mod shipped;
mod sign;
mod signing;
mod site;
mod stow;
mod telemetry;
mod training;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    if let Err(name) = vidimus_engine::Isa::named() {
        let known: Vec<&str> = vidimus_engine::Isa::available().into_iter().map(vidimus_engine::Isa::name).collect();
        eprintln!(
            "vidimus: {}: this processor has no instruction set {name}, only {}",
            vidimus_engine::ISA_VARIABLE,
            known.join(", ")
        );
        return ExitCode::from(2);
    }
    let telemetry = match telemetry::start() {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("vidimus: telemetry: {error:#}");
            return ExitCode::from(2);
        }
    };
    let code = match commands::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            let closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
            if !error.downcast_ref().is_some_and(closed) {
                eprintln!("vidimus: {error:#}");
            }
            ExitCode::FAILURE
        }
    };
    drop(telemetry);
    code
}
