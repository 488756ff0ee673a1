//! The shard's eyes: requests and messages are shown to the monitor, what others noticed is reported to it, what it
//! tells goes to operators. Never decides what is an attack; `security` does.

use std::net::IpAddr;
use std::sync::Arc;

use highper_shards::SlotId;
use highper_shards::mesh::Lane;
use highper_wire::http1::{Connection, Head, Response, Status};
use highper_wire::ws::{CloseCode, FrameError};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::hooks;
use crate::message::{Extras, Message, Publication, Trip};
use crate::security::event::{DETAIL_BYTES_MAX, Event, clip};
use crate::security::{Finding, Kind, Severity};

impl Worker {
    /// Shows a request to the monitor; true if it was refused and its connection ends.
    pub(super) fn refuses(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> bool {
        let address = address_of(io, slot);
        let Some(monitor) = &mut self.monitor else { return false };
        if let Some(secs) = address.and_then(|address| monitor.wait_secs(io.now(), address)) {
            self.refuse_attack(io, slot, Status::TooManyRequests, Some(secs));
            return true;
        }
        let Some(finding) = monitor.request(io.now(), head, address) else { return false };
        let blocked = monitor.is_blocking(finding.severity);
        self.tell_finding(io, slot, finding, blocked);
        if blocked {
            self.refuse_attack(io, slot, Status::Forbidden, None);
        }
        blocked
    }

    /// Shows a text message to the monitor; true if its connection was closed for it.
    pub(super) fn refuses_message(&mut self, io: &mut ShardIo, slot: SlotId, text: &[u8]) -> bool {
        let Some(monitor) = &mut self.monitor else { return false };
        let Some(finding) = monitor.message(io.now(), text) else { return false };
        let blocked = monitor.is_blocking(finding.severity);
        self.tell_finding(io, slot, finding, blocked);
        if blocked {
            self.end(io, slot, Cause::Asked(CloseCode::POLICY, "the message looks like an attack".into()));
        }
        blocked
    }

    /// Somebody else noticed something about a connection. `blocked` says that it was refused.
    pub(super) fn report(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        (kind, severity): (Kind, Severity),
        detail: &str,
        blocked: bool,
    ) {
        if self.monitor.is_some() {
            let detail = clip(detail, DETAIL_BYTES_MAX).to_owned();
            self.tell_finding(io, slot, Finding { kind, severity, place: kind.place(), detail }, blocked);
        }
    }

    /// A connection could not say who it is, for a reason that holds nothing of what it showed. Too many of these
    /// from one address are brute force.
    pub(super) fn auth_failed(&mut self, io: &mut ShardIo, slot: SlotId, reason: &'static str) {
        self.report(io, slot, (Kind::BadToken, Severity::Low), reason, true);
        let address = address_of(io, slot);
        let Some(monitor) = &mut self.monitor else { return };
        let found = address.and_then(|address| monitor.auth_failed(io.now(), address));
        if let Some(finding) = found {
            let blocked = monitor.is_blocking(finding.severity);
            self.tell_finding(io, slot, finding, blocked);
        }
    }

    /// The user of a connection is known: his home shard compares where he is with where he was.
    pub(super) fn travelled(&mut self, io: &mut ShardIo, slot: SlotId, user: &str) {
        let Some(address) = address_of(io, slot) else { return };
        let Some(monitor) = self.monitor.as_ref().filter(|monitor| monitor.wants(Kind::GeoAnomaly)) else {
            return;
        };
        let Some(place) = monitor.locate(address).and_then(|location| location.place) else { return };
        let at_unix = (self.shared.unix_millis)() / 1000;
        let trip = Box::new(Trip { user: user.into(), address, place, at_unix });
        let home = self.shared.names.home(&self.shared.names.user(user));
        if home == io.shard() {
            return self.arrived(io, *trip);
        }
        // A place that is not compared is no harm; the next one is.
        let _ = io.post(home, Lane::Bulk, Message::Travelled { trip });
    }

    /// On the home shard of a user: he is somewhere else now.
    pub(super) fn arrived(&mut self, io: &mut ShardIo, trip: Trip) {
        let Some(monitor) = &mut self.monitor else { return };
        let Some(finding) = monitor.travelled(&trip.user, trip.place, trip.at_unix) else { return };
        let event = event_of(finding, false, Some(trip.address), Some(trip.user), trip.at_unix);
        monitor.tell(io.now(), event);
    }

    /// A frame broke a limit that only attackers reach.
    pub(super) fn report_frame(&mut self, io: &mut ShardIo, slot: SlotId, error: &FrameError) {
        if matches!(error, FrameError::TooManyFragments { .. } | FrameError::TooManyEmptyContinuations { .. })
        {
            self.report(io, slot, (Kind::ProtocolGlitches, Severity::Medium), &error.to_string(), true);
        }
    }

    /// Passes on what was told in this turn. Called once a turn.
    pub(super) fn pass_on_events(&mut self, io: &mut ShardIo) {
        let Some(monitor) = self.monitor.as_mut().filter(|monitor| monitor.has_news()) else { return };
        let events = monitor.drain();
        self.shared.board.write_threats(io.shard().index(), monitor.counts.total());
        let channel = self.shared.names.security();
        for event in &events {
            let extras = Extras { event: Some(FEED_EVENT.into()), skip_history: true, ..Extras::default() };
            let publication = Publication {
                extras: Some(Arc::new(extras)),
                ..Publication::new(None, event.to_json().into_bytes())
            };
            if let Some(webhooks) = &self.shared.webhooks {
                webhooks.post(hooks::Event::Security(event.to_json().into_bytes().into()));
            }
            // A full lane: the line of the log was written, and the counter of full lanes says so.
            let _ = self.publish(io, channel.clone(), publication, None);
        }
    }

    fn tell_finding(&mut self, io: &mut ShardIo, slot: SlotId, finding: Finding, blocked: bool) {
        let (address, now) = (address_of(io, slot), io.now());
        let user = io.conn(slot).and_then(|conn| conn.session.as_ref()?.user.clone());
        let at_unix = (self.shared.unix_millis)() / 1000;
        if let Some(monitor) = self.monitor.as_mut().filter(|monitor| monitor.wants(finding.kind)) {
            monitor.tell(now, event_of(finding, blocked, address, user, at_unix));
        }
    }

    fn refuse_attack(&mut self, io: &mut ShardIo, slot: SlotId, status: Status, wait_secs: Option<u64>) {
        self.counters.requests += 1;
        let date = self.date.at((self.shared.unix_millis)());
        let wait = wait_secs.map(|secs| secs.to_string());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| {
                let response = Response::begin(out, status, Connection::Close, date)
                    .header("Content-Type", "text/plain; charset=utf-8")
                    .header("Cache-Control", "no-store");
                match &wait {
                    Some(wait) => {
                        response.header("Retry-After", wait).body(b"too many failed authentications\n")
                    }
                    None => response.body(b"the request looks like an attack\n"),
                }
            });
        }
        self.close_http(io, slot);
    }
}

fn event_of(
    finding: Finding,
    blocked: bool,
    address: Option<IpAddr>,
    user: Option<Box<str>>,
    at_unix: u64,
) -> Event {
    let Finding { kind, severity, place, detail } = finding;
    let detail = clip(&detail, DETAIL_BYTES_MAX).into();
    Event { kind, severity, place, address, user, detail, blocked, at_unix }
}

/// The client's address, as far as the connection knows it.
fn address_of(io: &mut ShardIo, slot: SlotId) -> Option<IpAddr> {
    io.conn(slot)?.address()
}

/// The name of an event in the feed.
const FEED_EVENT: &str = "security_event";
