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
    let log = logs::start(&loaded.config)
        .map_err(|source| ServeError::System { what: "start the thread that writes the log", source })?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let served = Server::new(loaded.config).run();
    drop(log);
    served
}
