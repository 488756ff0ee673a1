//! `realtime-bench`: puts load on a real-time server and says what each message cost. Owns the command line and
//! the exit code: 0 when everything was right, 1 when something was wrong, 2 for a bad argument.

#![forbid(unsafe_code)]

mod client;
mod engine;
mod generator;
mod measure;
mod options;
mod report;
mod scenario;
mod seam;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use options::{Cli, Command};
use report::Report;
use scenario::RunError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (result, json) = match &cli.command {
        Command::Echo(options) => (scenario::echo::run(options), &options.common.json),
        Command::Fanout(options) => (scenario::fanout::run(options), &options.common.json),
        Command::Sse(options) => (scenario::sse::run(options), &options.common.json),
        Command::Publish(options) => (scenario::publish::run(options), &options.common.json),
        Command::Idle(options) => (scenario::idle::run(options), &options.common.json),
        Command::Connect(options) => (scenario::connect::run(options), &options.common.json),
    };
    let written =
        result.map_err(|error| Failure::of(&error)).and_then(|report| write(&report, json.as_deref()));
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure { words, code }) => {
            // Standard error is where the last words go; if it is closed there is nowhere left.
            let _ = writeln!(std::io::stderr(), "realtime-bench: {words}");
            code
        }
    }
}

/// Why there is no report, and the exit code that says so.
struct Failure {
    words: String,
    code: ExitCode,
}

impl Failure {
    fn of(error: &RunError) -> Self {
        let code = match error {
            RunError::Option(_) | RunError::Server(_) => ExitCode::from(2),
            RunError::Failed(_) | RunError::Proc(_) | RunError::Thread(_) => ExitCode::FAILURE,
        };
        Self { words: error.to_string(), code }
    }
}

/// Writes the report where it was asked for; whether it is clean.
fn write(report: &Report, json: Option<&str>) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    let written = match json {
        Some("-") => writeln!(out, "{}", report.json()),
        Some(path) => {
            std::fs::write(path, report.json() + "\n").and_then(|()| out.write_all(report.table().as_bytes()))
        }
        None => out.write_all(report.table().as_bytes()),
    };
    let failed = |error| Failure { words: format!("--json: cannot write: {error}"), code: ExitCode::FAILURE };
    written.map_err(failed)?;
    Ok(report.is_clean())
}
