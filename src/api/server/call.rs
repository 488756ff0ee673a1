//! A request to the server API: method and JSON body to one [`Call`] that borrows from the body. Every error names
//! the field. Never carries a call out.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use highper_wire::dialect::channel::check;
use highper_wire::sse;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::job::PARTS_MAX;
use super::refusal::Refusal;
use crate::message::Position;

/// What a backend asks for. Channels passed the rule for names.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are the API's, documented in the README")]
pub enum Call<'a> {
    /// Publish into a channel.
    Publish { channel: Cow<'a, str>, publish: Publish<'a> },
    /// Publish into many channels.
    Broadcast { channels: Vec<Cow<'a, str>>, publish: Publish<'a> },
    /// Let a user's connections join a channel.
    Subscribe { user: Cow<'a, str>, channel: Cow<'a, str>, client: Option<Cow<'a, str>> },
    /// Let a user's connections leave a channel.
    Unsubscribe { user: Cow<'a, str>, channel: Cow<'a, str>, client: Option<Cow<'a, str>> },
    /// Close a user's connections.
    Disconnect {
        user: Cow<'a, str>,
        client: Option<Cow<'a, str>>,
        whitelist: Vec<Cow<'a, str>>,
        code: u16,
        reason: Cow<'a, str>,
    },
    /// Who is in a channel.
    Presence { channel: Cow<'a, str> },
    /// How many are in a channel.
    PresenceStats { channel: Cow<'a, str> },
    /// What a channel keeps; limit 0 tells its position alone.
    History { channel: Cow<'a, str>, limit: u32, since: Option<Position>, reverse: bool },
    /// Forget what a channel keeps.
    HistoryRemove { channel: Cow<'a, str> },
    /// Channels with subscribers.
    Channels { pattern: Option<Cow<'a, str>> },
    /// The nodes and their totals.
    Info,
    /// Send to every connection of some users.
    ToUsers { users: Vec<Cow<'a, str>>, publish: Publish<'a> },
    /// Send to every connection.
    ToAll { publish: Publish<'a> },
    /// Many calls, carried out in order.
    Batch(Vec<Call<'a>>),
}

/// What is published, and how.
#[derive(Debug)]
pub struct Publish<'a> {
    /// JSON text.
    pub data: Cow<'a, [u8]>,
    /// The name that streams of events give it.
    pub event: Option<Cow<'a, str>>,
    /// A JSON object.
    pub tags: Option<&'a str>,
    /// Whether the history leaves it out.
    pub skip_history: bool,
    /// The same key again is the same publication.
    pub idempotency_key: Option<Cow<'a, str>>,
}

/// Channels, users or calls that one call may name.
pub const LIST_MAX: usize = 1000;

/// Publications that one answer holds at most.
pub const HISTORY_LIMIT_MAX: u32 = 1000;

/// Bytes of the longest idempotency key, user or client name.
pub const NAME_LEN_MAX: usize = 255;

/// The code that a disconnected client is closed with, if the call says none: it may not come back at once.
const DISCONNECT_CODE: u16 = 3503;

/// Reads a request to `/api/METHOD`, or to `/api` with the method in the body.
pub fn parse<'a>(method: &str, body: &'a [u8]) -> Result<Call<'a>, Refusal> {
    let text = std::str::from_utf8(body).map_err(Refusal::not_json)?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    let call = match method {
        "" => {
            let Envelope { method, params } = read(text)?;
            let method = method.ok_or_else(|| Refusal::bad("method", "is missing"))?;
            call(&method.0, params.map_or("{}", RawValue::get), "params.", true)?
        }
        method => call(method, text, "", true)?,
    };
    match &call {
        Call::Batch(calls) if calls.iter().map(Call::parts).sum::<usize>() > PARTS_MAX => {
            Err(Refusal::bad("commands", "have more than 10000 parts together"))
        }
        _ => Ok(call),
    }
}

impl Call<'_> {
    /// Answers that it has.
    fn parts(&self) -> usize {
        match self {
            Self::Broadcast { channels, .. } => channels.len(),
            Self::ToUsers { users, .. } => users.len(),
            _ => 1,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Every field of every call, unread.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    users: Option<&'a RawValue>,
    #[serde(borrow)]
    client: Option<&'a RawValue>,
    #[serde(borrow)]
    whitelist: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    b64data: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    skip_history: Option<&'a RawValue>,
    #[serde(borrow)]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    reverse: Option<&'a RawValue>,
    #[serde(borrow)]
    pattern: Option<&'a RawValue>,
    #[serde(borrow)]
    disconnect: Option<&'a RawValue>,
    #[serde(borrow)]
    commands: Option<&'a RawValue>,
}

/// A value that may be null, which is published like any other.
fn even_null<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// One call; `path` is what its fields are called after in errors.
fn call<'a>(method: &str, text: &'a str, path: &str, may_batch: bool) -> Result<Call<'a>, Refusal> {
    let fields: Fields<'a> = read(text)?;
    let at = At { path, fields: &fields };
    Ok(match method {
        "publish" => Call::Publish { channel: at.channel()?, publish: at.publish()? },
        "broadcast" => Call::Broadcast { channels: at.channels()?, publish: at.publish()? },
        "to_users" => {
            let users = at.list("users", fields.users, |_| Ok(()))?;
            Call::ToUsers { users, publish: at.publish()? }
        }
        "to_all" => Call::ToAll { publish: at.publish()? },
        "subscribe" => Call::Subscribe { user: at.user()?, channel: at.channel()?, client: at.client()? },
        "unsubscribe" => Call::Unsubscribe { user: at.user()?, channel: at.channel()?, client: at.client()? },
        "disconnect" => at.disconnect()?,
        "presence" => Call::Presence { channel: at.channel()? },
        "presence_stats" => Call::PresenceStats { channel: at.channel()? },
        "history" => at.history()?,
        "history_remove" => Call::HistoryRemove { channel: at.channel()? },
        "channels" => Call::Channels { pattern: at.name("pattern", fields.pattern)? },
        "info" => Call::Info,
        "batch" if may_batch => at.batch()?,
        _ => return Err(Refusal::no_method()),
    })
}

/// The fields of one call, and where it stands in the body.
struct At<'p, 'f, 'a> {
    path: &'p str,
    fields: &'f Fields<'a>,
}

impl<'a> At<'_, '_, 'a> {
    fn bad(&self, name: &str, problem: &str) -> Refusal {
        Refusal::bad(format!("{}{name}", self.path), problem)
    }

    fn value<T: Deserialize<'a>>(
        &self,
        name: &str,
        raw: Option<&'a RawValue>,
        wanted: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.bad(name, wanted))
    }

    /// An optional name; SDKs send an empty one for none.
    fn name(&self, name: &str, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Refusal> {
        let Some(Text(text)) = self.value(name, raw, "must be a string")? else { return Ok(None) };
        if text.len() > NAME_LEN_MAX {
            return Err(self.bad(name, "is longer than 255 bytes"));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn user(&self) -> Result<Cow<'a, str>, Refusal> {
        self.name("user", self.fields.user)?.ok_or_else(|| self.bad("user", "is missing"))
    }

    fn client(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.name("client", self.fields.client)
    }

    fn channel(&self) -> Result<Cow<'a, str>, Refusal> {
        let channel = self.value("channel", self.fields.channel, "must be a string")?;
        let Some(Text(channel)) = channel else { return Err(self.bad("channel", "is missing")) };
        check(&channel).map_err(|error| self.bad("channel", error.message()))?;
        Ok(channel)
    }

    fn channels(&self) -> Result<Vec<Cow<'a, str>>, Refusal> {
        self.list("channels", self.fields.channels, |name| check(name).map_err(|error| error.message()))
    }

    fn list(
        &self,
        name: &str,
        raw: Option<&'a RawValue>,
        judge: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Result<Vec<Cow<'a, str>>, Refusal> {
        let list: Option<Vec<Text<'a>>> = self.value(name, raw, "must be a list of strings")?;
        let list = list.filter(|list| !list.is_empty()).ok_or_else(|| self.bad(name, "is missing"))?;
        if list.len() > LIST_MAX {
            return Err(self.bad(name, "has more than 1000 elements"));
        }
        for (place, Text(text)) in list.iter().enumerate() {
            let fits = (1..=NAME_LEN_MAX).contains(&text.len());
            let judged = if fits { judge(text) } else { Err("must have 1 to 255 bytes") };
            judged.map_err(|problem| self.bad(&format!("{name}[{place}]"), problem))?;
        }
        Ok(list.into_iter().map(|Text(text)| text).collect())
    }

    fn publish(&self) -> Result<Publish<'a>, Refusal> {
        let fields = self.fields;
        let data = match (fields.data, fields.b64data) {
            // Beside other data, null is none.
            (Some(data), Some(encoded)) if data.get() == "null" => Cow::Owned(self.decoded(encoded)?),
            (Some(data), _) => Cow::Borrowed(data.get().as_bytes()),
            (None, Some(encoded)) => Cow::Owned(self.decoded(encoded)?),
            (None, None) => return Err(self.bad("data", "is missing")),
        };
        let event = self.name("event", fields.event)?;
        if let Some(Err(_)) = event.as_deref().map(sse::check_name) {
            return Err(self.bad("event", "must have no line ends and no NUL"));
        }
        let tags = fields.tags.map(RawValue::get).filter(|tags| *tags != "null" && *tags != "{}");
        if tags.is_some_and(|tags| !tags.starts_with('{')) {
            return Err(self.bad("tags", "must be an object"));
        }
        let skip_history = self.value("skip_history", fields.skip_history, "must be true or false")?;
        let idempotency_key = self.name("idempotency_key", fields.idempotency_key)?;
        Ok(Publish { data, event, tags, skip_history: skip_history.unwrap_or_default(), idempotency_key })
    }

    fn decoded(&self, raw: &'a RawValue) -> Result<Vec<u8>, Refusal> {
        let wanted = "must be JSON in base64";
        let text = self.value("b64data", Some(raw), wanted)?;
        let Some(Text(text)) = text else { return Err(self.bad("b64data", wanted)) };
        let bytes = STANDARD.decode(&*text).map_err(|_| self.bad("b64data", wanted))?;
        let is_json = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        if is_json { Ok(bytes) } else { Err(self.bad("b64data", wanted)) }
    }

    fn disconnect(&self) -> Result<Call<'a>, Refusal> {
        #[derive(Deserialize)]
        struct Disconnect<'a> {
            code: Option<u16>,
            #[serde(borrow)]
            reason: Option<Text<'a>>,
        }
        let fields = self.fields;
        let wanted = "must be an object with code and reason";
        let disconnect: Option<Disconnect<'a>> = self.value("disconnect", fields.disconnect, wanted)?;
        let (code, reason) = disconnect.map_or((None, None), |object| (object.code, object.reason));
        let code = code.filter(|code| *code != 0).unwrap_or(DISCONNECT_CODE);
        if !(3000..5000).contains(&code) {
            return Err(self.bad("disconnect.code", "must be 3000 to 4999"));
        }
        let reason = reason.map_or(Cow::Borrowed("disconnected"), |Text(reason)| reason);
        if reason.len() > 123 {
            return Err(self.bad("disconnect.reason", "is longer than 123 bytes"));
        }
        let whitelist: Option<Vec<Text<'a>>> =
            self.value("whitelist", fields.whitelist, "must be a list of strings")?;
        let whitelist = whitelist.into_iter().flatten().map(|Text(text)| text).collect();
        Ok(Call::Disconnect { user: self.user()?, client: self.client()?, whitelist, code, reason })
    }

    fn history(&self) -> Result<Call<'a>, Refusal> {
        #[derive(Deserialize)]
        struct Since<'a> {
            offset: u64,
            #[serde(borrow)]
            epoch: Text<'a>,
        }
        let fields = self.fields;
        let limit: i64 = self.value("limit", fields.limit, "must be a number")?.unwrap_or(0);
        // -1 is "no limit" for the SDKs.
        let limit = u32::try_from(limit).unwrap_or(HISTORY_LIMIT_MAX).min(HISTORY_LIMIT_MAX);
        let since: Option<Since<'a>> =
            self.value("since", fields.since, "must be an object with offset and epoch")?;
        let since = since.map(|Since { offset, epoch }| {
            // An epoch that is not ours is one that no channel has.
            Position {
                epoch: u32::from_str_radix(&epoch.0, 16).map_or(Position::UNKNOWN.epoch, u64::from),
                offset,
            }
        });
        let reverse = self.value("reverse", fields.reverse, "must be true or false")?.unwrap_or(false);
        Ok(Call::History { channel: self.channel()?, limit, since, reverse })
    }

    fn batch(&self) -> Result<Call<'a>, Refusal> {
        let commands: Option<Vec<&'a RawValue>> =
            self.value("commands", self.fields.commands, "must be a list of calls")?;
        let commands = commands.filter(|commands| !commands.is_empty());
        let commands = commands.ok_or_else(|| self.bad("commands", "is missing"))?;
        if commands.len() > LIST_MAX {
            return Err(self.bad("commands", "has more than 1000 elements"));
        }
        let calls = commands.iter().enumerate().map(|(place, raw)| {
            let here = format!("{}commands[{place}]", self.path);
            let wanted = "must be an object with one call, such as {\"publish\":{…}}";
            let entry: Option<(Text<'a>, &'a RawValue)> = single(raw);
            let (Text(method), params) = entry.ok_or_else(|| Refusal::bad(&here, wanted))?;
            call(&method, params.get(), &format!("{here}.{method}."), false)
        });
        Ok(Call::Batch(calls.collect::<Result<_, _>>()?))
    }
}

/// The one member of an object.
fn single<'a>(raw: &'a RawValue) -> Option<(Text<'a>, &'a RawValue)> {
    let map: std::collections::HashMap<String, &'a RawValue> = serde_json::from_str(raw.get()).ok()?;
    let mut members = map.into_iter().filter(|(_, value)| value.get() != "null");
    let (name, value) = members.next()?;
    members.next().is_none().then_some((Text(Cow::Owned(name)), value))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(Refusal::not_json)
}
