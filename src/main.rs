//! The `realtime` binary: hands the command line to `cli` and serves nothing by itself.

use std::process::ExitCode;

use highper_realtime::{cli, config::Loaded};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), serve)
}

fn serve(_: Loaded) -> Result<(), std::io::Error> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this build has no server"))
}
