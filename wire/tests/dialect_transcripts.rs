//! The native dialect says what its transcript says: client lines are parsed, a model of one connection decides, the
//! encoders answer. The model stands for the server; what is tested are the texts.

#![expect(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{self, BadRequest, Command, Member, PresenceStats, Request, Since};

const TRANSCRIPT: &str = include_str!("transcripts/native.txt");
const CHANNELS_MAX: usize = 2;
const DATA_LEN_MAX: usize = 64;
/// Publications a channel keeps.
const HISTORY_SIZE: usize = 4;
/// The channel for which history and presence are switched off.
const PLAIN: &str = "plain";
const EPOCH: u32 = 0x4f21c;
const NAME: &str = "0-1f";
const USER: &str = "ann";
const TOKEN: &str = "e30.e30.c2ln";

#[test]
fn the_server_answers_as_the_transcript_says() {
    let mut model = Model::default();
    let mut lines = TRANSCRIPT.lines().enumerate().peekable();
    let mut exchanges = 0;
    while let Some((at, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut expected = Vec::new();
        while let Some((_, event)) = lines.next_if(|(_, next)| next.starts_with("< ")) {
            expected.push(&event[2..]);
        }
        match line.split_at(2) {
            ("> ", text) => model.on_text(text.as_bytes()),
            ("! ", happening) => model.on_happening(happening),
            _ => panic!("line {} is of no known kind: {line}", at + 1),
        }
        assert_eq!(model.take_said(), expected, "line {}: {line}", at + 1);
        exchanges += 1;
    }
    assert!(exchanges > 100, "only {exchanges} exchanges were replayed");
}

#[test]
fn the_transcript_shows_every_command_event_and_error_code() {
    let shown = |direction: &str, field: &str| -> BTreeSet<String> {
        let texts = TRANSCRIPT.lines().filter_map(|line| line.strip_prefix(direction));
        let objects = texts.filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        objects.filter_map(|object| Some(object.get(field)?.as_str()?.to_owned())).collect()
    };
    for command in [
        "join",
        "leave",
        "publish",
        "broadcast",
        "to_users",
        "history",
        "presence",
        "presence_stats",
        "ping",
        "auth",
        "refresh",
    ] {
        assert!(shown("> ", "type").contains(command), "{command}");
    }
    let events: BTreeSet<_> = [
        "welcome",
        "joined",
        "left",
        "message",
        "broadcast",
        "user_message",
        "history",
        "presence",
        "presence_stats",
        "member_joined",
        "member_left",
        "ack",
        "pong",
        "gap",
        "closing",
        "authenticated",
        "expired",
    ]
    .into_iter()
    .chain(["error"])
    .map(str::to_owned)
    .collect();
    assert_eq!(shown("< ", "type"), events);
    for code in ErrorCode::ALL {
        assert!(shown("< ", "code").contains(code.as_str()), "{}", code.as_str());
    }
}

/// One connection and the channels it can see.
#[derive(Default)]
struct Model {
    said: Vec<Vec<u8>>,
    joined: BTreeSet<String>,
    offsets: BTreeMap<String, u64>,
    history: BTreeMap<String, VecDeque<Publication>>,
    /// For each connection its user and what it brought.
    present: BTreeMap<String, (String, Option<String>)>,
    may_broadcast: bool,
    /// The next publication meets this.
    trouble: Option<ErrorCode>,
}

#[derive(Clone)]
struct Publication {
    offset: u64,
    data: Vec<u8>,
    from: String,
    tags: Option<Vec<u8>>,
}

type Refusal = (ErrorCode, &'static str);

impl Model {
    fn on_text(&mut self, text: &[u8]) {
        let request = match native::parse(text) {
            Ok(request) => request,
            Err(BadRequest { code, message, id }) => {
                return self.say(|out| native::error(out, code, message, id));
            }
        };
        let id = request.id;
        match self.on_request(request) {
            Ok(()) => {}
            Err((ErrorCode::RateLimited, message)) => {
                self.say(|out| native::rate_limited(out, message, Duration::from_micros(999_001), id));
            }
            Err((code, message)) => self.say(|out| native::error(out, code, message, id)),
        }
    }

    fn on_request(&mut self, request: Request<'_>) -> Result<(), Refusal> {
        let id = request.id;
        let mut offset = None;
        match request.command.clone() {
            Command::Ping => return self.answer(|out| native::pong(out, id)),
            Command::Auth { token } | Command::Refresh { token } => {
                if token != TOKEN {
                    return Err((ErrorCode::Unauthorized, "the token is not valid"));
                }
                let expires_in = matches!(request.command, Command::Refresh { .. }).then_some(600);
                return self.answer(|out| native::authenticated(out, USER, expires_in, id));
            }
            Command::Join { channel, token, .. } if channel.starts_with('$') && token.is_none() => {
                return Err((ErrorCode::Unauthorized, "the channel needs a token"));
            }
            Command::Join { channel, since, .. } => return self.join(&channel, since, id),
            Command::Leave { channel } => {
                if !self.joined.remove(&*channel) {
                    return Err((ErrorCode::NotJoined, "the connection is not in this channel"));
                }
                return self.answer(|out| native::left(out, &channel, id));
            }
            Command::History { channel, limit, since, reverse } => {
                return self.tell_history(&channel, limit, since, reverse, id);
            }
            Command::Presence { channel } | Command::PresenceStats { channel } if channel == PLAIN => {
                return Err((ErrorCode::NotAvailable, "presence is off for this channel"));
            }
            Command::Presence { channel } => return self.tell_presence(&channel, id),
            Command::PresenceStats { channel } => {
                let users: BTreeSet<_> = self.present.values().map(|(user, _)| user).collect();
                let stats =
                    PresenceStats { connections: self.present.len() as u64, users: users.len() as u64 };
                return self.answer(|out| native::presence_stats(out, &channel, stats, id));
            }
            Command::Publish { channel, data } => offset = Some(self.publish(&channel, data, NAME, None)?),
            Command::Broadcast { .. } if !self.may_broadcast => {
                return Err((ErrorCode::Forbidden, "broadcast is switched off"));
            }
            Command::Broadcast { data } => self.say(|out| native::broadcast(out, data, NAME, None)),
            Command::ToUsers { .. } if !self.may_broadcast => {
                return Err((ErrorCode::Forbidden, "to_users is switched off"));
            }
            Command::ToUsers { mut users, data } => {
                if users.any(|user| user == USER) {
                    self.say(|out| native::user_message(out, data, NAME, None));
                }
            }
        }
        if id.is_some() {
            self.say(|out| native::ack(out, offset, id));
        }
        Ok(())
    }

    fn join(&mut self, channel: &str, since: Option<Since>, id: Option<&[u8]>) -> Result<(), Refusal> {
        if self.joined.len() == CHANNELS_MAX && !self.joined.contains(channel) {
            return Err((ErrorCode::TooManyChannels, "a connection may join 2 channels"));
        }
        self.joined.insert(channel.to_owned());
        let offset = *self.offsets.entry(channel.to_owned()).or_default();
        let kept = self.history.get(channel).into_iter().flatten().cloned();
        let missed = since.map(|since| {
            let missed: Vec<_> = kept.filter(|kept| kept.offset > since.offset).collect();
            let is_ours = since.epoch == u64::from(EPOCH);
            (is_ours && since.offset + missed.len() as u64 == offset).then_some(missed)
        });
        let recovered = missed.as_ref().map(Option::is_some);
        self.say(|out| native::joined(out, channel, EPOCH, offset, recovered, id));
        for Publication { offset, data, from, tags } in missed.flatten().into_iter().flatten() {
            self.say(|out| native::message(out, channel, offset, &data, &from, tags.as_deref()));
        }
        Ok(())
    }

    fn tell_history(
        &mut self,
        channel: &str,
        limit: usize,
        since: Option<Since>,
        reverse: bool,
        id: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        if channel == PLAIN {
            return Err((ErrorCode::NotAvailable, "history is off for this channel"));
        }
        let is_wanted = |kept: &Publication| match since {
            None => true,
            Some(since) if since.epoch != u64::from(EPOCH) => false,
            Some(since) if reverse => kept.offset < since.offset,
            Some(since) => kept.offset > since.offset,
        };
        let mut wanted: Vec<_> = self.history.get(channel).into_iter().flatten().cloned().collect();
        wanted.retain(is_wanted);
        if reverse {
            wanted.reverse();
        }
        let offset = self.offsets.get(channel).copied().unwrap_or_default();
        self.answer(|out| {
            native::history_begin(out, channel, EPOCH, offset);
            for (at, publication) in wanted.iter().take(limit).enumerate() {
                let Publication { offset, data, from, tags } = publication;
                native::history_item(out, at == 0, *offset, data, from, tags.as_deref());
            }
            native::history_end(out, id);
        })
    }

    fn tell_presence(&mut self, channel: &str, id: Option<&[u8]>) -> Result<(), Refusal> {
        let present = self.present.clone();
        self.answer(|out| {
            native::presence_begin(out, channel);
            for (at, (connection, (user, info))) in present.iter().enumerate() {
                native::presence_item(out, at == 0, member(connection, user, info.as_deref()));
            }
            native::presence_end(out, id);
        })
    }

    fn publish(
        &mut self,
        channel: &str,
        data: &[u8],
        from: &str,
        tags: Option<&[u8]>,
    ) -> Result<u64, Refusal> {
        match self.trouble.take() {
            Some(code @ ErrorCode::TryAgain) => return Err((code, "the server is busy")),
            Some(code @ ErrorCode::RateLimited) => return Err((code, "too many messages")),
            Some(code) => return Err((code, "the server failed")),
            None => {}
        }
        if data.len() > DATA_LEN_MAX {
            return Err((ErrorCode::TooLarge, "data has more than 64 bytes"));
        }
        let last = self.offsets.entry(channel.to_owned()).or_default();
        *last += 1;
        let offset = *last;
        if channel != PLAIN {
            let kept = self.history.entry(channel.to_owned()).or_default();
            let tags = tags.map(<[u8]>::to_vec);
            kept.push_back(Publication { offset, data: data.to_vec(), from: from.to_owned(), tags });
            if kept.len() > HISTORY_SIZE {
                kept.pop_front();
            }
        }
        if self.joined.contains(channel) {
            self.say(|out| native::message(out, channel, offset, data, from, tags));
        }
        Ok(offset)
    }

    fn on_happening(&mut self, happening: &str) {
        let words: Vec<_> = happening.split(' ').collect();
        match words[..] {
            ["accept", name, "on", "shard", shard] => {
                self.say(|out| native::welcome(out, name, shard.parse().unwrap(), 30, false, None));
            }
            ["accept", name, "on", "shard", shard, "unknown"] => {
                self.say(|out| native::welcome(out, name, shard.parse().unwrap(), 30, true, None));
            }
            ["expire", secs] => self.say(|out| native::expired(out, secs.parse().unwrap())),
            ["publish", channel, ref data @ .., "from", from] => {
                let from = from.trim_start_matches('-');
                self.publish(channel, data.join(" ").as_bytes(), from, None).unwrap();
            }
            ["publish", channel, data, "tagged", tags] => {
                self.publish(channel, data.as_bytes(), "", Some(tags.as_bytes())).unwrap();
            }
            ["pass", channel, ref data @ ..] => {
                let data = data.join(" ");
                self.say(|out| native::message(out, channel, 0, data.as_bytes(), "", None));
            }
            ["come", channel, user, connection, ref info @ ..] => {
                let info = info.first().map(|info| (*info).to_owned());
                self.say(|out| {
                    native::member_joined(out, channel, member(connection, user, info.as_deref()));
                });
                self.present.insert(connection.to_owned(), (user.to_owned(), info));
            }
            ["open", user, connection] => {
                self.present.insert(connection.to_owned(), (user.trim_start_matches('-').to_owned(), None));
            }
            ["go", channel, connection] => {
                let (user, info) = self.present.remove(connection).unwrap();
                self.say(|out| {
                    native::member_left(out, channel, member(connection, &user, info.as_deref()));
                });
            }
            ["lose", channel, count] => {
                let last = self.offsets.get_mut(channel).unwrap();
                *last += count.parse::<u64>().unwrap();
                let offset = *last;
                self.say(|out| native::gap(out, channel, EPOCH, offset));
            }
            ["to-all", data, "tagged", tags] => {
                self.say(|out| native::broadcast(out, data.as_bytes(), "", Some(tags.as_bytes())));
            }
            ["to-all", ref data @ ..] => {
                self.say(|out| native::broadcast(out, data.join(" ").as_bytes(), "", None));
            }
            ["to-user", data, "tagged", tags] => {
                self.say(|out| native::user_message(out, data.as_bytes(), "", Some(tags.as_bytes())));
            }
            ["evict", channel] => {
                assert!(self.joined.remove(channel));
                self.say(|out| native::left(out, channel, None));
            }
            ["close", code, delay, ref reason @ ..] => {
                let delay = delay.parse().ok().map(Duration::from_millis);
                self.say(|out| native::closing(out, code.parse().unwrap(), &reason.join(" "), delay));
            }
            ["allow", "broadcast"] => self.may_broadcast = true,
            ["full"] => self.trouble = Some(ErrorCode::TryAgain),
            ["too", "fast"] => self.trouble = Some(ErrorCode::RateLimited),
            ["broken"] => self.trouble = Some(ErrorCode::Internal),
            _ => panic!("unknown happening: {happening}"),
        }
    }

    /// The answer of a command that is never acknowledged.
    fn answer(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), Refusal> {
        self.say(encode);
        Ok(())
    }

    fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.said.push(out);
    }

    fn take_said(&mut self) -> Vec<String> {
        self.said.drain(..).map(|text| String::from_utf8(text).unwrap()).collect()
    }
}

fn member<'a>(connection: &'a str, user: &'a str, info: Option<&'a str>) -> Member<'a> {
    Member { connection, user, info: info.map(str::as_bytes) }
}
