//! What a client of the native dialect asks: one text message to one [`Request`] that borrows from it.
//! Never copies data, never allocates unless a name is written with escapes, never repeats the text in an error.

use std::borrow::Cow;

use crate::dialect::ErrorCode;
use crate::dialect::channel::{self, BadChannel, CHANNEL_LEN_MAX};
use crate::dialect::scan::{Elements, Fault, Member, Members, ScanError, Value};

/// Bytes of the longest `id`, quotes included: room for a UUID in quotes, and the answer stays small.
pub const ID_LEN_MAX: usize = 64;

/// Users one `to_users` may name: each is a publication of its own, so one command cannot fill a lane of the mesh.
pub const USERS_MAX: usize = 256;

/// Bytes of the longest user name, the same as of a channel's name: a user has a channel.
pub const USER_LEN_MAX: usize = CHANNEL_LEN_MAX;

/// Publications one `history` may ask for: the answer is one message, which an outbox has to take whole.
pub const HISTORY_LIMIT_MAX: usize = 1000;

/// Publications that `history` gives if it does not say how many.
pub const HISTORY_LIMIT_DEFAULT: usize = 100;

/// Bytes of the longest token.
pub const TOKEN_LEN_MAX: usize = 8192;

/// Bytes of the longest `epoch` in a `since`: room for those of other servers, which match nothing here.
pub const EPOCH_LEN_MAX: usize = 64;

/// One message of a client.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client's mark, a JSON string or number of at most [`ID_LEN_MAX`] bytes as sent; the answer repeats it.
    pub id: Option<&'a [u8]>,
    /// What to do.
    pub command: Command<'a>,
}

/// What a client can ask for. Channels passed [`channel::check`]; `data` is checked JSON as sent.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the dialect's, documented in its table")]
pub enum Command<'a> {
    /// Say who the client is, as first command.
    Auth { token: Cow<'a, str> },
    /// Go on with a newer token of the same user.
    Refresh { token: Cow<'a, str> },
    /// Subscribe the connection, and send what it missed after `since`. The token allows this channel.
    Join { channel: Cow<'a, str>, since: Option<Since>, token: Option<Cow<'a, str>> },
    /// End a subscription.
    Leave { channel: Cow<'a, str> },
    /// Send to all in a channel.
    Publish { channel: Cow<'a, str>, data: &'a [u8] },
    /// Send to every connection.
    Broadcast { data: &'a [u8] },
    /// Send to all connections of some users.
    ToUsers { users: Users<'a>, data: &'a [u8] },
    /// Answer with what the channel keeps: at most `limit` publications, 0 to [`HISTORY_LIMIT_MAX`].
    History { channel: Cow<'a, str>, limit: usize, since: Option<Since>, reverse: bool },
    /// Answer with who is in the channel.
    Presence { channel: Cow<'a, str> },
    /// Answer with how many are in the channel.
    PresenceStats { channel: Cow<'a, str> },
    /// Answer with `pong`.
    Ping,
}

/// A position in a channel that a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Our epochs are below 2^32. The text of another server's is read as [`Since::FOREIGN_EPOCH`], or as whatever its
    /// 1 to 16 hexadecimal digits say: a place that cannot be recovered is not the client's error.
    pub epoch: u64,
    /// The last publication seen; 0 if none.
    pub offset: u64,
}

/// The users of a `to_users`: 1 to [`USERS_MAX`] names of 1 to [`USER_LEN_MAX`] bytes, in the order sent; a name given
/// twice comes twice.
#[derive(Clone, Debug)]
pub struct Users<'a> {
    elements: Elements<'a>,
    left: usize,
}

/// A message that is no [`Request`]: what [`super::error`] needs to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct BadRequest<'a> {
    /// One of `BadJson`, `TooDeep`, `BadRequest`, `UnknownType`, `BadChannel`.
    pub code: ErrorCode,
    /// Names the field; holds nothing of the text.
    pub message: &'static str,
    /// The id, if the text was readable and its id usable.
    pub id: Option<&'a [u8]>,
}

/// Reads one text message, which the transport has checked to be UTF-8 (if it is not, nothing worse happens than a
/// refusal or invalid text in the event). Takes time linear in its length and constant memory.
pub fn parse(text: &[u8]) -> Result<Request<'_>, BadRequest<'_>> {
    let fields = Fields::read(text).map_err(|error| Problem::from(error).with_id(None))?;
    let id = fields.id().map_err(|problem| problem.with_id(None))?;
    let command = fields.command().map_err(|problem| problem.with_id(id))?;
    Ok(Request { id, command })
}

impl<'a> Iterator for Users<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        self.left = self.left.saturating_sub(1);
        self.elements.next()?.string()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Users<'_> {}

/// The dialect's own fields as found in the text, not yet judged.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Value<'a>>,
    id: Option<Value<'a>>,
    channel: Option<Value<'a>>,
    data: Option<Value<'a>>,
    users: Option<Value<'a>>,
    since: Option<Value<'a>>,
    limit: Option<Value<'a>>,
    reverse: Option<Value<'a>>,
    token: Option<Value<'a>>,
    /// One of them that was given twice; `id` if that was.
    twice: Option<&'static Field>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a [u8]) -> Result<Self, ScanError> {
        let mut fields = Self::default();
        let mut members = Members::of(text)?;
        while let Some(Member { key, value }) = members.next_member()? {
            let name = key.string_bytes().unwrap_or_default();
            if !fields.put(name, value) && may_be_escaped(name, FIELD_NAME_LEN_MAX) {
                fields.put_escaped(key, value);
            }
        }
        Ok(fields)
    }

    /// Keeps `value` if `name` is one of ours.
    #[inline(always)]
    fn put(&mut self, name: &[u8], value: Value<'a>) -> bool {
        let (place, field) = match name {
            b"type" => (&mut self.kind, &TYPE),
            b"id" => (&mut self.id, &ID),
            b"channel" => (&mut self.channel, &CHANNEL),
            b"data" => (&mut self.data, &DATA),
            b"users" => (&mut self.users, &USERS),
            b"since" => (&mut self.since, &SINCE),
            b"limit" => (&mut self.limit, &LIMIT),
            b"reverse" => (&mut self.reverse, &REVERSE),
            b"token" => (&mut self.token, &TOKEN),
            _ => return false,
        };
        if place.replace(value).is_some() && (self.twice.is_none() || *field == ID) {
            self.twice = Some(field);
        }
        true
    }

    #[cold]
    fn put_escaped(&mut self, key: Value<'a>, value: Value<'a>) {
        self.put(key.string().unwrap_or_default().as_bytes(), value);
    }

    fn id(&self) -> Result<Option<&'a [u8]>, Problem> {
        // Which of two ids was meant is unknown, so neither is repeated.
        if self.twice == Some(&ID) {
            return Err(bad(ID.twice));
        }
        match self.id {
            None => Ok(None),
            Some(value) if value.is_null() => Ok(None),
            Some(value) if value.raw().len() > ID_LEN_MAX => Err(bad(ID.wrong)),
            Some(value) if value.is_number() || value.string_bytes().is_some() => Ok(Some(value.raw())),
            Some(_) => Err(bad(ID.wrong)),
        }
    }

    fn command(&self) -> Result<Command<'a>, Problem> {
        if let Some(field) = self.twice {
            return Err(bad(field.twice));
        }
        let kind = self.kind.ok_or(bad(TYPE.missing))?;
        let name = kind.string_bytes().ok_or(bad(TYPE.wrong))?;
        match self.command_named(name) {
            Some(command) => command,
            None if may_be_escaped(name, COMMAND_NAME_LEN_MAX) => {
                let name = kind.string().ok_or(bad(TYPE.wrong))?;
                self.command_named(name.as_bytes()).unwrap_or(Err(UNKNOWN_TYPE))
            }
            None => Err(UNKNOWN_TYPE),
        }
    }

    #[inline]
    fn command_named(&self, name: &[u8]) -> Option<Result<Command<'a>, Problem>> {
        Some(match name {
            b"publish" => self.publish(),
            b"join" => self.join(),
            b"leave" => self.channel().map(|channel| Command::Leave { channel }),
            b"broadcast" => self.data().map(|data| Command::Broadcast { data }),
            b"to_users" => self.to_users(),
            b"history" => self.history(),
            b"presence" => self.channel().map(|channel| Command::Presence { channel }),
            b"presence_stats" => self.channel().map(|channel| Command::PresenceStats { channel }),
            b"ping" => Ok(Command::Ping),
            b"auth" => self.needed_token().map(|token| Command::Auth { token }),
            b"refresh" => self.needed_token().map(|token| Command::Refresh { token }),
            _ => return None,
        })
    }

    fn join(&self) -> Result<Command<'a>, Problem> {
        Ok(Command::Join { channel: self.channel()?, since: self.since()?, token: self.token()? })
    }

    fn publish(&self) -> Result<Command<'a>, Problem> {
        Ok(Command::Publish { channel: self.channel()?, data: self.data()? })
    }

    fn to_users(&self) -> Result<Command<'a>, Problem> {
        Ok(Command::ToUsers { users: self.users()?, data: self.data()? })
    }

    fn history(&self) -> Result<Command<'a>, Problem> {
        let (channel, since) = (self.channel()?, self.since()?);
        Ok(Command::History { channel, limit: self.limit()?, since, reverse: self.reverse()? })
    }

    fn channel(&self) -> Result<Cow<'a, str>, Problem> {
        let value = self.channel.ok_or(bad(CHANNEL.missing))?;
        let written = value.string_bytes().ok_or(bad(CHANNEL.wrong))?;
        if written.len() > CHANNEL_LEN_MAX * ESCAPE_LEN_MAX {
            return Err(BadChannel::TooLong.into());
        }
        let name = value.string().ok_or(BadChannel::NotAscii)?;
        channel::check(&name)?;
        Ok(name)
    }

    fn token(&self) -> Result<Option<Cow<'a, str>>, Problem> {
        let Some(value) = self.token else { return Ok(None) };
        let written = value.string_bytes().filter(|written| written.len() <= TOKEN_LEN_MAX);
        let token = written.and_then(|_| value.string()).filter(|token| !token.is_empty());
        token.map(Some).ok_or(bad(TOKEN.wrong))
    }

    fn needed_token(&self) -> Result<Cow<'a, str>, Problem> {
        self.token()?.ok_or(bad(TOKEN.missing))
    }

    fn data(&self) -> Result<&'a [u8], Problem> {
        self.data.map(Value::raw).ok_or(bad(DATA.missing))
    }

    fn since(&self) -> Result<Option<Since>, Problem> {
        let Some(value) = self.since else { return Ok(None) };
        Since::read(value).map(Some).ok_or(bad(SINCE.wrong))
    }

    fn limit(&self) -> Result<usize, Problem> {
        let Some(value) = self.limit else { return Ok(HISTORY_LIMIT_DEFAULT) };
        let limit = whole_number(value).and_then(|limit| usize::try_from(limit).ok());
        limit.filter(|limit| *limit <= HISTORY_LIMIT_MAX).ok_or(bad(LIMIT.wrong))
    }

    fn reverse(&self) -> Result<bool, Problem> {
        match self.reverse.map(Value::raw) {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(_) => Err(bad(REVERSE.wrong)),
        }
    }

    fn users(&self) -> Result<Users<'a>, Problem> {
        let value = self.users.ok_or(bad(USERS.missing))?;
        let elements = value.elements().ok_or(bad(USERS.wrong))?;
        let mut left = 0;
        for element in elements.clone() {
            if left == USERS_MAX || !is_user(element) {
                return Err(bad(USERS.wrong));
            }
            left += 1;
        }
        if left == 0 { Err(bad(USERS.wrong)) } else { Ok(Users { elements, left }) }
    }
}

impl Since {
    /// An epoch that no channel has.
    pub const FOREIGN_EPOCH: u64 = u64::MAX;

    fn read(value: Value<'_>) -> Option<Self> {
        let (mut epoch, mut offset) = (None, None);
        let mut members = Members::of(value.raw()).ok()?;
        while let Some(Member { key, value }) = members.next_member().ok()? {
            let place = if is_word(key, "epoch") {
                &mut epoch
            } else if is_word(key, "offset") {
                &mut offset
            } else {
                continue;
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { epoch: epoch_of(epoch?)?, offset: whole_number(offset?)? })
    }
}

fn epoch_of(value: Value<'_>) -> Option<u64> {
    if value.string_bytes()?.len() > EPOCH_LEN_MAX * ESCAPE_LEN_MAX {
        return None;
    }
    let text = value.string().filter(|text| text.len() <= EPOCH_LEN_MAX)?;
    // Reading the digits alone would take a sign too, and any number of zeros.
    if (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u64::from_str_radix(&text, 16).ok()
    } else {
        Some(Since::FOREIGN_EPOCH)
    }
}

/// A number of digits alone, as far as `u64` holds it.
fn whole_number(value: Value<'_>) -> Option<u64> {
    if value.is_number() { std::str::from_utf8(value.raw()).ok()?.parse().ok() } else { None }
}

fn is_user(value: Value<'_>) -> bool {
    value.string_bytes().is_some_and(|written| written.len() <= USER_LEN_MAX * ESCAPE_LEN_MAX)
        && value.string().is_some_and(|name| (1..=USER_LEN_MAX).contains(&name.len()))
}

/// The string says `word`, with escapes or without.
fn is_word(value: Value<'_>, word: &str) -> bool {
    let written = value.string_bytes().unwrap_or_default();
    written == word.as_bytes()
        || may_be_escaped(written, word.len()) && value.string().is_some_and(|text| text == word)
}

/// The inside of a string holds escapes, and is short enough to be one of our words of `len_max` letters. Nobody
/// writes our words so, but JSON allows it.
fn may_be_escaped(written: &[u8], len_max: usize) -> bool {
    written.len() <= len_max * ESCAPE_LEN_MAX && written.contains(&b'\\')
}

/// Why a command was refused, before the id is known to be echoed.
struct Problem {
    code: ErrorCode,
    message: &'static str,
}

impl Problem {
    fn with_id(self, id: Option<&[u8]>) -> BadRequest<'_> {
        BadRequest { code: self.code, message: self.message, id }
    }
}

fn bad(message: &'static str) -> Problem {
    Problem { code: ErrorCode::BadRequest, message }
}

impl From<BadChannel> for Problem {
    fn from(reason: BadChannel) -> Self {
        Self { code: ErrorCode::BadChannel, message: reason.message() }
    }
}

impl From<ScanError> for Problem {
    fn from(error: ScanError) -> Self {
        let code = if error.fault == Fault::TooDeep { ErrorCode::TooDeep } else { ErrorCode::BadJson };
        Self { code, message: error.fault.message() }
    }
}

/// What to say about a field.
#[derive(PartialEq, Eq)]
struct Field {
    missing: &'static str,
    wrong: &'static str,
    twice: &'static str,
}

macro_rules! field {
    ($name:literal, $kind:literal) => {
        Field {
            missing: concat!($name, " is missing"),
            wrong: concat!($name, " must be ", $kind),
            twice: concat!($name, " is given twice"),
        }
    };
}

static TYPE: Field = field!("type", "a string");
static ID: Field = field!("id", "a string or number of at most 64 bytes");
static CHANNEL: Field = field!("channel", "a string");
static DATA: Field = field!("data", "JSON");
static USERS: Field = field!("users", "a list of 1 to 256 strings of 1 to 255 bytes");
static SINCE: Field =
    field!("since", "an object of epoch, a string of at most 64 bytes, and offset, a whole number");
static LIMIT: Field = field!("limit", "a whole number from 0 to 1000");
static REVERSE: Field = field!("reverse", "true or false");
static TOKEN: Field = field!("token", "a string of 1 to 8192 bytes");

const UNKNOWN_TYPE: Problem = Problem {
    code: ErrorCode::UnknownType,
    message: "type must be join, leave, publish, broadcast, to_users, history, presence, presence_stats, auth, refresh or ping",
};

/// Bytes of `\u0041`, the longest way to write one byte of text.
const ESCAPE_LEN_MAX: usize = 6;
const FIELD_NAME_LEN_MAX: usize = "channel".len();
const COMMAND_NAME_LEN_MAX: usize = "presence_stats".len();
