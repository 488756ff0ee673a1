//! Why a server could not be started or did not end well. Each text says what to do.

use std::path::PathBuf;

use highper_shards::StartError;
use highper_shards::runtime::Ended;

use crate::auth::AuthError;
use crate::config::SHARDS_MAX;
use crate::hooks::HooksError;
use crate::outbound::OutboundError;

/// Why a server could not be started or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The kernel or the machine refused something; the text says what to do.
    #[error(transparent)]
    Start(#[from] StartError),
    /// REALTIME_HOST is a name that does not resolve.
    #[error("REALTIME_HOST={host}: {source}; use an IP address or a name that resolves")]
    Host {
        /// As configured.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// REALTIME_SHARDS is beyond what a process may have.
    #[error("REALTIME_SHARDS={shards}: a process has at most {SHARDS_MAX} shards")]
    TooManyShards {
        /// As configured.
        shards: usize,
    },
    /// More endpoints than a connection can name.
    #[error("{0} WebSocket endpoints; a server has at most 255")]
    TooManyEndpoints(usize),
    /// Two endpoints share a path.
    #[error("two endpoints at {0}; each path has one")]
    DuplicateEndpoint(String),
    /// MONITORING_SECURITY_GEO_DATABASE names a file that is no database of addresses.
    #[error("MONITORING_SECURITY_GEO_DATABASE={}: {problem}; use a MaxMind database (.mmdb) of countries or cities", file.display())]
    GeoDatabase {
        /// As configured.
        file: PathBuf,
        /// What was wrong with it.
        problem: String,
    },
    /// A thread beside the shards, or its signals, were refused.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Tokens cannot be judged as configured.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Other servers cannot be called as configured.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// Hooks or webhooks cannot work as they are configured.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// A shard ended by itself.
    #[error(transparent)]
    Ended(#[from] Ended),
}
