//! The programs and the repository as the tests of this crate see them: from outside, by command line and files.
//! Errors: panics with what to do, as a test's helpers should.
#![expect(clippy::expect_used, reason = "helpers of tests: a failure is a failed test")]

pub mod http;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_path_buf()
}

/// The shared data folder; none where a clone has none. With `CI=true` a missing folder is a failure.
pub fn data() -> Option<PathBuf> {
    let folder = env::var_os("VIDIMUS_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(env::var("CI").map_or(true, |ci| ci != "true"), "CI needs the data folder at {}", folder.display());
    eprintln!("not run: no data at {}", folder.display());
    None
}

/// A built program. `tests/run` builds both before the tests.
pub fn program(name: &str) -> PathBuf {
    let mut folder = env::current_exe().expect("a test knows its own path");
    while folder.pop() {
        let program = folder.join(name);
        if program.is_file() {
            return program;
        }
    }
    panic!("{name} is not built: run tests/run, or cargo build --bins first")
}

/// What a command did.
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The objects on standard output, one a line.
    pub fn objects(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).expect("with --json every line of standard output is an object"))
            .collect()
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command of `vidimus`, without the environment's configuration.
pub fn vidimus() -> Command {
    let mut command = Command::new(program("vidimus"));
    for name in ["VIDIMUS_DIR", "VIDIMUS_LOG", "VIDIMUS_LOG_FORMAT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    command.output().expect("the program starts").into()
}

/// Runs `vidimus` with these arguments.
pub fn vidimus_run(arguments: &[&str]) -> Ran {
    run(vidimus().args(arguments))
}

/// Runs `vidimus-verify` with these arguments.
pub fn verify_run(arguments: &[&str]) -> Ran {
    run(Command::new(program("vidimus-verify")).args(arguments))
}
