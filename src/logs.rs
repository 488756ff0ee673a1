//! Log lines: for people on a terminal, JSON elsewhere, to the standard output. Never holds payloads.

use std::io::{IsTerminal, stdout};

use tracing::level_filters::LevelFilter;

use crate::config::{Config, LogLevel};

/// Sends the log of this process to the standard output. A log that an embedder has started already is kept.
pub fn start(config: &Config) {
    let logs = tracing_subscriber::fmt().with_max_level(filter(config)).with_target(false);
    let started = match stdout().is_terminal() {
        true => tracing::subscriber::set_global_default(logs.compact().finish()),
        false => tracing::subscriber::set_global_default(logs.json().flatten_event(true).finish()),
    };
    if started.is_err() {
        tracing::debug!("the log was started before; it is kept");
    }
}

fn filter(config: &Config) -> LevelFilter {
    match config.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
