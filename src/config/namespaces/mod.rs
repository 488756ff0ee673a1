//! Channel options by the prefix of the channel's name: the namespaces and what a channel gets. Never knows which
//! channels exist, and acts on no option.

mod options;
mod tables;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::value::SlowConsumer;
use super::vars::Config;

pub use options::{CHANNEL_OPTIONS, ChannelOption, OPTIONS_COUNT, OptionDefault};
pub(super) use tables::{OptionOrigins, add};

/// The namespaces of a process, and the rules of channels that are in none.
#[derive(Clone, Default)]
pub struct Namespaces {
    by_prefix: HashMap<Box<str>, ChannelRules>,
    defaults: ChannelRules,
}

/// What a channel keeps, tells and allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRules {
    /// Publications kept for those who come back; 0 keeps none.
    pub history_size: u32,
    /// How long publications are kept.
    pub history_ttl: Duration,
    /// Whether the channel knows who is in it.
    pub presence: bool,
    /// Whether members are told who comes and goes; only with `presence`.
    pub member_events: bool,
    /// Whether clients may publish.
    pub client_publish: bool,
    /// Whether clients may subscribe; if not, only the server subscribes them.
    pub client_subscribe: bool,
    /// Whether WebSocket reaches the channel.
    pub websocket: bool,
    /// Whether Server-Sent Events reach the channel.
    pub sse: bool,
    /// Whether the server API reaches the channel.
    pub api: bool,
    /// Whether the backend is asked before a client joins (REALTIME_HOOK_SUBSCRIBE).
    pub subscribe_hook: bool,
    /// What happens when a subscriber's outbox is full.
    pub slow_consumer: SlowConsumer,
}

/// Why rules were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNamespace {
    /// The prefix could never be that of a channel.
    #[error("expected {PREFIX}")]
    Prefix,
    /// `member_events` without `presence`.
    #[error("expected presence = true for member_events")]
    MemberEvents,
}

impl Namespaces {
    /// The rules of a channel: those of its namespace, which is its name up to and with the first colon, else the
    /// defaults. A reserved channel, whose name begins with U+0001, keeps no history and knows no members.
    pub fn rules(&self, channel_name: &str) -> &ChannelRules {
        if channel_name.starts_with('\u{1}') {
            return &RESERVED;
        }
        if self.by_prefix.is_empty() {
            return &self.defaults;
        }
        channel_name
            .find(':')
            .and_then(|colon| self.by_prefix.get(&channel_name[..=colon]))
            .unwrap_or(&self.defaults)
    }

    /// Gives the channels of a prefix, such as `chat:`, rules of their own; rules it had are replaced.
    ///
    /// # Errors
    /// A prefix of no channel, or rules that contradict each other. Nothing is changed then.
    pub fn insert(&mut self, prefix: &str, rules: ChannelRules) -> Result<(), BadNamespace> {
        if !is_prefix(prefix) {
            return Err(BadNamespace::Prefix);
        }
        if rules.member_events && !rules.presence {
            return Err(BadNamespace::MemberEvents);
        }
        self.by_prefix.insert(prefix.into(), rules);
        Ok(())
    }

    /// The rules of channels without a namespace.
    pub fn defaults(&self) -> &ChannelRules {
        &self.defaults
    }

    /// Every prefix and its rules, in the order of the prefixes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ChannelRules)> {
        let mut all: Vec<_> = self.by_prefix.iter().map(|(prefix, rules)| (&**prefix, rules)).collect();
        all.sort_unstable_by_key(|(prefix, _)| *prefix);
        all.into_iter()
    }
}

impl fmt::Debug for Namespaces {
    // The order of the map is another one in every process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entry(&"", &self.defaults).entries(self.iter()).finish()
    }
}

impl Default for ChannelRules {
    /// What a channel gets if nobody says anything.
    fn default() -> Self {
        Self {
            history_size: 0,
            history_ttl: Duration::from_secs(300),
            presence: false,
            member_events: false,
            client_publish: true,
            client_subscribe: true,
            websocket: true,
            sse: true,
            api: true,
            subscribe_hook: false,
            slow_consumer: SlowConsumer::Disconnect,
        }
    }
}

impl Config {
    /// The rules that the variables give to channels without a namespace.
    pub fn channel_rules(&self) -> ChannelRules {
        ChannelRules {
            history_size: self.history_size,
            history_ttl: self.history_ttl,
            presence: self.presence,
            member_events: self.member_events && self.presence,
            client_publish: self.client_publish,
            ..ChannelRules::default()
        }
    }

    /// Lets [`Namespaces::rules`] follow variables that were changed in code. A server does this when it starts; the
    /// rules of a namespace stay as they are.
    pub fn settle(&mut self) {
        self.namespaces.defaults = self.channel_rules();
    }
}

/// Whether this is what stands before and with the first colon of some channel's name.
fn is_prefix(prefix: &str) -> bool {
    prefix.len() <= PREFIX_LEN_MAX
        && prefix.find(':') == prefix.len().checked_sub(1)
        && prefix.len() > 1
        && prefix.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A channel's name has at most 255 bytes, and something stands behind the prefix.
const PREFIX_LEN_MAX: usize = 254;

/// What a prefix is, as the rest of a sentence that starts with "expected".
const PREFIX: &str = "a prefix of printable ASCII whose last character is its only colon, such as chat:";

/// Channels of users and of everyone: whoever is connected is in them, and what they missed is gone.
static RESERVED: ChannelRules = ChannelRules {
    history_size: 0,
    history_ttl: Duration::from_secs(1),
    presence: false,
    member_events: false,
    client_publish: true,
    client_subscribe: false,
    websocket: true,
    sse: true,
    api: true,
    subscribe_hook: false,
    slow_consumer: SlowConsumer::Disconnect,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_rules_of_what_stands_before_its_first_colon() {
        let mut namespaces = Namespaces::default();
        let chat = ChannelRules { history_size: 7, ..ChannelRules::default() };
        namespaces.insert("chat:", chat).unwrap();
        for name in ["chat:", "chat:1", "chat:a:b", "chat::"] {
            assert_eq!(namespaces.rules(name), &chat, "{name}");
        }
        for name in ["", "chat", "Chat:1", "chats:1", "a:chat:1", ":chat:", "chat\u{1}:"] {
            assert_eq!(namespaces.rules(name), namespaces.defaults(), "{name}");
        }
    }

    #[test]
    fn a_reserved_channel_keeps_nothing_whatever_the_defaults_are() {
        let mut config = Config { history_size: 9, presence: true, ..Config::default() };
        config.settle();
        assert_eq!(config.namespaces.rules("news").history_size, 9);
        for name in ["\u{1}all", "\u{1}@ann", "\u{1}@a:b"] {
            let rules = config.namespaces.rules(name);
            assert!(rules.history_size == 0 && !rules.presence && !rules.client_subscribe, "{name:?}");
        }
    }

    #[test]
    fn prefixes_end_with_their_only_colon() {
        let mut namespaces = Namespaces::default();
        let mut insert = |prefix: &str| namespaces.insert(prefix, ChannelRules::default());
        assert_eq!(insert(&format!("{}:", "p".repeat(253))), Ok(()));
        assert_eq!(insert("!:"), Ok(()));
        let long = format!("{}:", "p".repeat(254));
        for prefix in ["", ":", "chat", "a:b:", "::", "a b:", "\u{1}:", "é:", "a:b", &long] {
            assert_eq!(insert(prefix), Err(BadNamespace::Prefix), "{prefix:?}");
        }
    }

    #[test]
    fn member_events_without_presence_are_refused() {
        let rules = ChannelRules { member_events: true, ..ChannelRules::default() };
        let mut namespaces = Namespaces::default();
        assert_eq!(namespaces.insert("chat:", rules), Err(BadNamespace::MemberEvents));
        assert_eq!(namespaces.iter().count(), 0);
        assert_eq!(namespaces.insert("chat:", ChannelRules { presence: true, ..rules }), Ok(()));
    }
}
