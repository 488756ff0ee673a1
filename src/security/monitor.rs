//! One shard's monitor: counts every event, tells as many as the budget allows, and keeps those for whoever passes
//! them on. Never decides what a connection is answered.

use std::net::IpAddr;
use std::sync::Arc;

use highper_shards::Moment;
use highper_wire::http1::Head;

use super::detector::{Detector, Finding};
use super::event::{Event, Kind, Place, Severity};
use super::failures::{Failures, Verdict};
use super::geo::{Countries, Geo, Location};
use super::travel::{Leap, Travel};
use crate::config::{Config, SecurityMode};
use crate::observe::counters::Security;

/// What one shard watches.
pub struct Monitor {
    /// What was counted.
    pub counts: Security,
    detector: Detector,
    failures: Failures,
    travel: Travel,
    countries: Countries,
    geo: Option<Arc<Geo>>,
    rules: Rules,
    told: Told,
    pending: Vec<Event>,
}

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
struct Rules {
    blocks: bool,
    looks_at_messages: bool,
    tracks_failed_auth: bool,
    tracks_anomalies: bool,
    per_second: u32,
}

/// Events told in this second.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    second: u64,
    count: u32,
}

impl Monitor {
    /// The monitor of one shard; `None` if there is none.
    pub fn new(config: &Config, geo: Option<Arc<Geo>>) -> Option<Box<Self>> {
        config.monitoring_security_enabled.then(|| {
            Box::new(Self {
                counts: Security::default(),
                detector: Detector::new(&config.monitoring_security_user_agents),
                failures: Failures::new(config.monitoring_security_auth_failures),
                travel: Travel::new(config.monitoring_security_travel_speed),
                countries: Countries::of(config),
                geo,
                rules: Rules {
                    blocks: config.monitoring_security_mode == SecurityMode::Block,
                    looks_at_messages: config.monitoring_security_messages,
                    tracks_failed_auth: config.monitoring_track_failed_auth,
                    tracks_anomalies: config.monitoring_anomaly_detection,
                    per_second: config.monitoring_security_events_per_second,
                },
                told: Told::default(),
                pending: Vec::new(),
            })
        })
    }

    /// Whether what is so bad is refused, beside being told.
    pub fn is_blocking(&self, severity: Severity) -> bool {
        self.rules.blocks && severity == Severity::High
    }

    /// Whether events of this kind are wanted (MONITORING_TRACK_FAILED_AUTH, MONITORING_ANOMALY_DETECTION).
    pub fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::BruteForce | Kind::BadToken => self.rules.tracks_failed_auth,
            Kind::RateLimit | Kind::GeoAnomaly | Kind::ProtocolGlitches => self.rules.tracks_anomalies,
            Kind::SqlInjection
            | Kind::Xss
            | Kind::PathTraversal
            | Kind::SuspiciousUserAgent
            | Kind::GeoDenied
            | Kind::BadOrigin => true,
        }
    }

    /// Looks at a request: what it says, then where it comes from.
    pub fn request(&mut self, now: Moment, head: &Head<'_>, address: Option<IpAddr>) -> Option<Finding> {
        let found = self.detector.request(now, head);
        self.counts.passed_over = self.detector.passed_over();
        found.or_else(|| self.abroad(address?))
    }

    /// Looks at a text message (MONITORING_SECURITY_MESSAGES).
    pub fn message(&mut self, now: Moment, text: &[u8]) -> Option<Finding> {
        if !self.rules.looks_at_messages {
            return None;
        }
        let found = self.detector.message(now, text);
        self.counts.passed_over = self.detector.passed_over();
        found
    }

    /// An address failed to authenticate; brute force, if that is too much.
    pub fn auth_failed(&mut self, now: Moment, address: IpAddr) -> Option<Finding> {
        let verdict = self.rules.tracks_failed_auth.then(|| self.failures.failed(address, now))?;
        let detail = "too many failed authentications".to_owned();
        let (kind, place) = (Kind::BruteForce, Place::Authentication);
        match verdict {
            Verdict::Counted | Verdict::Beyond => None,
            Verdict::Reached => Some(Finding { kind, severity: Severity::High, place, detail }),
        }
    }

    /// Seconds for which an address is not served, because it failed to authenticate too often; only in block mode.
    pub fn wait_secs(&self, now: Moment, address: IpAddr) -> Option<u64> {
        self.rules.blocks.then(|| self.failures.wait_secs(address, now))?
    }

    /// Where an address is.
    pub fn locate(&self, address: IpAddr) -> Option<Location> {
        Some(self.geo.as_ref()?.locate(address))
    }

    /// On the home shard of a user: he connects from here now.
    pub fn travelled(&mut self, user: &str, place: (f32, f32), at_unix: u64) -> Option<Finding> {
        let Leap { distance_km, seconds } = self.travel.seen(user, place, at_unix)?;
        let detail = format!("{distance_km} km in {seconds} s");
        Some(Finding { kind: Kind::GeoAnomaly, severity: Severity::Medium, place: Place::Connection, detail })
    }

    /// Counts an event and, within the budget, tells it: one line of the log, and kept for [`Monitor::drain`].
    pub fn tell(&mut self, now: Moment, event: Event) {
        let (kind, severity) = (event.kind.index(), event.severity.index());
        self.counts.seen[kind][severity] += 1;
        self.counts.blocked += u64::from(event.blocked);
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.told.second {
            self.told = Told { second, count: 0 };
        }
        if self.told.count >= self.rules.per_second {
            self.counts.suppressed[kind] += 1;
            return;
        }
        self.told.count += 1;
        // The log's formatter writes this field as it is: the line is the event.
        tracing::warn!(target: "security", security_event = %event.to_json());
        self.pending.push(event);
    }

    /// Events that were told since the last call. Called once a turn, so that there are never more than the budget of
    /// two seconds.
    pub fn drain(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.pending)
    }

    /// Whether there is something to drain.
    pub fn has_news(&self) -> bool {
        !self.pending.is_empty()
    }

    fn abroad(&self, address: IpAddr) -> Option<Finding> {
        if self.countries.is_empty() {
            return None;
        }
        let location = self.locate(address)?;
        if self.countries.may_connect(address, &location) {
            return None;
        }
        let detail = match &location.country {
            Some(country) => country.as_str().to_owned(),
            None => "country unknown".to_owned(),
        };
        Some(Finding { kind: Kind::GeoDenied, severity: Severity::High, place: Place::Connection, detail })
    }
}
