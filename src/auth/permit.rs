//! The one permission function: who may do what in which channel, the same for every transport and for every form of
//! a command. Denies before it allows. Never looks at a token's text or at the time: whoever calls has verified it.

use highper_wire::dialect::channel;

use super::claims::{Claims, Limits, Pattern, Permissions};
use crate::config::{Anonymous, ChannelRules, Config};

/// Whether `who` may carry out `action` in the channel. `who` is `None` for connections that showed no token. `ticket`
/// is the verified token of a channel that came with the request; only its user and its channel count.
///
/// The first that applies decides:
///
/// 1. A name that no client can write, such as the channel of a user, is closed ([`Denied::Reserved`]).
/// 2. What the namespace closes to clients is closed to all of them ([`Denied::Closed`]).
/// 3. With authentication on, whoever showed no token needs REALTIME_ANONYMOUS ([`Denied::Anonymous`]).
/// 4. A pattern of the token that denies ([`Denied::Pattern`]).
/// 5. A name with `#` is for the users behind it alone: `dialog#ann,bob` ([`Denied::OtherUsers`]).
/// 6. A name that begins with `$` needs a pattern of the token that allows it, or a ticket ([`Denied::NeedsToken`]).
/// 7. If the token has a list for the action, one of its patterns must allow it ([`Denied::Pattern`]); a ticket
///    stands for such a pattern. A list of nothing but denials allows nothing.
/// 8. A token without a user that has no list for the action may do what REALTIME_ANONYMOUS says.
///
/// Names are compared byte by byte: rule 1 leaves only printable ASCII, so one channel has one spelling. Without
/// authentication nobody is anybody, so names with `#` or a leading `$` are closed: a private channel is never public
/// because somebody forgot a variable.
///
/// [`Action::Broadcast`] has no channel: `channel` is not looked at, and a token with a list for publishing needs the
/// pattern `*` and no pattern that denies.
///
/// # Errors
/// Why not, in a stable word and a sentence.
pub fn permit(
    who: Option<&Identity>,
    action: Action,
    channel: &str,
    ticket: Option<&Claims>,
    rules: &ChannelRules,
    policy: &Policy,
) -> Result<(), Denied> {
    if action == Action::Broadcast {
        return permit_broadcast(who, policy);
    }
    if channel::check(channel).is_err() {
        return Err(Denied::Reserved);
    }
    if !is_open(action, rules) {
        return Err(Denied::Closed);
    }
    if policy.auth && who.is_none() {
        policy.permit_anonymous(action)?;
    }
    let list = who.and_then(|who| who.patterns(action));
    let patterns = list.unwrap_or_default();
    if patterns.iter().any(|pattern| pattern.denies() && pattern.matches(channel)) {
        return Err(Denied::Pattern);
    }
    let user = who.map_or("", |who| &who.user);
    if !is_listed(channel, user, policy) {
        return Err(Denied::OtherUsers);
    }
    let has_ticket = policy.auth && ticket.is_some_and(|ticket| is_for(ticket, channel, user));
    let is_allowed =
        has_ticket || patterns.iter().any(|pattern| !pattern.denies() && pattern.matches(channel));
    if channel.starts_with(PRIVATE) && !(policy.auth && is_allowed) {
        return Err(Denied::NeedsToken);
    }
    match (list, who) {
        (Some(_), _) if !is_allowed => Err(Denied::Pattern),
        (None, Some(who)) if policy.auth && who.user.is_empty() => policy.permit_anonymous(action),
        (Some(_), _) | (None, Some(_) | None) => Ok(()),
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Join a channel, or open a stream of it.
    Subscribe,
    /// Publish into a channel.
    Publish,
    /// See who is in a channel.
    Presence,
    /// Read what a channel keeps.
    History,
    /// Send to everyone, or to users by their names.
    Broadcast,
}

/// Who a connection is, from its verified token or from a hook: what stays with it while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user; empty is nobody in particular.
    pub user: Box<str>,
    /// What the token allows and denies.
    pub permissions: Option<Permissions>,
    /// When it ends, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// When the token was made, in seconds since 1970; 0 if it does not say. Decides whether it is revoked.
    pub issued_at: u64,
    /// JSON that other members are shown.
    pub info: Option<Box<str>>,
    /// Limits in place of the configured ones.
    pub limits: Limits,
}

/// What the configuration says about permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// REALTIME_AUTH_ENABLED, or REALTIME_HOOK_CONNECT: somebody says who clients are.
    pub auth: bool,
    /// REALTIME_ANONYMOUS.
    pub anonymous: Anonymous,
    /// REALTIME_CLIENT_BROADCAST.
    pub broadcast: bool,
}

/// Why something is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No client can name the channel.
    #[error("no client can name this channel")]
    Reserved,
    /// The namespace or a variable closes it to clients.
    #[error("this is closed to clients")]
    Closed,
    /// It is for those who show a token.
    #[error("this needs a token")]
    Anonymous,
    /// The token denies it, or does not allow it.
    #[error("the token does not allow this")]
    Pattern,
    /// The channel is for other users.
    #[error("the channel is for other users")]
    OtherUsers,
    /// The channel is private.
    #[error("the channel is private and needs a token that allows it")]
    NeedsToken,
}

impl Identity {
    /// Who the token of a connection makes it. The token of a channel makes nobody: see [`Claims::channel`].
    pub fn of(claims: Claims) -> Option<Self> {
        let Claims { user, permissions, expires_at, issued_at, info, limits, channel, .. } = claims;
        let issued_at = issued_at.unwrap_or(0);
        channel.is_none().then_some(Self { user, permissions, expires_at, issued_at, info, limits })
    }

    /// The token's list for an action.
    fn patterns(&self, action: Action) -> Option<&[Pattern]> {
        let permissions = self.permissions.as_ref()?;
        let list = match action {
            Action::Subscribe => &permissions.subscribe,
            Action::Publish | Action::Broadcast => &permissions.publish,
            Action::Presence => &permissions.presence,
            Action::History => &permissions.history,
        };
        list.as_deref()
    }
}

impl Policy {
    /// What this configuration says.
    pub fn of(config: &Config) -> Self {
        Self {
            auth: config.auth_enabled || config.hook_connect.is_some(),
            anonymous: config.anonymous,
            broadcast: config.client_broadcast,
        }
    }

    fn permit_anonymous(self, action: Action) -> Result<(), Denied> {
        match (self.anonymous, action) {
            (Anonymous::Full, _)
            | (Anonymous::Subscribe, Action::Subscribe | Action::Presence | Action::History) => Ok(()),
            (Anonymous::Subscribe, Action::Publish | Action::Broadcast) | (Anonymous::Refuse, _) => {
                Err(Denied::Anonymous)
            }
        }
    }
}

impl Denied {
    /// A stable word for counters and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Closed => "closed",
            Self::Anonymous => "anonymous",
            Self::Pattern => "pattern",
            Self::OtherUsers => "other_users",
            Self::NeedsToken => "needs_token",
        }
    }
}

fn permit_broadcast(who: Option<&Identity>, policy: &Policy) -> Result<(), Denied> {
    if !policy.broadcast {
        return Err(Denied::Closed);
    }
    match who {
        None if policy.auth => policy.permit_anonymous(Action::Broadcast),
        None => Ok(()),
        Some(who) => match who.patterns(Action::Broadcast) {
            Some(list) if list.iter().any(Pattern::denies) || !list.iter().any(Pattern::is_any) => {
                Err(Denied::Pattern)
            }
            None if policy.auth && who.user.is_empty() => policy.permit_anonymous(Action::Broadcast),
            Some(_) | None => Ok(()),
        },
    }
}

/// What the namespace leaves open to clients. Members and history are for those who are in the channel; that is the
/// worker's to know.
fn is_open(action: Action, rules: &ChannelRules) -> bool {
    match action {
        Action::Subscribe => rules.client_subscribe,
        Action::Publish => rules.client_publish,
        Action::Presence | Action::History | Action::Broadcast => true,
    }
}

/// Whether the name lists no users, or lists this one. All that stands behind the first `#` is the list: a user whose
/// own name holds `#` must not make room for others.
fn is_listed(channel: &str, user: &str, policy: &Policy) -> bool {
    match channel.split_once(USERS) {
        None => true,
        Some((_, users)) => policy.auth && !user.is_empty() && users.split(',').any(|listed| listed == user),
    }
}

/// Whether the verified token of a channel is for this channel and this user.
pub fn is_for(ticket: &Claims, channel: &str, user: &str) -> bool {
    ticket.channel.as_deref() == Some(channel) && *ticket.user == *user
}

/// What private channels begin with.
const PRIVATE: char = '$';

/// What stands before the users whom a channel is for.
const USERS: char = '#';
