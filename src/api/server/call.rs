//! A request to the server API: method and JSON body to one [`Call`] that borrows from the body. Every error names
//! the field. Never carries a call out.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use highper_wire::dialect::channel::check;
use highper_wire::sse;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::job::PARTS_MAX;
use super::json::{self, Single, Text};
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
    /// Refuse a user's tokens that were made before this moment, seconds since 1970 (now if left out), and close the
    /// connections that they opened.
    Revoke { user: Cow<'a, str>, issued_before: Option<u64> },
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
    /// The same in the older form: calls after one another in the body, answers after one another in the response.
    Lines(Vec<Call<'a>>),
}

/// What is published, and how.
#[derive(Debug)]
pub struct Publish<'a> {
    /// JSON text.
    pub data: Cow<'a, [u8]>,
    /// The name that streams of events give it.
    pub event: Option<Cow<'a, str>>,
    /// A JSON object of strings.
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

/// Publications that the answers to the calls of one request hold together at most.
const PUBLICATIONS_MAX: u32 = 10 * HISTORY_LIMIT_MAX;

/// Bytes of the longest idempotency key, user or client name.
pub const NAME_LEN_MAX: usize = 255;

/// The code that a disconnected client is closed with, if the call says none: it may not come back at once.
const DISCONNECT_CODE: u16 = 3503;

/// Reads a request to `/api/METHOD`, or to `/api` with the method in the body.
///
/// # Errors
/// What is wrong with the request, at which field. One bad call refuses all calls of the request.
pub fn parse<'a>(method: &str, body: &'a [u8]) -> Result<Call<'a>, Refusal> {
    let text = std::str::from_utf8(body).map_err(Refusal::not_json)?;
    let text = if text.trim_ascii().is_empty() { "{}" } else { text };
    match method {
        "" => lines(text),
        method => call(method, text, "", true),
    }
}

/// `{"method":…,"params":{…}}`, once or several times.
fn lines(text: &str) -> Result<Call<'_>, Refusal> {
    let mut commands = Vec::new();
    for command in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        commands.push(command.map_err(Refusal::not_json)?.get());
        if commands.len() > LIST_MAX {
            return Err(Refusal::not_json("holds more than 1000 calls"));
        }
    }
    if let [command] = commands[..] {
        return line(command, "", true);
    }
    let commands = commands.into_iter().enumerate();
    let calls = commands.map(|(place, command)| line(command, &format!("[{place}]."), false));
    together(calls.collect::<Result<_, _>>()?, "body").map(Call::Lines)
}

fn line<'a>(text: &'a str, path: &str, may_batch: bool) -> Result<Call<'a>, Refusal> {
    let Envelope { method, params } = read(text, path)?;
    let bad = |problem| Refusal::bad(format!("{path}method"), problem);
    let Text(method) = match method {
        Some(method) => serde_json::from_str(method.get()).map_err(|_| bad("must be a string"))?,
        None => return Err(bad("is missing")),
    };
    call(&method, params.map_or("{}", RawValue::get), &format!("{path}params."), may_batch)
}

/// Calls of one request, if their answers fit into memory together.
fn together<'a>(calls: Vec<Call<'a>>, field: &str) -> Result<Vec<Call<'a>>, Refusal> {
    if calls.iter().map(Call::parts).sum::<usize>() > PARTS_MAX {
        return Err(Refusal::bad(field, "have more than 10000 parts together"));
    }
    if calls.iter().map(Call::publications).sum::<u32>() > PUBLICATIONS_MAX {
        return Err(Refusal::bad(field, "ask for more than 10000 publications together"));
    }
    Ok(calls)
}

impl Call<'_> {
    /// Answers that it has.
    fn parts(&self) -> usize {
        match self {
            Self::Broadcast { channels, .. } => channels.len(),
            Self::ToUsers { users, .. } => users.len(),
            Self::Batch(calls) | Self::Lines(calls) => calls.iter().map(Self::parts).sum(),
            Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Disconnect { .. }
            | Self::Revoke { .. }
            | Self::Presence { .. }
            | Self::PresenceStats { .. }
            | Self::History { .. }
            | Self::HistoryRemove { .. }
            | Self::Channels { .. }
            | Self::Info
            | Self::ToAll { .. } => 1,
        }
    }

    /// Publications that its answer holds at most.
    fn publications(&self) -> u32 {
        if let Self::History { limit, .. } = self { *limit } else { 0 }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

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
    session: Option<&'a RawValue>,
    #[serde(borrow)]
    whitelist: Option<&'a RawValue>,
    /// Here `null` is a value like any other.
    #[serde(borrow, default, deserialize_with = "json::present")]
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
    issued_before: Option<&'a RawValue>,
    #[serde(borrow)]
    commands: Option<&'a RawValue>,
}

/// One call; `path` is what its fields are called after in errors.
fn call<'a>(method: &str, text: &'a str, path: &str, may_batch: bool) -> Result<Call<'a>, Refusal> {
    let fields: Fields<'a> = read(text, path)?;
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
        "revoke" => {
            let wanted = "must be a whole number of seconds since 1970";
            let issued_before = at.value("issued_before", fields.issued_before, wanted)?;
            Call::Revoke { user: at.user()?, issued_before }
        }
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

    fn object<T: Deserialize<'a>>(
        &self,
        name: &str,
        raw: Option<&'a RawValue>,
        wanted: &str,
    ) -> Result<Option<T>, Refusal> {
        raw.map(|raw| json::object(raw.get())).transpose().map_err(|_| self.bad(name, wanted))
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

    /// The one connection that is meant.
    fn client(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        // Who means one session must not reach all connections of the user.
        if self.name("session", self.fields.session)?.is_some() {
            return Err(self.bad("session", "is not known here; use client"));
        }
        self.name("client", self.fields.client)
    }

    fn channel(&self) -> Result<Cow<'a, str>, Refusal> {
        let channel = self.value("channel", self.fields.channel, "must be a string")?;
        let Some(Text(channel)) = channel else { return Err(self.bad("channel", "is missing")) };
        judge_channel(&channel).map_err(|problem| self.bad("channel", problem))?;
        Ok(channel)
    }

    fn channels(&self) -> Result<Vec<Cow<'a, str>>, Refusal> {
        self.list("channels", self.fields.channels, judge_channel)
    }

    fn list(
        &self,
        name: &str,
        raw: Option<&'a RawValue>,
        judge: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Result<Vec<Cow<'a, str>>, Refusal> {
        let list: Option<Vec<Text<'a>>> = self.value(name, raw, "must be a list of strings")?;
        let list = self.bounded(name, list)?;
        for (place, Text(text)) in list.iter().enumerate() {
            let fits = (1..=NAME_LEN_MAX).contains(&text.len());
            let judged = if fits { judge(text) } else { Err("must have 1 to 255 bytes") };
            judged.map_err(|problem| self.bad(&format!("{name}[{place}]"), problem))?;
        }
        Ok(list.into_iter().map(|Text(text)| text).collect())
    }

    /// A list of 1 to [`LIST_MAX`] elements.
    fn bounded<T>(&self, name: &str, list: Option<Vec<T>>) -> Result<Vec<T>, Refusal> {
        let list = list.ok_or_else(|| self.bad(name, "is missing"))?;
        match list.len() {
            0 => Err(self.bad(name, "is empty")),
            1..=LIST_MAX => Ok(list),
            _ => Err(self.bad(name, "has more than 1000 elements")),
        }
    }

    fn publish(&self) -> Result<Publish<'a>, Refusal> {
        let fields = self.fields;
        let data = match (fields.data, fields.b64data) {
            (None, None) => return Err(self.bad("data", "is missing")),
            (Some(data), encoded) if encoded.is_none() || data.get() != "null" => {
                let data = json::document(data.get().as_bytes());
                Cow::Borrowed(data.map_err(|problem| self.bad("data", problem))?)
            }
            (_, encoded) => Cow::Owned(self.decoded(encoded)?),
        };
        let event = self.name("event", fields.event)?;
        if let Some(Err(_)) = event.as_deref().map(sse::check_name) {
            return Err(self.bad("event", "must have no line ends and no NUL"));
        }
        let tags = fields.tags.map(|tags| json::tags(tags.get())).transpose();
        let tags = tags.map_err(|problem| self.bad("tags", problem))?.flatten();
        let skip_history = self.value("skip_history", fields.skip_history, "must be true or false")?;
        let idempotency_key = self.name("idempotency_key", fields.idempotency_key)?;
        Ok(Publish { data, event, tags, skip_history: skip_history.unwrap_or_default(), idempotency_key })
    }

    fn decoded(&self, raw: Option<&'a RawValue>) -> Result<Vec<u8>, Refusal> {
        let wanted = "must be JSON in base64";
        let text = self.value("b64data", raw, wanted)?;
        let Some(Text(text)) = text else { return Err(self.bad("b64data", wanted)) };
        let bytes = STANDARD.decode(&*text).map_err(|_| self.bad("b64data", wanted))?;
        // A document is JSON; that it is text is for us to see.
        std::str::from_utf8(&bytes).map_err(|_| self.bad("b64data", wanted))?;
        match json::document(&bytes) {
            Ok(document) => Ok(document.to_vec()),
            Err("must be JSON") => Err(self.bad("b64data", wanted)),
            Err(problem) => Err(self.bad("b64data", problem)),
        }
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
        let disconnect: Option<Disconnect<'a>> = self.object("disconnect", fields.disconnect, wanted)?;
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
        let whitelist = match whitelist.filter(|list| !list.is_empty()) {
            Some(list) => self.bounded("whitelist", Some(list))?,
            None => Vec::new(),
        };
        let whitelist = whitelist.into_iter().map(|Text(text)| text).collect();
        Ok(Call::Disconnect { user: self.user()?, client: self.client()?, whitelist, code, reason })
    }

    fn history(&self) -> Result<Call<'a>, Refusal> {
        #[derive(Deserialize)]
        struct Since<'a> {
            // SDKs leave a zero out.
            #[serde(default)]
            offset: u64,
            #[serde(borrow)]
            epoch: Option<Text<'a>>,
        }
        let fields = self.fields;
        let limit: i64 = self.value("limit", fields.limit, "must be a whole number")?.unwrap_or(0);
        // -1 is "no limit" for the SDKs.
        let limit = u32::try_from(limit).unwrap_or(HISTORY_LIMIT_MAX).min(HISTORY_LIMIT_MAX);
        let wanted = "must be an object with offset and epoch";
        let since: Option<Since<'a>> = self.object("since", fields.since, wanted)?;
        let since = match since {
            None => None,
            Some(Since { epoch: None, .. }) => return Err(self.bad("since.epoch", "is missing")),
            Some(Since { offset, epoch: Some(Text(epoch)) }) => Some(position(offset, &epoch)),
        };
        let reverse = self.value("reverse", fields.reverse, "must be true or false")?.unwrap_or(false);
        Ok(Call::History { channel: self.channel()?, limit, since, reverse })
    }

    fn batch(&self) -> Result<Call<'a>, Refusal> {
        let commands: Option<Vec<&'a RawValue>> =
            self.value("commands", self.fields.commands, "must be a list of calls")?;
        let commands = self.bounded("commands", commands)?;
        let calls = commands.into_iter().enumerate().map(|(place, raw)| {
            let here = format!("{}commands[{place}]", self.path);
            let wanted = "must be an object with one call, such as {\"publish\":{…}}";
            let Single { name: Text(method), value } =
                serde_json::from_str(raw.get()).map_err(|_| Refusal::bad(&here, wanted))?;
            call(&method, value.get(), &format!("{here}.{method}."), false)
        });
        let calls = calls.collect::<Result<_, _>>()?;
        together(calls, &format!("{}commands", self.path)).map(Call::Batch)
    }
}

/// The rule for names, said without the word that the field's name says already.
fn judge_channel(name: &str) -> Result<(), &'static str> {
    check(name).map_err(|error| {
        let problem = error.message();
        problem.strip_prefix("channel ").unwrap_or(problem)
    })
}

/// An epoch that is not ours is one that no channel has.
fn position(offset: u64, epoch: &str) -> Position {
    let is_ours = epoch.len() == 8 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
    let epoch = is_ours.then(|| u32::from_str_radix(epoch, 16).ok()).flatten();
    Position { epoch: epoch.map_or(Position::UNKNOWN.epoch, u64::from), offset }
}

/// An object; `path` is what its fields are called after in errors.
fn read<'a, T: Deserialize<'a>>(text: &'a str, path: &str) -> Result<T, Refusal> {
    json::object(text).map_err(|error| match path.trim_end_matches('.') {
        "" => Refusal::not_json(error),
        path => Refusal::bad(path, &error.to_string()),
    })
}
