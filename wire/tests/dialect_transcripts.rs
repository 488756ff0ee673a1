//! The native dialect says what its transcript says: client lines are parsed, a model of one connection decides, the
//! encoders answer. The model stands for the server; what is tested are the texts.

#![expect(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{self, BadRequest, Command, Request};

const TRANSCRIPT: &str = include_str!("transcripts/native.txt");
const CHANNELS_MAX: usize = 2;
const DATA_LEN_MAX: usize = 64;
const EPOCH: &str = "e1";
const NAME: &str = "0-1f";
const USER: &str = "ann";

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
    assert!(exchanges > 60, "only {exchanges} exchanges were replayed");
}

#[test]
fn the_transcript_shows_every_command_event_and_error_code() {
    let shown = |direction: &str, field: &str| -> BTreeSet<String> {
        let texts = TRANSCRIPT.lines().filter_map(|line| line.strip_prefix(direction));
        let objects = texts.filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        objects.filter_map(|object| Some(object.get(field)?.as_str()?.to_owned())).collect()
    };
    for command in ["join", "leave", "publish", "broadcast", "to_users", "ping"] {
        assert!(shown("> ", "type").contains(command), "{command}");
    }
    let events: BTreeSet<_> = [
        "welcome",
        "joined",
        "left",
        "message",
        "broadcast",
        "user_message",
        "ack",
        "pong",
        "gap",
        "closing",
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
    may_broadcast: bool,
    /// The next publication meets this.
    trouble: Option<ErrorCode>,
}

impl Model {
    fn on_text(&mut self, text: &[u8]) {
        let request = match native::parse(text) {
            Ok(request) => request,
            Err(BadRequest { code, message, id }) => {
                return self.say(|out| native::error(out, code, message, id));
            }
        };
        let id = request.id;
        if let Err((code, message)) = self.on_request(request) {
            self.say(|out| native::error(out, code, message, id));
        }
    }

    fn on_request(&mut self, request: Request<'_>) -> Result<(), (ErrorCode, &'static str)> {
        let id = request.id;
        let mut offset = None;
        match request.command {
            Command::Ping => {
                self.say(|out| native::pong(out, id));
                return Ok(());
            }
            Command::Join { channel } => {
                if self.joined.len() == CHANNELS_MAX && !self.joined.contains(&*channel) {
                    return Err((ErrorCode::TooManyChannels, "a connection may join 2 channels"));
                }
                self.joined.insert(channel.to_string());
                let offset = *self.offsets.entry(channel.to_string()).or_default();
                self.say(|out| native::joined(out, &channel, EPOCH, offset, id));
                return Ok(());
            }
            Command::Leave { channel } => {
                if !self.joined.remove(&*channel) {
                    return Err((ErrorCode::NotJoined, "the connection is not in this channel"));
                }
                self.say(|out| native::left(out, &channel, id));
                return Ok(());
            }
            Command::Publish { channel, data } => offset = Some(self.publish(&channel, data, NAME)?),
            Command::Broadcast { .. } if !self.may_broadcast => {
                return Err((ErrorCode::Forbidden, "broadcast is switched off"));
            }
            Command::Broadcast { data } => self.say(|out| native::broadcast(out, data, NAME)),
            Command::ToUsers { .. } if !self.may_broadcast => {
                return Err((ErrorCode::Forbidden, "to_users is switched off"));
            }
            Command::ToUsers { mut users, data } => {
                if users.any(|user| user == USER) {
                    self.say(|out| native::user_message(out, data, NAME));
                }
            }
        }
        if id.is_some() {
            self.say(|out| native::ack(out, offset, id));
        }
        Ok(())
    }

    fn publish(&mut self, channel: &str, data: &[u8], from: &str) -> Result<u64, (ErrorCode, &'static str)> {
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
        if self.joined.contains(channel) {
            self.say(|out| native::message(out, channel, offset, data, from));
        }
        Ok(offset)
    }

    fn on_happening(&mut self, happening: &str) {
        let words: Vec<_> = happening.split(' ').collect();
        match words[..] {
            ["accept", name, "on", "shard", shard] => {
                self.say(|out| native::welcome(out, name, shard.parse().unwrap(), 30));
            }
            ["publish", channel, ref data @ .., "from", from] => {
                let from = from.trim_start_matches('-');
                self.publish(channel, data.join(" ").as_bytes(), from).unwrap();
            }
            ["lose", channel, count] => {
                let last = self.offsets.get_mut(channel).unwrap();
                *last += count.parse::<u64>().unwrap();
                let offset = *last;
                self.say(|out| native::gap(out, channel, EPOCH, offset));
            }
            ["to-all", ref data @ ..] => {
                self.say(|out| native::broadcast(out, data.join(" ").as_bytes(), ""));
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

    fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.said.push(out);
    }

    fn take_said(&mut self) -> Vec<String> {
        self.said.drain(..).map(|text| String::from_utf8(text).unwrap()).collect()
    }
}
