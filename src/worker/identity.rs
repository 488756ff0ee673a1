//! Who a client is, on the shards: tokens that it shows and renews, their end, their revocation, and every question of
//! permission. Never judges a token; `auth` does.

use std::sync::Arc;
use std::time::Duration;

use highper_shards::{Moment, SlotId};
use highper_wire::dialect::{Dialect, ErrorCode, native};
use highper_wire::http1::{Head, Status};
use highper_wire::ws::CloseCode;

use super::close::Cause;
use super::entry::Turned;
use super::limits::{LIMITED, Rates};
use super::{ShardIo, Worker};
use crate::api::cors::Rules;
use crate::api::credentials;
use crate::auth::{Action, Claims, Denied, Identity, TokenError, permit};
use crate::conn::entry::{EARLY_BYTES_MAX, Known};
use crate::conn::{Arriving, Expiry, Phase};
use crate::handler::Error;
use crate::limits::Verdict;
use crate::message::Position;

/// Beyond the codes of RFC 6455, below 3500 a client may come back: the token has expired.
const EXPIRED: CloseCode = CloseCode::new(3005);
/// The token is not valid, or was revoked: the same client need not come back with it.
pub(super) const INVALID_TOKEN: CloseCode = CloseCode::new(3500);
/// What whoever shows a revoked token is told.
pub(super) const REVOKED: &str = "the token was revoked";
/// The user has as many connections as it may; the same client need not come back soon.
const CONNECTION_LIMIT: CloseCode = CloseCode::new(3504);
/// The client never said who it is.
const STALE: CloseCode = CloseCode::new(3502);

impl Worker {
    /// Who asks, by the token that a request shows; nobody if it shows none.
    pub(super) fn identify(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        head: &Head<'_>,
        rules: &Rules,
    ) -> Result<Known, Turned> {
        if !self.shared.config.auth_enabled {
            return Ok(Known::default());
        }
        let takes_cookie = rules.is_listed(head);
        let Some(token) = credentials::token(head, &self.shared.config, takes_cookie) else {
            return Ok(Known::default());
        };
        self.know(io, slot, &token).map_err(|error| Turned::new(Status::Unauthorized, error.to_string()))
    }

    /// What a token says, if it is valid and not revoked.
    fn verify(&mut self, io: &mut ShardIo, slot: SlotId, token: &str) -> Result<Claims, TokenError> {
        let unix_secs = (self.shared.unix_millis)() / 1000;
        let verified = match &self.verifier {
            Some(verifier) => verifier.verify(token, unix_secs),
            None => Err(TokenError::Key),
        };
        let verified = verified.and_then(|claims| match self.revocations.is_revoked(&claims) {
            true => Err(TokenError::Revoked),
            false => Ok(claims),
        });
        verified.inspect_err(|error| self.token_failed(io, slot, *error))
    }

    fn token_failed(&mut self, io: &mut ShardIo, slot: SlotId, error: TokenError) {
        self.counters.auth_failures += 1;
        // Whoever comes back with what was good yesterday tries nothing.
        if !matches!(error, TokenError::Expired | TokenError::NotYetValid) {
            self.auth_failed(io, slot, error.reason());
        }
    }

    /// Who the token of a connection makes somebody.
    fn know(&mut self, io: &mut ShardIo, slot: SlotId, token: &str) -> Result<Known, TokenError> {
        let mut claims = self.verify(io, slot, token)?;
        if !self.shared.config.jwt_verify_expiration {
            claims.expires_at = None;
        }
        let channels = claims.channels.clone();
        // The token of a channel opens no connection.
        let identity = Identity::of(claims).ok_or(TokenError::Purpose);
        let identity = identity.inspect_err(|error| self.token_failed(io, slot, *error))?;
        Ok(Known { identity: Some(Box::new(identity)), channels })
    }

    /// Whether the connection must say who it is before anything else.
    pub(super) fn is_unknown(&self, io: &mut ShardIo, slot: SlotId) -> bool {
        io.conn(slot).and_then(|conn| conn.websocket()).is_some_and(|websocket| websocket.is_unknown)
    }

    /// The client's command to say who it is.
    pub(super) fn on_auth(&mut self, io: &mut ShardIo, slot: SlotId, token: &str, id: Option<&[u8]>) {
        if !self.is_unknown(io, slot) {
            let message = "the client is known; use refresh";
            return self.refuse_command(io, slot, ErrorCode::Forbidden, message, id);
        }
        match self.know(io, slot, token) {
            Ok(known) => {
                // The address was counted when the connection opened.
                let wanted = self.counted(io, slot, known.identity.as_deref(), false);
                let Some(conn) = io.conn(slot) else { return };
                let arriving = Arriving { known, id: id.map(Box::from), early: Vec::new() };
                conn.session().arriving = Some(Box::new(arriving));
                if let Some(verdict) = self.admit(io, slot, &wanted) {
                    self.known_admitted(io, slot, verdict);
                }
            }
            Err(error) => {
                self.refuse_command(io, slot, ErrorCode::Unauthorized, &error.to_string(), id);
                self.end(io, slot, Cause::Asked(INVALID_TOKEN, "invalid token".into()));
            }
        }
    }

    /// The verdict on a connection whose user was told by its first message.
    pub(super) fn known_admitted(&mut self, io: &mut ShardIo, slot: SlotId, verdict: Verdict) {
        let Some(conn) = io.conn(slot) else { return };
        let (Some(endpoint), Some(arriving)) = (conn.endpoint(), conn.session().arriving.take()) else {
            return;
        };
        let Arriving { known, id, early } = *arriving;
        let (code, reason) = match verdict {
            Verdict::Admitted if self.is_revoked(&known) => (INVALID_TOKEN, REVOKED),
            Verdict::Admitted => {
                self.tell_authenticated(io, slot, known.identity.as_deref(), id.as_deref());
                self.settle_in(io, slot, endpoint, known);
                for text in early {
                    if io.conn(slot).is_some_and(|conn| conn.is_open()) {
                        self.on_command(io, slot, &text);
                    }
                }
                return;
            }
            Verdict::Refused(_) => {
                self.counters.limited_users += 1;
                self.report(io, slot, LIMITED, "as many connections of the user as it may have", true);
                (CONNECTION_LIMIT, "this user has as many connections as it may")
            }
            Verdict::TryAgain => (CloseCode::TRY_LATER, "the server is busy"),
        };
        self.end(io, slot, Cause::Asked(code, reason.into()));
    }

    /// Keeps a command of a client whose token was taken while others are asked whether there is room; false if
    /// nobody is asked.
    pub(super) fn keep_command(&mut self, io: &mut ShardIo, slot: SlotId, text: &[u8]) -> bool {
        let session = io.conn(slot).and_then(|conn| conn.session.as_mut());
        let Some(arriving) = session.and_then(|session| session.arriving.as_mut()) else { return false };
        let kept: usize = arriving.early.iter().map(|text| text.len() + 64).sum();
        if kept + text.len() > EARLY_BYTES_MAX {
            self.end(io, slot, Cause::Asked(CloseCode::POLICY, "too much before the answer to auth".into()));
        } else {
            arriving.early.push(text.into());
        }
        true
    }

    /// The client's command to go on with a newer token of the same user. What it joined it stays in.
    pub(super) fn on_refresh(&mut self, io: &mut ShardIo, slot: SlotId, token: &str, id: Option<&[u8]>) {
        let before = io.conn(slot).and_then(|conn| conn.identity()).map(|identity| identity.user.clone());
        let Some(user) = before.filter(|_| self.shared.config.auth_enabled) else {
            let message = "the client showed no token before";
            return self.refuse_command(io, slot, ErrorCode::Forbidden, message, id);
        };
        match self.know(io, slot, token) {
            Ok(Known { identity: Some(identity), .. }) if identity.user == user => {
                self.tell_authenticated(io, slot, Some(&identity), id);
                self.take_identity(io, slot, identity);
                self.schedule(io, slot);
            }
            Ok(_) => {
                let message = "the token is of another user";
                self.refuse_command(io, slot, ErrorCode::Unauthorized, message, id);
            }
            Err(error) => self.refuse_command(io, slot, ErrorCode::Unauthorized, &error.to_string(), id),
        }
    }

    fn tell_authenticated(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        identity: Option<&Identity>,
        id: Option<&[u8]>,
    ) {
        let unix_secs = (self.shared.unix_millis)() / 1000;
        let user = identity.map_or("", |identity| &identity.user);
        let expires_in = identity.and_then(|identity| identity.expires_at);
        let expires_in = expires_in.map(|at| at.saturating_sub(unix_secs));
        self.tell(io, slot, |out| native::authenticated(out, user, expires_in, id));
    }

    /// The connection is somebody's from now on, until the token ends.
    pub(super) fn take_identity(&mut self, io: &mut ShardIo, slot: SlotId, identity: Box<Identity>) {
        let leeway = self.shared.config.jwt_leeway;
        let until = identity.expires_at.map(|at| self.moment_of(io, at, leeway));
        let rules = Rates::of_token(&self.shared.config, identity.limits);
        let Some(conn) = io.conn(slot) else { return };
        let session = conn.session();
        session.rules = rules;
        session.expiry = until.map(Expiry::At);
        if let Some(info) = &identity.info {
            session.info = Some(Arc::from(info.as_bytes()));
        }
        session.identity = Some(identity);
    }

    /// When this second since 1970 has come everywhere, by the clock that does not jump, where clocks may differ by the
    /// leeway.
    pub(super) fn moment_of(&self, io: &ShardIo, unix_secs: u64, leeway: Duration) -> Moment {
        io.now() + left(unix_secs, (self.shared.unix_millis)(), leeway)
    }

    /// Whether somebody was revoked while others were asked whether he may come in.
    pub(super) fn is_revoked(&self, known: &Known) -> bool {
        let is_since = |who: &Identity| self.revocations.is_revoked_since(&who.user, who.issued_at);
        known.identity.as_deref().is_some_and(is_since)
    }

    /// An open connection is known now, or need not be: it joins what it must, and its handler is told.
    pub(super) fn settle_in(&mut self, io: &mut ShardIo, slot: SlotId, endpoint: u8, known: Known) -> bool {
        if let Some(websocket) = io.conn(slot).and_then(|conn| conn.websocket()) {
            websocket.is_unknown = false;
        }
        let user = known.identity.as_ref().map(|identity| identity.user.clone());
        if let Some(identity) = known.identity {
            self.take_identity(io, slot, identity);
        }
        let everyone = self.everyone.clone();
        let joined = self.join(io, slot, &everyone, None, None).and_then(|()| match user {
            Some(user) if !user.is_empty() => self.set_user(io, slot, &user),
            Some(_) | None => Ok(()),
        });
        if joined.is_err() {
            // Its outbox is full before it is open, or a lane of the mesh: the client comes back.
            self.end(io, slot, Cause::Slow);
            return false;
        }
        self.opened(io, slot, endpoint);
        for name in &known.channels {
            self.put_into(io, slot, name);
        }
        self.schedule(io, slot);
        io.conn(slot).is_some_and(|conn| conn.is_open())
    }

    /// A channel that the token puts the connection into.
    fn put_into(&mut self, io: &mut ShardIo, slot: SlotId, name: &str) {
        if self.may(io, slot, Action::Subscribe, name, None).is_err() {
            return;
        }
        let channel = self.channel(name);
        if let Err(error) = self.join(io, slot, &channel, None, None) {
            tracing::debug!(conn = %slot, %error, "a channel of the token was not joined");
        }
    }

    /// Says who it is: from now on it gets what is sent to the user.
    pub(super) fn set_user(&mut self, io: &mut ShardIo, slot: SlotId, user: &str) -> Result<(), Error> {
        let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) else { return Err(Error::Closed) };
        let before = conn.session().user.replace(user.into());
        if let Some(before) = before.filter(|before| **before != *user) {
            let channel = self.shared.names.user(&before);
            self.leave(io, slot, channel.name());
        }
        self.travelled(io, slot, user);
        let channel = self.shared.names.user(user);
        self.join(io, slot, &channel, None, None)
    }

    /// Whether a connection may do something in a channel. Every form of a command comes through here.
    pub(super) fn may(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        action: Action,
        channel: &str,
        ticket: Option<&Claims>,
    ) -> Result<(), Denied> {
        let Some(conn) = io.conn(slot) else { return Err(Denied::Closed) };
        let rules = self.shared.config.namespaces.rules(channel);
        if action != Action::Broadcast && matches!(conn.phase, Phase::Open(_)) && !rules.websocket {
            return Err(Denied::Closed);
        }
        self.may_identity(conn.identity(), action, channel, ticket)
    }

    /// From where a connection gets what it missed in a channel: whoever may not read the history does not get it by
    /// coming back, and is told of a gap. A private channel that it may join needs no more for that.
    pub(super) fn recoverable(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &str,
        ticket: Option<&Claims>,
        since: Option<Position>,
    ) -> Option<Position> {
        let since = since?;
        let is_denied = self.may(io, slot, Action::History, channel, ticket) == Err(Denied::Pattern);
        Some(if is_denied { Position::UNKNOWN } else { since })
    }

    /// The same for somebody who has no connection that lasts.
    pub(super) fn may_identity(
        &self,
        who: Option<&Identity>,
        action: Action,
        channel: &str,
        ticket: Option<&Claims>,
    ) -> Result<(), Denied> {
        let rules = self.shared.config.namespaces.rules(channel);
        permit(who, action, channel, ticket, rules, &self.policy)
    }

    /// The token of one channel, shown with a join.
    pub(super) fn ticket(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        token: Option<&str>,
    ) -> Result<Option<Claims>, TokenError> {
        match token.filter(|_| self.shared.config.auth_enabled) {
            Some(token) => self.verify(io, slot, token).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the connection ends because of who it is: its token has expired, or it never showed one. To be asked
    /// when its deadline has passed.
    pub(super) fn expire(&mut self, io: &mut ShardIo, slot: SlotId) -> bool {
        self.end_passes(io, slot);
        let (now, timeout) = (io.now(), self.shared.config.auth_timeout);
        let Some(conn) = io.conn(slot) else { return true };
        let can_renew = match &conn.phase {
            Phase::Open(websocket) => websocket.dialect == Dialect::Native,
            Phase::Stream(_) => false,
            Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => return false,
        };
        let Some(session) = &mut conn.session else { return false };
        match session.expiry {
            Some(Expiry::At(at)) if now >= at && can_renew => {
                session.expiry = Some(Expiry::Grace(now + timeout));
                self.tell(io, slot, |out| native::expired(out, timeout.as_secs()));
                false
            }
            Some(Expiry::Unknown(at)) if now >= at => {
                self.counters.auth_failures += 1;
                self.end(io, slot, Cause::Asked(STALE, "no token came in time".into()));
                true
            }
            Some(Expiry::At(at) | Expiry::Grace(at)) if now >= at => {
                self.end(io, slot, Cause::Asked(EXPIRED, "the token has expired".into()));
                true
            }
            Some(Expiry::Unknown(_) | Expiry::At(_) | Expiry::Grace(_)) | None => false,
        }
    }
}

/// How long a token is still good that ends at this second, where clocks may differ by the leeway.
fn left(expires_at: u64, unix_millis: u64, leeway: Duration) -> Duration {
    let end = Duration::from_secs(expires_at).saturating_add(leeway);
    end.saturating_sub(Duration::from_millis(unix_millis)).min(EXPIRY_MAX)
}

/// Tokens that live longer are looked at again then.
const EXPIRY_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use highper_shards::driver::sim::Client;

    use super::*;
    use crate::auth;
    use crate::config::{Bounds, Secret, Value};
    use crate::worker::rig::{Rig, status};

    #[test]
    fn j10_who_is_revoked_while_others_are_asked_does_not_come_in() {
        let mut waited = 0;
        for seed in 0..8 {
            let mut rig = Rig::new(seed, 4, 64, |config| {
                config.auth_enabled = true;
                config.rate_limit_enabled = true;
                config.jwt_secret = Secret::parse("6f1c0a9d3b5e47f28a90c1d2e3f4a5b6c7d8", &Bounds::ANY);
            });
            let claims = r#"{"sub":"ann","exp":600,"iat":0}"#;
            let token = auth::sign(&rig.shared.config, claims).unwrap();
            let client: Client = rig.knock(&format!("/ws?token={token}"));
            let is_asking = |worker: &Worker| worker.outstanding.iter().any(|out| *out > 0);
            let mut asks = false;
            rig.until("a question or an answer", |shards| {
                asks = shards.iter_mut().any(|shard| is_asking(&shard.logic().worker));
                asks || client.state().readable > 0
            });
            if asks {
                rig.shards.iter_mut().for_each(|shard| shard.logic().worker.revocations.revoke("ann", 1));
                let (head, _) = rig.answer(&client);
                assert_eq!(status(&head), 401, "{head}");
                assert_eq!(rig.sum(|worker| worker.open() as u64 + worker.counters.panics), 0);
                waited += 1;
            }
        }
        assert!(waited > 0, "nobody was asked");
    }

    #[test]
    fn j9_the_leeway_is_given_once() {
        const LEEWAY: Duration = Duration::from_secs(30);
        for (expires_at, now_millis, millis) in [
            (1000, 990_500, 39_500),
            (1000, 1_000_000, 30_000),
            (1000, 1_029_999, 1),
            (1000, 1_031_000, 0),
            (0, u64::MAX, 0),
            (u64::MAX, 0, 365 * 24 * 3600 * 1000),
        ] {
            assert_eq!(left(expires_at, now_millis, LEEWAY), Duration::from_millis(millis), "{expires_at}");
        }
    }
}
