//! Published keys fetched: one thread that reads the configured source now and then, and keeps the last good set when
//! it cannot. Calls no address but the configured one and knows no token: what a stranger sends cannot make it ask.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::AuthError;
use super::jwks::{KeySet, SET_BYTES_MAX};
use crate::config::{Config, JwtAlgorithm, KeySource, Value};

/// The thread that fetches keys. It ends when this is dropped, after a fetch that is under way.
#[derive(Debug)]
pub struct Fetcher {
    _stop: Sender<()>,
}

impl Fetcher {
    /// Starts to fetch what REALTIME_JWT_JWKS publishes, at once and then every REALTIME_JWT_JWKS_INTERVAL; `None`
    /// without such a source. `agent` is the one of [`outbound`](crate::outbound), with a timeout of some seconds.
    /// `on_keys` gets every set that differs from the one before: the first one of a file before this returns, others
    /// on the fetcher's thread.
    ///
    /// A source that does not answer is asked again after ten seconds until it has answered once: the server starts
    /// without it and takes no token until then.
    ///
    /// # Errors
    /// A file that cannot be read or holds no usable key, plain HTTP from another host outside testing and local, or
    /// no thread.
    pub fn start(
        config: &Config,
        agent: ureq::Agent,
        on_keys: impl FnMut(Arc<KeySet>) + Send + 'static,
    ) -> Result<Option<Self>, AuthError> {
        let Some(source) = config.jwt_jwks.clone() else { return Ok(None) };
        let shown = source.show();
        let refuse = |what| AuthError::Source { source_shown: shown.clone(), what };
        if source.is_open_to_others() && !config.app_env.relaxed() {
            return Err(refuse("expected https".to_owned()));
        }
        let (algorithm, interval) = (config.jwt_algorithm, config.jwt_jwks_interval);
        let mut work = Work { shown: shown.clone(), source, algorithm, agent, last: None, on_keys };
        // A file is there or it is a mistake; an address may come back.
        if let KeySource::File(_) = work.source {
            work.fetch().map_err(refuse)?;
        }
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let thread = std::thread::Builder::new().name("keys".to_owned());
        thread.spawn(move || work.run(interval, &stopped)).map_err(AuthError::Thread)?;
        Ok(Some(Self { _stop: stop }))
    }
}

struct Work<F> {
    source: KeySource,
    shown: String,
    algorithm: JwtAlgorithm,
    agent: ureq::Agent,
    /// The text of the last good set.
    last: Option<Vec<u8>>,
    on_keys: F,
}

impl<F: FnMut(Arc<KeySet>)> Work<F> {
    fn run(mut self, interval: Duration, stopped: &Receiver<()>) {
        let mut wait = if self.last.is_some() { interval } else { Duration::ZERO };
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            wait = interval;
            if let Err(what) = self.fetch() {
                let shown = &self.shown;
                if self.last.is_some() {
                    tracing::warn!("REALTIME_JWT_JWKS={shown}: {what}; the keys fetched before stay");
                } else {
                    tracing::warn!("REALTIME_JWT_JWKS={shown}: {what}; no token is taken until it answers");
                    wait = interval.min(RETRY);
                }
            }
        }
    }

    /// Reads the source once and hands over what is new.
    fn fetch(&mut self) -> Result<(), String> {
        let text = self.read()?;
        if self.last.as_ref() == Some(&text) {
            return Ok(());
        }
        let set = KeySet::parse(&text, &self.shown, self.algorithm).map_err(|error| error.to_string())?;
        let (keys, unusable) = (set.len(), set.unusable());
        tracing::info!(keys, unusable, "keys for {} from {}", self.algorithm, self.shown);
        self.last = Some(text);
        (self.on_keys)(Arc::new(set));
        Ok(())
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let limit = SET_BYTES_MAX as u64 + 1;
        let mut text = Vec::new();
        match &self.source {
            KeySource::File(path) => {
                let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
                read.map_err(|error| format!("cannot be read: {error}"))?;
            }
            KeySource::Url(url) => {
                let request = self
                    .agent
                    .get(url.expose())
                    .header("Accept", "application/jwk-set+json, application/json");
                let mut response = request.call().map_err(|error| told(&error))?;
                if response.status() != 200 {
                    return Err(format!("answered {}", response.status().as_u16()));
                }
                let body = response.body_mut().with_config().limit(limit).reader();
                body.take(limit).read_to_end(&mut text).map_err(|error| format!("broke off: {error}"))?;
            }
        }
        Ok(text)
    }
}

/// What went wrong, without the address: it may hold a secret.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "no address that can be asked".to_owned(),
        error => error.to_string(),
    }
}

/// How soon a source that has never answered is asked again.
const RETRY: Duration = Duration::from_secs(10);
