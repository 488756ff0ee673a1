//! The `realtime` binary: hands the command line to [`cli`] and serves what it loads.

use std::process::ExitCode;

use highper_realtime::config::Loaded;
use highper_realtime::{ServeError, Server, cli, logs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), serve)
}

fn serve(loaded: Loaded) -> Result<(), ServeError> {
    logs::start(&loaded.config);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Server::new(loaded.config).run()
}
