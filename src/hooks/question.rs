//! Questions of hooks as JSON, and what backends answer, read into verdicts. The shape is that of Centrifugo's connect
//! and subscribe proxies, so that backends written for those work. Never sends anything.

use std::net::IpAddr;
use std::sync::Arc;

use highper_shards::SlotId;
use highper_wire::dialect::channel::check;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Hook;
use crate::handler::Transport;
use crate::message::hook::{Admission, ConnectVerdict, HookAnswer, SubscribeVerdict};

/// What a backend is asked.
#[derive(Debug)]
pub enum Question {
    /// May this connection open?
    Connect {
        /// The connection.
        client: SlotId,
        /// How it came.
        transport: Transport,
        /// Where it came from, if that is known.
        remote_addr: Option<IpAddr>,
        /// Fields of its request that the backend may see: [`super::Hooks::shown`].
        headers: Vec<Header>,
        /// What the client sent for the backend: JSON text.
        data: Option<Box<[u8]>>,
    },
    /// May this connection join this channel?
    Subscribe {
        /// The connection.
        client: SlotId,
        /// How it came.
        transport: Transport,
        /// Who it is; empty if that is unknown.
        user: Box<str>,
        /// The channel.
        channel: Box<str>,
        /// What the client sent for the backend: JSON text.
        data: Option<Box<[u8]>>,
    },
}

/// A field of a client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, as REALTIME_HOOK_HEADERS has it.
    pub name: Box<str>,
    /// Its values, joined.
    pub value: Box<str>,
}

/// The answer of a backend means nothing.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no result, error or disconnect: {0}")]
pub(super) struct BadAnswer(String);

impl Question {
    /// Which hook it is for.
    pub fn hook(&self) -> Hook {
        match self {
            Self::Connect { .. } => Hook::Connect,
            Self::Subscribe { .. } => Hook::Subscribe,
        }
    }

    /// The body of the request.
    pub(super) fn body(&self) -> Vec<u8> {
        let json = match self {
            Self::Connect { client, transport, remote_addr, headers, data } => Asked {
                remote_addr: *remote_addr,
                headers: Some(Fields(headers)),
                data: raw(data.as_deref()),
                ..Asked::new(*client, *transport)
            },
            Self::Subscribe { client, transport, user, channel, data } => Asked {
                user: Some(user),
                channel: Some(channel),
                data: raw(data.as_deref()),
                ..Asked::new(*client, *transport)
            },
        };
        serde_json::to_vec(&json).expect("texts and JSON are JSON")
    }

    /// The client's fields, which go into the head of the request too: a backend knows its session by its cookie.
    pub(super) fn headers(&self) -> &[Header] {
        match self {
            Self::Connect { headers, .. } => headers,
            Self::Subscribe { .. } => &[],
        }
    }
}

impl Hook {
    /// What a backend's answer says.
    pub(super) fn read(self, body: &[u8]) -> Result<HookAnswer, BadAnswer> {
        match self {
            Self::Connect => Ok(HookAnswer::Connect(connect_verdict(parse(body)?)?)),
            Self::Subscribe => Ok(HookAnswer::Subscribe(subscribe_verdict(parse(body)?)?)),
        }
    }

    /// What is told when the backend said nothing.
    pub(super) fn unavailable(self) -> HookAnswer {
        match self {
            Self::Connect => HookAnswer::Connect(ConnectVerdict::Unavailable),
            Self::Subscribe => HookAnswer::Subscribe(SubscribeVerdict::Unavailable),
        }
    }
}

fn connect_verdict(answer: Answer<'_>) -> Result<ConnectVerdict, BadAnswer> {
    let result = match answer {
        Answer { disconnect: Some(Disconnect { code, reason }), .. } => {
            return Ok(ConnectVerdict::Refuse { code, message: reason });
        }
        Answer { error: Some(Refusal { code, message }), .. } => {
            return Ok(ConnectVerdict::Refuse { code, message });
        }
        Answer { result, .. } => result.ok_or_else(|| BadAnswer("it has none of them".to_owned()))?,
    };
    if let Some(bad) = result.channels.iter().find(|channel| check(channel).is_err()) {
        return Err(BadAnswer(format!("channels: a name of {} bytes is no channel's", bad.len())));
    }
    Ok(ConnectVerdict::Accept(Box::new(Admission {
        user: result.user,
        expires_at: expiry(result.expire_at),
        info: text(result.info),
        data: text(result.data),
        channels: result.channels,
        permissions: result.permissions.map(|json| json.get().as_bytes().into()),
    })))
}

fn subscribe_verdict(answer: Answer<'_>) -> Result<SubscribeVerdict, BadAnswer> {
    Ok(match answer {
        Answer { disconnect: Some(Disconnect { code, reason }), .. } => {
            SubscribeVerdict::Disconnect { code, reason }
        }
        Answer { error: Some(Refusal { code, message }), .. } => SubscribeVerdict::Refuse { code, message },
        Answer { result, .. } => {
            let result = result.ok_or_else(|| BadAnswer("it has none of them".to_owned()))?;
            SubscribeVerdict::Accept { info: text(result.info), expires_at: expiry(result.expire_at) }
        }
    })
}

#[derive(Serialize)]
struct Asked<'q> {
    client: String,
    transport: &'static str,
    protocol: &'static str,
    encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Fields<'q>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'q RawValue>,
}

impl Asked<'_> {
    fn new(client: SlotId, transport: Transport) -> Self {
        Self {
            client: client.to_string(),
            transport: super::transport_name(transport),
            protocol: "json",
            encoding: "json",
            user: None,
            channel: None,
            remote_addr: None,
            headers: None,
            data: None,
        }
    }
}

/// An object with a member for each field.
struct Fields<'q>(&'q [Header]);

impl Serialize for Fields<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|header| (&header.name, &header.value)))
    }
}

/// Text that is no JSON is left out: a backend that reads nothing refuses, one that reads junk may not.
fn raw(json: Option<&[u8]>) -> Option<&RawValue> {
    serde_json::from_slice(json?).ok()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<Accepted<'a>>,
    error: Option<Refusal>,
    disconnect: Option<Disconnect>,
}

#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(default)]
    user: Box<str>,
    #[serde(default)]
    expire_at: i64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    channels: Vec<Box<str>>,
    #[serde(borrow)]
    permissions: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    #[serde(default)]
    message: Box<str>,
}

#[derive(Deserialize)]
struct Disconnect {
    code: u32,
    #[serde(default)]
    reason: Box<str>,
}

fn parse(body: &[u8]) -> Result<Answer<'_>, BadAnswer> {
    // The text of the error may quote the answer, which is nobody's business in a log.
    serde_json::from_slice(body).map_err(|error| {
        BadAnswer(format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column()))
    })
}

fn text(json: Option<&RawValue>) -> Option<Arc<[u8]>> {
    json.map(|json| json.get().as_bytes().into())
}

/// 0 is never, and what is below it long past.
fn expiry(seconds: i64) -> Option<u64> {
    (seconds != 0).then(|| u64::try_from(seconds).unwrap_or(1))
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
