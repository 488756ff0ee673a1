//! The server: endpoints, listeners and shards put together, started, and stopped. One thread waits for signals;
//! everything else happens on the shards. Never touches a connection.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use highper_shards::affinity::{self, CpuList, Pinning};
use highper_shards::driver::Options;
use highper_shards::mesh::Mailbox;
use highper_shards::runtime::{self, Settings};
use highper_shards::socket::{Address, ListenOptions, Listener};
use highper_shards::{Limits, clock, process};

use crate::api::{Routes, cors};
use crate::auth::{Fetcher, KeySet, Verifier};
use crate::config::{
    AuthDriver, Config, ConfigErrors, CpuPolicy, DriverKind, Host, Loaded, SHARDS_MAX, Shards,
};
use crate::control::{self, Marks, Watch};
use crate::error::ServeError;
use crate::handler::{Connection, Endpoint, Outcome, Transport};
use crate::hooks::{Hooks, Webhooks};
use crate::message::{Message, Names};
use crate::observe::counters::Board;
use crate::pool::Pool;
use crate::running::Running;
use crate::security::Geo;
use crate::signals::Signals;
use crate::worker::{Shared, Worker};
use crate::{handler, outbound, page};

/// A server to be started: the configuration and what stands at its paths.
#[derive(Debug)]
pub struct Server {
    config: Config,
    endpoints: Vec<Endpoint>,
    has_handlers: bool,
}

impl Server {
    /// A server configured by the environment and `.env`.
    ///
    /// # Errors
    /// Every variable that has a bad value, all at once.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let Loaded { config, warnings, .. } = Config::from_env()?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self::new(config))
    }

    /// A server with this configuration.
    pub fn new(config: Config) -> Self {
        Self { config, endpoints: Vec::new(), has_handlers: false }
    }

    /// The configuration, to change what the environment left open.
    pub fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Calls `handler` for every message that a client sends at this path; see [`Endpoint`] for more.
    pub fn websocket(
        self,
        path: impl Into<String>,
        handler: impl Fn(&mut Connection<'_>, handler::Message<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.endpoint(Endpoint::raw(path).on_message(handler))
    }

    /// Calls `handler` for every stream of Server-Sent Events that a client opens at this path: it sends what there
    /// is to send, and more with [`Connection::every`]. The stream also carries the channels that its request names.
    pub fn sse(
        self,
        path: impl Into<String>,
        handler: impl Fn(&mut Connection<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.endpoint(Endpoint::sse(path).on_connect(handler))
    }

    /// Adds an endpoint. At WEBSOCKET_PATH it takes the place of the native dialect.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.has_handlers = true;
        self.endpoints.push(endpoint);
        self
    }

    /// Starts the server and returns once it listens.
    ///
    /// # Errors
    /// What was refused, and what to do about it.
    pub fn start(self) -> Result<Running, ServeError> {
        let Self { mut config, endpoints, has_handlers } = self;
        config.settle();
        if config.no_core_dumps {
            process::forbid_core_dumps()
                .map_err(|source| ServeError::System { what: "forbid dumps of memory", source })?;
        }
        let endpoints = all_endpoints(&config, endpoints)?;
        let shards = shard_count(&config)?;
        let listener = listen(&config, usize::from(shards))?;
        let pool = match has_handlers {
            true => Some(Pool::start(usize::from(config.async_workers)).map_err(|source| {
                ServeError::System { what: "start the threads of the blocking pool", source }
            })?),
            false => None,
        };
        let settings = settings(&config, shards)?;
        let (hooks, webhooks) = (Hooks::start(&config)?, Webhooks::start(&config)?);
        let names = Names::new(shards);
        let sse_path = config.sse_enabled.then(|| config.sse_path.as_str());
        let shared = Arc::new(Shared {
            routes: Routes::new(
                &config,
                endpoints.iter().map(|endpoint| (endpoint.path.as_str(), endpoint.transport)),
            ),
            board: Board::new(usize::from(shards)),
            names: names.clone(),
            pool,
            hooks,
            webhooks,
            connections_max: connections_max(&config, usize::from(shards)),
            page: page::html(config.websocket_path.as_str(), sse_path),
            verifier: verifier(&config)?,
            cors: cors::Rules::of(&config),
            events_cors: cors::Rules::of_events(&config),
            geo: geo(&config)?,
            is_local: is_local(listener.address()),
            started: clock::unix_millis(),
            epoch_seed: names.hash("epoch") ^ clock::unix_millis(),
            unix_millis: clock::unix_millis,
            endpoints,
            config,
        });
        let address = listener.address().clone();
        let for_shards = Arc::clone(&shared);
        let runtime = runtime::start(&settings, &[listener], move |seat| {
            Worker::new(Arc::clone(&for_shards), seat.shard).with_room(seat.connections_max)
        })?;
        let keys = fetch_keys(&shared.config, Arc::clone(runtime.mailboxes()))?;
        let watch = watch(&shared, Arc::clone(runtime.mailboxes()))
            .map_err(|source| ServeError::System { what: "start the control thread", source })?;
        Ok(Running::new(runtime, address, shared, keys, watch))
    }

    /// Starts the server, prints where it listens, and serves until SIGTERM, SIGINT or SIGQUIT.
    ///
    /// # Errors
    /// What could not be started, or the shard that failed.
    pub fn run(self) -> Result<(), ServeError> {
        let signals =
            Signals::watch().map_err(|source| ServeError::System { what: "watch signals", source })?;
        let running = self.start()?;
        running.log_summary();
        running.serve(&signals)
    }
}

/// Watches memory and turns, and wakes the shards when the level changes.
fn watch(shared: &Shared, mailboxes: Arc<[Mailbox<Message>]>) -> std::io::Result<Watch> {
    let memory = control::memory_limit(shared.config.memory_limit.get());
    let marks = Marks { memory, turn: shared.config.overload_turn };
    Watch::start(shared.board.clone(), marks, move || {
        // A shard whose mailbox is full does not sleep, and looks at the board by itself.
        mailboxes.iter().for_each(|mailbox| drop(mailbox.post(Message::Overload)));
    })
}

/// Bytes of memory that what waits for the connections of one shard may take: REALTIME_OUTBOX_TOTAL_BYTES, or a
/// quarter of the memory, in equal shares.
fn outbox_share(config: &Config, shards: u16) -> u64 {
    let quarter = || control::memory_limit(config.memory_limit.get()) / 4;
    config.outbox_total_bytes.get().unwrap_or_else(quarter) / u64::from(shards)
}

/// What judges the tokens of clients, if they must show any.
fn verifier(config: &Config) -> Result<Option<Verifier>, ServeError> {
    match (config.auth_enabled, config.auth_driver) {
        (true, AuthDriver::Jwt) => Ok(Some(Verifier::new(config)?)),
        (false, AuthDriver::Jwt) => Ok(None),
    }
}

/// Starts to fetch the keys of tokens, where they are published; every shard gets each new set.
fn fetch_keys(config: &Config, mailboxes: Arc<[Mailbox<Message>]>) -> Result<Option<Fetcher>, ServeError> {
    if !config.auth_enabled || config.jwt_jwks.is_none() {
        return Ok(None);
    }
    let agent = outbound::agent(config, KEYS_TIMEOUT)?;
    let on_keys = move |set: Arc<KeySet>| {
        for mailbox in mailboxes.iter() {
            mailbox.post_waiting(Message::Keys(Arc::clone(&set)));
        }
    };
    Ok(Fetcher::start(config, agent, on_keys)?)
}

/// How long a source of keys may take to answer.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);

/// The embedder's endpoints, and those that the configuration asks for.
fn all_endpoints(config: &Config, mut endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, ServeError> {
    endpoints.retain(|endpoint| match endpoint.transport {
        Transport::WebSocket => config.websocket_enabled,
        Transport::Events => config.sse_enabled,
    });
    let is_free = |endpoints: &[Endpoint], path: &str| endpoints.iter().all(|endpoint| endpoint.path != path);
    let (websocket, sse) = (config.websocket_path.as_str(), config.sse_path.as_str());
    if config.auto_register_routes && config.websocket_enabled && is_free(&endpoints, websocket) {
        endpoints.push(Endpoint::native(websocket));
    }
    if config.auto_register_routes && config.sse_enabled && is_free(&endpoints, sse) {
        endpoints.push(Endpoint::channel_events(sse));
    }
    if let Some(path) = config.echo_path.as_ref().filter(|_| config.websocket_enabled) {
        endpoints.push(Endpoint::echo(path.as_str()));
    }
    if endpoints.len() > usize::from(u8::MAX) {
        return Err(ServeError::TooManyEndpoints(endpoints.len()));
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..at].iter().any(|other| other.path == endpoint.path) {
            return Err(ServeError::DuplicateEndpoint(endpoint.path.clone()));
        }
    }
    Ok(endpoints)
}

fn shard_count(config: &Config) -> Result<u16, ServeError> {
    let count = match config.shards {
        Shards::Count(count) => usize::from(count.get()),
        Shards::Auto => cpus(config)?.len(),
    };
    u16::try_from(count)
        .ok()
        .filter(|count| *count <= SHARDS_MAX)
        .ok_or(ServeError::TooManyShards { shards: count })
}

/// The CPUs that shards may run on.
fn cpus(config: &Config) -> Result<Vec<usize>, ServeError> {
    if !config.cpu_list.is_empty() {
        return Ok(config.cpu_list.cores().iter().map(|core| usize::from(*core)).collect());
    }
    affinity::allowed()
        .map_err(|source| ServeError::System { what: "ask for the CPUs of this process", source })
}

fn listen(config: &Config, shards: usize) -> Result<Listener, ServeError> {
    let steer_to = match config.steer_accept {
        true => Some(cpus(config)?),
        false => None,
    };
    // A peer that answers neither pings nor what was sent to it is gone, whatever its kernel says; who may stall for
    // longer by REALTIME_WRITE_TIMEOUT is left alone by ours as well.
    let silence = config.websocket_heartbeat_interval + config.websocket_heartbeat_timeout;
    let options = ListenOptions {
        backlog: config.backlog_size as i32,
        steer_to,
        user_timeout: Some(silence.max(config.write_timeout)),
        ..ListenOptions::default()
    };
    Ok(Listener::open(&address(config)?, shards, &options)?)
}

/// The address to listen on.
fn address(config: &Config) -> Result<Address, ServeError> {
    let host = match &config.host {
        Host::Unix(path) => return Ok(Address::Unix(path.clone())),
        Host::Ip(ip) => return Ok(Address::Tcp(SocketAddr::new(*ip, config.port))),
        Host::Name(name) => name,
    };
    let resolved = (&**host, config.port).to_socket_addrs().and_then(|mut addresses| {
        addresses.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
    });
    resolved.map(Address::Tcp).map_err(|source| ServeError::Host { host: host.to_string(), source })
}

/// The database of addresses, if there is one.
fn geo(config: &Config) -> Result<Option<Arc<Geo>>, ServeError> {
    let opened = Geo::open(config).map_err(|source| {
        let file = config.monitoring_security_geo_database.clone().unwrap_or_default();
        ServeError::GeoDatabase { file, problem: source.to_string() }
    });
    Ok(opened?.map(Arc::new))
}

/// Whether nobody but this host can reach an address.
fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().is_loopback(),
        Address::Unix(_) => true,
    }
}

/// Connections one shard may hold: its share, by REALTIME_MAX_CONNECTIONS or as many as there is room for.
fn connections_max(config: &Config, shards: usize) -> Option<usize> {
    config.max_connections.get().map(|all| (all as usize).div_ceil(shards))
}

fn settings(config: &Config, shards: u16) -> Result<Settings, ServeError> {
    Ok(Settings {
        shards,
        driver: match config.io_driver {
            DriverKind::Auto => runtime::DriverKind::Auto,
            DriverKind::Uring => runtime::DriverKind::Uring,
            DriverKind::Epoll => runtime::DriverKind::Epoll,
        },
        options: Options {
            ring_entries: config.ring_entries,
            buffer_bytes: config.buffer_size.as_usize(),
            buffer_count: config.receive_buffers,
            sockets_max: match connections_max(config, usize::from(shards)) {
                None => u32::MAX,
                Some(most) => u32::try_from(most).unwrap_or(u32::MAX).saturating_add(SPARE_SOCKETS),
            },
        },
        limits: Limits {
            outbox_bytes_max: config.outbox_bytes.as_usize(),
            outbox_soft_bytes: config.outbox_soft_bytes.as_usize(),
            outbox_soft_time: config.outbox_soft_time,
            outbox_total_bytes: outbox_share(config, shards),
            write_timeout: config.write_timeout,
            linger: LINGER,
            spin: config.spin,
            ..Limits::default()
        },
        pinning: pinning(config)?,
        mesh_capacity: config.mesh_capacity as usize,
    })
}

fn pinning(config: &Config) -> Result<Pinning, ServeError> {
    Ok(match config.cpu_policy {
        CpuPolicy::None => Pinning::Off,
        CpuPolicy::Auto if config.cpu_list.is_empty() => Pinning::Auto,
        CpuPolicy::Auto | CpuPolicy::List => {
            let cpus: Vec<String> = cpus(config)?.iter().map(usize::to_string).collect();
            Pinning::Cpus(CpuList::parse(&cpus.join(",")).expect("numbers and commas are a list"))
        }
    })
}

/// A closing connection has this long to close its side too.
const LINGER: Duration = Duration::from_secs(5);

/// Sockets beyond the connections of a shard: those that are told that it is full.
const SPARE_SOCKETS: u32 = 64;
