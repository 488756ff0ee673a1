//! What webhooks tell of, and each event as JSON. Never decides whether it is told.

use std::sync::Arc;

use highper_shards::SlotId;
use highper_wire::dialect::string::write_string;

use super::transport_name;
use crate::config::WebhookEvent;
use crate::handler::Transport;
use crate::message::Channel;

/// Something that a backend may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection opened.
    Connect {
        /// Which.
        client: SlotId,
        /// Who it is; empty if that is not known yet.
        user: Box<str>,
        /// How it came.
        transport: Transport,
    },
    /// A connection ended.
    Disconnect {
        /// Which.
        client: SlotId,
        /// Who it was; empty if that was unknown.
        user: Box<str>,
        /// The close code (RFC 6455 §7.4); 1005 and 1006 if none was sent.
        code: u16,
        /// In plain words.
        reason: Box<str>,
    },
    /// A user is in a channel now, or somebody without a name.
    Join {
        /// The channel.
        channel: Channel,
        /// By which connection.
        client: SlotId,
        /// Who; empty if unknown.
        user: Box<str>,
    },
    /// A user, or somebody without a name, is in a channel no more.
    Leave {
        /// The channel.
        channel: Channel,
        /// The last connection.
        client: SlotId,
        /// Who; empty if unknown.
        user: Box<str>,
    },
    /// A channel has its first subscriber.
    Occupied(Channel),
    /// A channel has no subscriber any more.
    Vacated(Channel),
    /// Something that looks like an attack: a JSON object.
    Security(Arc<[u8]>),
}

impl Event {
    /// The word for it in REALTIME_WEBHOOK_EVENTS.
    pub fn kind(&self) -> WebhookEvent {
        match self {
            Self::Connect { .. } => WebhookEvent::Connect,
            Self::Disconnect { .. } => WebhookEvent::Disconnect,
            Self::Join { .. } => WebhookEvent::Join,
            Self::Leave { .. } => WebhookEvent::Leave,
            Self::Occupied(_) => WebhookEvent::ChannelOccupied,
            Self::Vacated(_) => WebhookEvent::ChannelVacated,
            Self::Security(_) => WebhookEvent::Security,
        }
    }

    /// Appends it as a JSON object.
    pub(super) fn write(&self, out: &mut Vec<u8>, unix_millis: u64) {
        out.extend_from_slice(br#"{"name":""#);
        out.extend_from_slice(self.kind().as_str().as_bytes());
        out.extend_from_slice(format!(r#"","time_ms":{unix_millis}"#).as_bytes());
        match self {
            Self::Connect { client, user, transport } => {
                who(out, *client, user);
                member(out, "transport", transport_name(*transport));
            }
            Self::Disconnect { client, user, code, reason } => {
                who(out, *client, user);
                out.extend_from_slice(format!(r#","code":{code}"#).as_bytes());
                member(out, "reason", reason);
            }
            Self::Join { channel, client, user } | Self::Leave { channel, client, user } => {
                member(out, "channel", channel.name());
                who(out, *client, user);
            }
            Self::Occupied(channel) | Self::Vacated(channel) => member(out, "channel", channel.name()),
            Self::Security(object) => {
                // Its members become members of the event.
                let members = object.trim_ascii().strip_prefix(b"{").unwrap_or_default().trim_ascii();
                if !matches!(members, b"" | b"}") {
                    out.push(b',');
                    return out.extend_from_slice(members);
                }
            }
        }
        out.push(b'}');
    }
}

fn who(out: &mut Vec<u8>, client: SlotId, user: &str) {
    member(out, "client", &client.to_string());
    if !user.is_empty() {
        member(out, "user", user);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, value);
}

#[cfg(test)]
mod tests {
    use highper_shards::ShardId;
    use highper_shards::token::Token;
    use serde_json::{Value, json};

    use super::*;
    use crate::message::Names;

    #[test]
    fn events_are_json() {
        let client = SlotId { shard: ShardId(1), token: Token { generation: 2, index: 3 } };
        let (id, channel) = (client.to_string(), Names::new(1).parse("news").unwrap());
        let (user, none): (Box<str>, Box<str>) = ("an\"n".into(), "".into());
        let reason: Box<str> = "bye".into();
        let attack = br#" {"security_event":{"type":"xss"}} "#.as_slice();
        let cases = [
            (
                Event::Connect { client, user: none, transport: Transport::Events },
                json!({ "name": "connect", "time_ms": 7, "client": id, "transport": "sse" }),
            ),
            (
                Event::Disconnect { client, user: user.clone(), code: 1000, reason },
                json!({ "name": "disconnect", "time_ms": 7, "client": id, "user": "an\"n", "code": 1000, "reason": "bye" }),
            ),
            (
                Event::Join { channel: channel.clone(), client, user: user.clone() },
                json!({ "name": "join", "time_ms": 7, "channel": "news", "client": id, "user": "an\"n" }),
            ),
            (
                Event::Leave { channel: channel.clone(), client, user },
                json!({ "name": "leave", "time_ms": 7, "channel": "news", "client": id, "user": "an\"n" }),
            ),
            (
                Event::Occupied(channel.clone()),
                json!({ "name": "channel_occupied", "time_ms": 7, "channel": "news" }),
            ),
            (Event::Vacated(channel), json!({ "name": "channel_vacated", "time_ms": 7, "channel": "news" })),
            (
                Event::Security(attack.into()),
                json!({ "name": "security", "time_ms": 7, "security_event": { "type": "xss" } }),
            ),
            (Event::Security(b"{ }".as_slice().into()), json!({ "name": "security", "time_ms": 7 })),
        ];
        for (event, expected) in cases {
            let mut out = Vec::new();
            event.write(&mut out, 7);
            let told: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(told, expected);
        }
    }
}
