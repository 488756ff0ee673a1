//! A server that runs: what it tells about itself, how others publish through it, how it is stopped. Never
//! touches a connection.

use std::sync::Arc;
use std::time::Duration;

use highper_shards::Moment;
use highper_shards::mesh::Mailbox;
use highper_shards::runtime::{Capacity, Kind, Runtime, ShardReport};
use highper_shards::socket::Address;
use serde::Serialize;

use crate::api::API;
use crate::auth::Fetcher;
use crate::config::Config;
use crate::control::Watch;
use crate::error::ServeError;
use crate::handler::{Error, Outcome, Transport};
use crate::hooks::{HookCounts, WebhookCounts};
use crate::message::{Channel, Message, Names, Publication};
use crate::observe::counters::Snapshot;
use crate::signals::{Signal, Signals};
use crate::worker::Shared;

/// A server that runs.
pub struct Running {
    runtime: Runtime<Message>,
    address: Address,
    shared: Arc<Shared>,
    _keys: Option<Fetcher>,
    _watch: Watch,
}

impl Running {
    pub(crate) fn new(
        runtime: Runtime<Message>,
        address: Address,
        shared: Arc<Shared>,
        keys: Option<Fetcher>,
        watch: Watch,
    ) -> Self {
        Self { runtime, address, shared, _keys: keys, _watch: watch }
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The driver of its shards.
    pub fn driver(&self) -> Kind {
        self.runtime.driver()
    }

    /// How each shard started.
    pub fn shards(&self) -> &[ShardReport] {
        self.runtime.shards()
    }

    /// How many connections fit, and why no more.
    pub fn capacity(&self) -> &Capacity {
        self.runtime.capacity()
    }

    /// Why io_uring was not taken, if it was wanted.
    pub fn warning(&self) -> Option<&str> {
        self.runtime.warning()
    }

    /// A handle that publishes from any thread.
    pub fn broadcaster(&self) -> Broadcaster {
        Broadcaster { mailboxes: Arc::clone(self.runtime.mailboxes()), names: self.shared.names.clone() }
    }

    /// What each shard counts now; a shard that does not answer within a second is missing.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let (to, answers) = crossbeam_channel::bounded(self.runtime.mailboxes().len());
        for mailbox in self.runtime.mailboxes().iter() {
            // A full mailbox belongs to a shard that would not answer in time either.
            let _ = mailbox.post(Message::Report { to: to.clone() });
        }
        drop(to);
        std::iter::from_fn(|| answers.recv_timeout(Duration::from_secs(1)).ok()).collect()
    }

    /// What became of the questions of hooks; `None` if no hook is configured.
    pub fn hooks(&self) -> Option<HookCounts> {
        self.shared.hooks.as_ref().map(|hooks| hooks.counts())
    }

    /// What became of the events of webhooks; `None` if nothing is told.
    pub fn webhooks(&self) -> Option<WebhookCounts> {
        self.shared.webhooks.as_ref().map(|webhooks| webhooks.counts())
    }

    /// Closes every connection with 1012 and ends when all are gone, or after `grace`. What webhooks have not told by
    /// then is tried once more: for what is left of `grace`, a second at least; without any grace not at all.
    ///
    /// # Errors
    /// The first shard that did not end by itself.
    pub fn stop(self, grace: Duration) -> Result<(), ServeError> {
        let until = Moment::now() + grace;
        for mailbox in self.runtime.mailboxes().iter() {
            mailbox.post_waiting(Message::Drain { grace });
        }
        let ended = self.runtime.join();
        if let Some(webhooks) = &self.shared.webhooks {
            webhooks.stop(until.since(Moment::now()).max(LAST_TRY_MIN.min(grace)));
        }
        Ok(ended?)
    }

    /// Serves until a signal ends it, or a shard does.
    pub(crate) fn serve(self, signals: &Signals) -> Result<(), ServeError> {
        let grace = self.config().shutdown_grace;
        crossbeam_channel::select! {
            recv(signals.receiver()) -> signal => match signal {
                Ok(Signal::Interrupt) => self.stop(Duration::ZERO),
                Ok(Signal::Terminate) | Err(_) => {
                    tracing::info!(grace_secs = grace.as_secs(), "stopping: saying goodbye to every connection");
                    self.stop(grace)
                }
            },
            recv(self.runtime.ended()) -> ended => match ended {
                Ok(ended) => Err(ended.into()),
                Err(_) => Ok(self.runtime.join()?),
            },
        }
    }

    /// Logs how the server started.
    pub fn log_summary(&self) {
        if let Some(warning) = self.warning() {
            tracing::warn!("{warning}");
        }
        let capacity = self.capacity();
        if let Some(most) = self.config().max_connections.get().filter(|most| *most > capacity.connections) {
            let (room, bound) = (capacity.connections, &capacity.bound);
            tracing::warn!(
                "REALTIME_MAX_CONNECTIONS={most} is more than the host can take: {room}, bounded by {bound}"
            );
        }
        for line in self.summary().lines() {
            tracing::info!("{line}");
        }
    }

    /// What a person wants to know at the start.
    pub fn summary(&self) -> String {
        let config = self.config();
        let cpus: Vec<String> = self
            .shards()
            .iter()
            .map(|report| match report.cpu {
                Some(cpu) => format!("{}→cpu{cpu}", report.shard.0),
                None => format!("{}→any", report.shard.0),
            })
            .collect();
        let features = self.shards().first().map(|report| report.features.as_str()).unwrap_or_default();
        let capacity = self.capacity();
        let (connections, bound) = match config.max_connections.get() {
            Some(most) if most < capacity.connections => (most, "REALTIME_MAX_CONNECTIONS"),
            Some(_) | None => (capacity.connections, capacity.bound.as_str()),
        };
        let mut text = format!(
            "realtime {} listens on {}\n  shards     {} ({})\n  driver     {} ({features})\n  capacity   {} \
             connections, bounded by {}\n  websocket  {}\n  sse        {}\n  api        {}\n",
            env!("CARGO_PKG_VERSION"),
            self.address,
            self.shards().len(),
            cpus.join(" "),
            self.driver(),
            connections,
            bound,
            self.paths(Transport::WebSocket),
            self.paths(Transport::Events),
            self.api(),
        );
        if let Address::Tcp(address) = self.address {
            let host = match address.ip() {
                ip if ip.is_unspecified() => "localhost".to_owned(),
                ip if ip.is_ipv6() => format!("[{ip}]"),
                ip => ip.to_string(),
            };
            text += &format!("  demo       http://{host}:{}/", address.port());
        } else {
            text += &format!("  health     {}", config.health_check_path.as_str());
        }
        text
    }

    /// The paths of a transport.
    fn paths(&self, transport: Transport) -> String {
        let paths = self.shared.endpoints.iter().filter(|endpoint| endpoint.transport == transport);
        let paths = paths.map(|endpoint| match transport {
            Transport::WebSocket => format!("{} ({:?})", endpoint.path, endpoint.dialect).to_lowercase(),
            Transport::Events => endpoint.path.clone(),
        });
        let paths: Vec<String> = paths.collect();
        if paths.is_empty() { "off".to_owned() } else { paths.join(", ") }
    }

    /// Who may call the server API.
    fn api(&self) -> String {
        let who = match (&self.config().api_key, self.shared.is_local) {
            (Some(_), _) => "for whoever shows REALTIME_API_KEY",
            (None, true) => "for everybody on this host: REALTIME_API_KEY is not set",
            (None, false) => "closed: REALTIME_API_KEY is not set",
        };
        format!("{API} {who}")
    }
}

/// What webhooks get to tell the last events, though connections took all of the grace to end.
const LAST_TRY_MIN: Duration = Duration::from_secs(1);

/// Publishes from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Broadcaster {
    mailboxes: Arc<[Mailbox<Message>]>,
    names: Names,
}

impl Broadcaster {
    /// Publishes a value as JSON to every subscriber of a channel.
    ///
    /// # Errors
    /// A bad channel name, a value that is no JSON, or a shard whose mailbox is full: then nothing was done.
    pub fn to_channel(&self, channel: &str, value: impl Serialize) -> Outcome {
        self.publish(self.names.parse(channel)?, serde_json::to_vec(&value)?.into())
    }

    /// Publishes a value as JSON to every connection of these users.
    ///
    /// # Errors
    /// As [`Broadcaster::to_channel`]; users before the one that failed have been sent to.
    pub fn to_users<'u>(&self, users: impl IntoIterator<Item = &'u str>, value: impl Serialize) -> Outcome {
        let data: Arc<[u8]> = serde_json::to_vec(&value)?.into();
        users.into_iter().try_for_each(|user| self.publish(self.names.user(user), Arc::clone(&data)))
    }

    /// Publishes a value as JSON to every connection.
    ///
    /// # Errors
    /// As [`Broadcaster::to_channel`].
    pub fn to_all(&self, value: impl Serialize) -> Outcome {
        self.publish(self.names.everyone(), serde_json::to_vec(&value)?.into())
    }

    fn publish(&self, channel: Channel, data: Arc<[u8]>) -> Outcome {
        let home = self.names.home(&channel);
        let publication = Publication::new(None, data);
        let message = Message::Publish { channel, publication, receipt: None };
        self.mailboxes[home.index()].post(message).map_err(|_| Error::TryAgain)
    }
}
