//! The table of options that a namespace can have: name, default, what is accepted. The documentation and the printed
//! configuration come from here. Never reads a file.

use std::time::Duration;

use super::super::names;
use super::super::value::{Bounds, SlowConsumer, Transport, Value};
use super::ChannelRules;

/// One option of a namespace, as the configuration file has it.
pub struct ChannelOption {
    /// Its key.
    pub name: &'static str,
    /// Its default: that of a variable, or a value.
    pub default: OptionDefault,
    /// One sentence on what it does.
    pub doc: &'static str,
    pub(in crate::config) expects: fn() -> String,
    pub(in crate::config) set: fn(&mut ChannelRules, &str) -> bool,
    pub(in crate::config) show: fn(&ChannelRules) -> String,
}

/// What an option is where its namespace does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionDefault {
    /// The value of this field of [`Config`](crate::config::Config).
    Variable(&'static str),
    /// This value.
    Fixed(&'static str),
}

impl ChannelOption {
    /// What is accepted, as the rest of a sentence that starts with "expected".
    pub fn expects(&self) -> String {
        (self.expects)()
    }

    /// The option of these rules as text.
    pub fn show(&self, rules: &ChannelRules) -> String {
        (self.show)(rules)
    }
}

/// A row whose option has a variable too: type, unit and range are the variable's.
macro_rules! like_variable {
    ($field:ident : $ty:ty, $doc:literal) => {
        ChannelOption {
            name: stringify!($field),
            default: OptionDefault::Variable(stringify!($field)),
            doc: $doc,
            expects: || <$ty>::expects(&names::field(stringify!($field)).1.bounds),
            set: |rules, raw| match <$ty>::parse(raw, &names::field(stringify!($field)).1.bounds) {
                Some(value) => {
                    rules.$field = value;
                    true
                }
                None => false,
            },
            show: |rules| rules.$field.show(),
        }
    };
}

/// A row whose option has no variable.
macro_rules! of_namespaces_only {
    ($field:ident : $ty:ty = $default:literal, $doc:literal) => {
        ChannelOption {
            name: stringify!($field),
            default: OptionDefault::Fixed($default),
            doc: $doc,
            expects: || <$ty>::expects(&Bounds::ANY),
            set: |rules, raw| match <$ty>::parse(raw, &Bounds::ANY) {
                Some(value) => {
                    rules.$field = value;
                    true
                }
                None => false,
            },
            show: |rules| rules.$field.show(),
        }
    };
}

/// Every option that a namespace can have.
pub static CHANNEL_OPTIONS: [ChannelOption; OPTIONS_COUNT] = [
    like_variable!(history_size: u32, "Publications kept per channel for those who come back; 0 keeps none."),
    like_variable!(history_ttl: Duration, "How long publications are kept."),
    like_variable!(presence: bool, "Whether channels know who is in them."),
    like_variable!(member_events: bool, "Whether members are told who comes and goes; needs presence."),
    like_variable!(client_publish: bool, "Whether clients may publish."),
    of_namespaces_only!(client_subscribe: bool = "true", "Whether clients may subscribe; if not, only the server subscribes them."),
    ChannelOption {
        name: "transports",
        default: OptionDefault::Fixed("websocket,sse,api"),
        doc: "What reaches the channels.",
        expects: || format!("a list of at least one, each {}", Transport::expects(&Bounds::ANY)),
        set: set_transports,
        show: show_transports,
    },
    of_namespaces_only!(subscribe_hook: bool = "false", "Whether the backend is asked before a client joins; needs REALTIME_HOOK_SUBSCRIBE."),
    of_namespaces_only!(slow_consumer: SlowConsumer = "disconnect", "What a subscriber that reads too slowly loses: its connection, the oldest publications that wait for it, or all but the latest."),
];

fn set_transports(rules: &mut ChannelRules, raw: &str) -> bool {
    match Vec::<Transport>::parse(raw, &Bounds::ANY) {
        Some(transports) if !transports.is_empty() => {
            rules.websocket = transports.contains(&Transport::WebSocket);
            rules.sse = transports.contains(&Transport::Sse);
            rules.api = transports.contains(&Transport::Api);
            true
        }
        Some(_) | None => false,
    }
}

fn show_transports(rules: &ChannelRules) -> String {
    let all =
        [(rules.websocket, Transport::WebSocket), (rules.sse, Transport::Sse), (rules.api, Transport::Api)];
    let on = all.into_iter().filter(|(on, _)| *on);
    on.map(|(_, transport)| transport.as_str()).collect::<Vec<_>>().join(",")
}

/// The number of options.
pub const OPTIONS_COUNT: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn without_variables_the_defaults_are_those_of_the_table() {
        let config = Config::default();
        assert_eq!(config.channel_rules(), ChannelRules::default());
        for option in &CHANNEL_OPTIONS {
            let expected = match option.default {
                OptionDefault::Fixed(value) => value.to_owned(),
                OptionDefault::Variable(field) => names::field(field).1.show(&config),
            };
            assert_eq!(option.show(&ChannelRules::default()), expected, "{}", option.name);
        }
    }
}
