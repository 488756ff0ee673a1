//! The server API on the shards: calls become publications, questions and orders; their answers come together in
//! jobs and are written in the order of the requests. Never parses a call; `api::server` does.

use std::borrow::Cow;
use std::sync::Arc;

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};
use highper_wire::dialect::native;
use highper_wire::http1::{Connection, Head, Response, Status};
use highper_wire::ws::CloseCode;

use super::channels::TryAgain;
use super::close::Cause;
use super::identity::INVALID_TOKEN;
use super::{ShardIo, Worker};
use crate::api;
use crate::api::cors::Cors;
use crate::api::server::{self, Call, Job, Outcome, Publish, Refusal};
use crate::auth::{self, Denied, Identity};
use crate::conn::entry::Known;
use crate::conn::{Backlog, Caller, Content, Http, Phase, Reply, Waiting};
use crate::hub::local::LocalChannel;
use crate::hub::table::Entry;
use crate::message::{
    Action, Channel, ChannelKind, Extras, Found, Message, Order, Publication, Purpose, Question, Receipt,
    Survey, Totals,
};

/// Requests of one connection whose answers are out. Beyond it a request is told to try again.
pub(super) const JOBS_MAX: usize = 512;

/// Memory for bodies that a connection keeps between two requests.
const BODY_KEPT_MAX: usize = 16 * 1024;

/// Where an answer goes.
#[derive(Clone, Copy)]
struct Place {
    slot: SlotId,
    job: u32,
}

impl Worker {
    /// The head of a request to the API: who may not ask is told so.
    pub(super) fn api_reply(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> Reply {
        let method = api::method(head.path()).unwrap_or_default();
        let caller = self.client(io, slot, head).unwrap_or_else(|| {
            let refusal = self.api_refusal(io, slot, head);
            refusal.map_or(Caller::Backend, |refusal| Caller::Refused(Box::new(refusal)))
        });
        Reply::Api(method.into(), caller)
    }

    /// Why whoever sent this request may not call the API, if he may not.
    pub(super) fn api_refusal(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> Option<Refusal> {
        let Some(key) = &self.shared.config.api_key else {
            let is_open = self.shared.is_local && server::is_direct(head);
            return (!is_open).then(Refusal::no_key);
        };
        let shown = (head.header("x-api-key"), head.header("authorization"));
        if server::key_is_right(key.expose(), shown.0, shown.1) {
            return None;
        }
        self.auth_failed(io, slot, "the key of the server API is wrong or missing");
        Some(Refusal::unauthorized())
    }

    /// A client that shows its token instead of the key.
    fn client(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> Option<Caller> {
        if head.header("x-api-key").is_some() {
            return None;
        }
        let shared = self.shared.clone();
        match self.identify(io, slot, head, &shared.cors) {
            Ok(Known { identity, .. }) => identity.map(Caller::Client),
            Err(turned) => Some(Caller::Refused(Box::new(Refusal::bad_token(turned.message)))),
        }
    }

    /// Whether a client may make this call.
    fn permit_call(&self, who: &Identity, call: &Call<'_>) -> Result<(), Refusal> {
        for (action, channel) in server::needs(call)? {
            let may = match action {
                // Nobody can be asked for a look: only who was let in on a connection has it.
                auth::Action::Subscribe if self.asks_about(channel) => Err(Denied::Closed),
                auth::Action::Subscribe
                | auth::Action::Publish
                | auth::Action::Presence
                | auth::Action::History
                | auth::Action::Broadcast => self.may_identity(Some(who), action, channel, None),
            };
            may.map_err(|denied| Refusal::denied(channel, denied))?;
        }
        Ok(())
    }

    /// A request to the API is whole: carries it out. Its answer is written when all its parts are there.
    pub(super) fn on_call(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        (method, caller): (&str, Caller),
        keep_alive: bool,
        cors: Cors,
    ) {
        let Some(backlog) = backlog_of(io, slot) else { return };
        let body = std::mem::take(&mut backlog.body);
        let is_full = backlog.waiting.len() >= JOBS_MAX;
        let job = backlog.first.wrapping_add(backlog.waiting.len() as u32);
        let parsed = match caller {
            Caller::Refused(refusal) => Err(*refusal),
            Caller::Backend | Caller::Client(_) if is_full => Err(Refusal::try_again()),
            Caller::Backend => server::parse(method, &body),
            Caller::Client(who) => server::parse(method, &body).and_then(|call| {
                self.permit_call(&who, &call)?;
                let sent = (server::messages(&call), server::published(&call));
                if self.may_send_by_call(io, slot, &who, sent) { Ok(call) } else { Err(Refusal::too_many()) }
            }),
        };
        let parsed = parsed.and_then(|call| match self.may_call(io, commands(&call)) {
            true => Ok(call),
            false => Err(Refusal::too_many()),
        });
        let Some(backlog) = backlog_of(io, slot) else { return };
        let content = match &parsed {
            Ok(call) => Job::new(call),
            Err(refusal) => Job::refused(refusal.clone()),
        };
        backlog.waiting.push_back(Waiting { content: Content::Job(content), keep_alive, cors });
        if let Ok(call) = &parsed {
            let mut part = 0;
            self.carry_out_call(io, Place { slot, job }, &mut part, call);
        }
        self.write_backlog(io, slot);
        // The memory of a small body serves the next request.
        if body.capacity() <= BODY_KEPT_MAX
            && let Some(backlog) = backlog_of(io, slot)
        {
            backlog.body = body;
            backlog.body.clear();
        }
    }

    fn carry_out_call(&mut self, io: &mut ShardIo, place: Place, part: &mut u16, call: &Call<'_>) {
        let mut next = || std::mem::replace(part, *part + 1);
        match call {
            Call::Publish { channel, publish } => {
                let channel = self.channel(channel);
                self.publish_part(io, place, next(), channel, publication(publish));
            }
            Call::Broadcast { channels, publish } => {
                let publication = publication(publish);
                for channel in channels {
                    let channel = self.channel(channel);
                    self.publish_part(io, place, next(), channel, publication.clone());
                }
            }
            Call::ToUsers { users, publish } => {
                let publication = publication(publish);
                for user in users {
                    let channel = self.shared.names.user(user);
                    self.publish_part(io, place, next(), channel, publication.clone());
                }
            }
            Call::ToAll { publish } => {
                let channel = self.everyone.clone();
                self.publish_part(io, place, next(), channel, publication(publish));
            }
            Call::History { channel, since, limit, reverse } => {
                let question = Question::History { since: *since, limit: *limit, reverse: *reverse };
                self.ask_part(io, place, next(), channel, question);
            }
            Call::HistoryRemove { channel } => self.ask_part(io, place, next(), channel, Question::Forget),
            Call::Presence { channel } => self.ask_part(io, place, next(), channel, Question::Presence),
            Call::PresenceStats { channel } => {
                self.ask_part(io, place, next(), channel, Question::PresenceStats)
            }
            Call::Subscribe { user, channel, client } => {
                let order = order(client, &[], Action::Subscribe(self.channel(channel)));
                self.order_part(io, place, next(), user, order);
            }
            Call::Unsubscribe { user, channel, client } => {
                let order = order(client, &[], Action::Unsubscribe(self.channel(channel)));
                self.order_part(io, place, next(), user, order);
            }
            Call::Disconnect { user, client, whitelist, code, reason } => {
                let order = order(client, whitelist, Action::Disconnect(*code, (&**reason).into()));
                self.order_part(io, place, next(), user, order);
            }
            Call::Revoke { user, issued_before } => {
                let before = issued_before.unwrap_or((self.shared.unix_millis)() / 1000 + 1);
                let order = order(&None, &[], Action::Revoke(before));
                self.order_part(io, place, next(), user, order);
            }
            Call::Channels { pattern } => {
                let survey = Survey::Channels(pattern.as_deref().map(Arc::from));
                self.survey_part(io, place, next(), &survey);
            }
            Call::Info => self.survey_part(io, place, next(), &Survey::Totals),
            Call::Batch(calls) | Call::Lines(calls) => {
                for call in calls {
                    self.carry_out_call(io, place, part, call);
                }
            }
        }
    }
}

impl Worker {
    fn publish_part(
        &mut self,
        io: &mut ShardIo,
        place: Place,
        part: u16,
        channel: Channel,
        publication: Publication,
    ) {
        if !self.shared.config.namespaces.rules(channel.name()).api {
            return self.put_part(io, place.slot, place.job, part, Outcome::Refused(Refusal::closed()));
        }
        let receipt = Some(receipt(place, part));
        if let Err(TryAgain) = self.publish(io, channel, publication, receipt) {
            self.put_part(io, place.slot, place.job, part, Outcome::Refused(Refusal::try_again()));
        }
    }

    fn ask_part(&mut self, io: &mut ShardIo, place: Place, part: u16, channel: &str, question: Question) {
        let channel = self.channel(channel);
        if !self.shared.config.namespaces.rules(channel.name()).api {
            return self.put_part(io, place.slot, place.job, part, Outcome::Refused(Refusal::closed()));
        }
        if let Err(TryAgain) = self.ask(io, &channel, question, receipt(place, part)) {
            self.put_part(io, place.slot, place.job, part, Outcome::Refused(Refusal::try_again()));
        }
    }

    /// All connections of a user on all shards, or none: a full lane leaves everything as it was.
    fn order_part(&mut self, io: &mut ShardIo, place: Place, part: u16, user: &str, order: Order) {
        let outcome = if self.has_room(io, 1) {
            let user = self.shared.names.user(user);
            let order = Arc::new(order);
            for shard in self.others(io) {
                let message = Message::Order { user: user.clone(), order: Arc::clone(&order) };
                io.post(shard, Lane::Bulk, message).expect("every lane had room");
            }
            self.obey(io, &user, &order);
            Outcome::Done
        } else {
            self.counters.mesh_full += 1;
            Outcome::Refused(Refusal::try_again())
        };
        self.put_part(io, place.slot, place.job, part, outcome);
    }

    /// Asks every shard; the part is complete when all have answered.
    fn survey_part(&mut self, io: &mut ShardIo, place: Place, part: u16, survey: &Survey) {
        let may_ask = |out: &usize| *out < self.receipts_max;
        if !self.has_room(io, 1) || !self.outstanding.iter().all(may_ask) {
            self.counters.mesh_full += 1;
            let refusal = Outcome::Refused(Refusal::try_again());
            return self.put_part(io, place.slot, place.job, part, refusal);
        }
        for shard in self.others(io) {
            let message = Message::Survey { survey: survey.clone(), receipt: receipt(place, part) };
            io.post(shard, Lane::Bulk, message).expect("every lane had room");
            self.outstanding[shard.index()] += 1;
        }
        let found = self.survey(survey);
        self.put_found(io, place.slot, Purpose::Part { job: place.job, part }, found);
    }

    /// What this shard has.
    pub(super) fn survey(&self, survey: &Survey) -> Found {
        let named = || self.local.iter().filter(|entry| !entry.channel.is_reserved());
        match survey {
            Survey::Channels(pattern) => {
                let is_wanted =
                    |name: &str| pattern.as_ref().is_none_or(|pattern| server::matches(pattern, name));
                let wanted = named().filter(|entry| is_wanted(entry.channel.name()));
                let counted = |entry: &Entry<LocalChannel>| {
                    (entry.channel.clone(), entry.state.subscribers.len() as u64)
                };
                Found::Channels(wanted.map(counted).filter(|(_, count)| *count > 0).collect())
            }
            Survey::Totals => Found::Totals(Totals {
                clients: self.open as u64,
                users: self.local.iter().filter(|entry| entry.channel.kind() == ChannelKind::User).count()
                    as u64,
                channels: self.home.len() as u64,
                subscriptions: named().map(|entry| entry.state.subscribers.len() as u64).sum(),
            }),
        }
    }

    /// Carries out an order on the connections of a user of this shard.
    pub(super) fn obey(&mut self, io: &mut ShardIo, user: &Channel, order: &Order) {
        if let Action::Revoke(before) = order.action {
            self.revocations.revoke(user.user().expect("an order goes to a user's channel"), before);
        }
        let Some(entry) = self.local.find(user.name(), user.hash()).and_then(|at| self.local.get(at)) else {
            return;
        };
        let slots: Vec<u32> = entry.state.subscribers.iter().collect();
        for index in slots {
            let Some((slot, _)) = io.open_at(index) else { continue };
            let name = slot.to_string();
            let is_meant = order.client.as_ref().is_none_or(|client| **client == *name);
            if !is_meant || order.except.iter().any(|except| **except == *name) {
                continue;
            }
            match &order.action {
                Action::Subscribe(channel) => {
                    if let Err(error) = self.join(io, slot, channel, None, None) {
                        tracing::debug!(conn = %slot, %error, "an ordered subscription failed");
                    }
                }
                Action::Unsubscribe(channel) => {
                    if self.leave(io, slot, channel.name()) {
                        self.tell(io, slot, |out| native::left(out, channel.name(), None));
                    }
                }
                Action::Revoke(before) => {
                    let identity = io.conn(slot).and_then(|conn| conn.identity());
                    if identity.is_some_and(|identity| identity.issued_at < *before) {
                        self.end(io, slot, Cause::Asked(INVALID_TOKEN, "the token was revoked".into()));
                    }
                }
                Action::Disconnect(code, reason) => {
                    let code = CloseCode::from_wire(*code).unwrap_or(CloseCode::POLICY);
                    self.end(io, slot, Cause::Asked(code, reason.to_string()));
                }
            }
        }
    }

    /// One part of a job is known.
    pub(super) fn put_part(&mut self, io: &mut ShardIo, slot: SlotId, job: u32, part: u16, outcome: Outcome) {
        self.put(io, slot, job, |job| job.put(part, outcome));
    }

    /// One shard's part of a survey is known.
    pub(super) fn put_found(&mut self, io: &mut ShardIo, slot: SlotId, purpose: Purpose, found: Found) {
        let Purpose::Part { job, part } = purpose else { unreachable!("only the API asks every shard") };
        let shards = self.shared.names.shards();
        self.put(io, slot, job, |job| job.add(part, found, shards));
    }

    fn put(&mut self, io: &mut ShardIo, slot: SlotId, job: u32, put: impl FnOnce(&mut Job)) {
        let Some(backlog) = backlog_of(io, slot) else { return };
        let at = job.wrapping_sub(backlog.first) as usize;
        let Some(Waiting { content: Content::Job(job), .. }) = backlog.waiting.get_mut(at) else { return };
        put(job);
        self.write_backlog(io, slot);
    }

    /// Writes the answers that are complete, in the order of their requests.
    pub(super) fn write_backlog(&mut self, io: &mut ShardIo, slot: SlotId) {
        let unix_millis = (self.shared.unix_millis)();
        let date = self.date.at(unix_millis);
        let node = self.shared.node(unix_millis);
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Http(Http { backlog: Some(backlog), .. }) = &mut open.conn.phase else { return };
        while let Some(waiting) = backlog.waiting.front() {
            let is_last = !waiting.keep_alive;
            let written = match &waiting.content {
                Content::Job(job) if !job.is_done() => return,
                Content::Job(job) => {
                    self.body.clear();
                    let status = job.write(&mut self.body, &node);
                    let connection = if is_last { Connection::Close } else { Connection::KeepAlive };
                    open.out.write(|out| {
                        let response = Response::begin(
                            out,
                            Status::from_code(status).unwrap_or(Status::InternalServerError),
                            connection,
                            date,
                        )
                        .header("Content-Type", "application/json")
                        .header("Cache-Control", "no-store");
                        let response = match status {
                            429 | 503 => response.header("Retry-After", "1"),
                            _ => response,
                        };
                        waiting.cors.write(response).body(&self.body);
                    })
                }
                Content::Ready(response) => open.out.write(|out| out.extend_from_slice(response)),
            };
            backlog.waiting.pop_front();
            backlog.first = backlog.first.wrapping_add(1);
            self.counters.requests += 1;
            if is_last || written.is_err() {
                return self.close_http(io, slot);
            }
        }
    }

    fn others(&self, io: &ShardIo) -> impl Iterator<Item = ShardId> + use<> {
        let here = io.shard();
        (0..self.shared.names.shards()).map(ShardId).filter(move |shard| *shard != here)
    }
}

fn backlog_of(io: &mut ShardIo, slot: SlotId) -> Option<&mut Backlog> {
    match &mut io.conn(slot)?.phase {
        Phase::Http(http) => Some(http.backlog.get_or_insert_default()),
        Phase::Proxy(_) | Phase::Open(_) | Phase::Stream(_) | Phase::Closing => None,
    }
}

fn receipt(Place { slot, job }: Place, part: u16) -> Box<Receipt> {
    Box::new(Receipt { slot, purpose: Purpose::Part { job, part } })
}

/// Commands that a request carries out.
fn commands(call: &Call<'_>) -> usize {
    if let Call::Batch(calls) | Call::Lines(calls) = call { calls.iter().map(commands).sum() } else { 1 }
}

fn order(client: &Option<Cow<'_, str>>, except: &[Cow<'_, str>], action: Action) -> Order {
    let except = except.iter().map(|name| (**name).into()).collect();
    Order { client: client.as_deref().map(Box::from), except, action }
}

fn publication(publish: &Publish<'_>) -> Publication {
    let plain = publish.event.is_none()
        && publish.tags.is_none()
        && publish.idempotency_key.is_none()
        && !publish.skip_history;
    let extras = (!plain).then(|| {
        Arc::new(Extras {
            event: publish.event.as_deref().map(Box::from),
            tags: publish.tags.map(|tags| tags.as_bytes().into()),
            idempotency_key: publish.idempotency_key.as_deref().map(Box::from),
            skip_history: publish.skip_history,
            ..Extras::default()
        })
    });
    Publication { extras, ..Publication::new(None, &*publish.data) }
}
