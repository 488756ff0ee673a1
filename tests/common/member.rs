//! A client that joins rooms and publishes in them, and tells the checker what it did and saw. Also judges what
//! the dialect promises one connection: each request with an `id` is answered once, and by its answer. Owns no
//! socket.

use highper_realtime::message::Position;

use crate::checker::{Checker, Payload, SubscriptionId};
use crate::session::{Broken, Event, Kit, Session};

/// One connection and what it is in.
pub struct Member {
    /// Which client: another connection of the same client is another member.
    pub number: u32,
    pub session: Session,
    /// Whether the server has said welcome.
    pub is_welcome: bool,
    /// How the server closed; inside, the code.
    pub closed: Option<Option<u16>>,
    /// How the server refused the handshake.
    pub refused: Option<u16>,
    /// What the server must not have done.
    pub problems: Vec<String>,
    rooms: Vec<Option<Place>>,
    /// Rooms that it was in, on this connection or the one before: joined again, they go on where they were.
    before: Vec<Option<Place>>,
    publisher: Option<u32>,
    pending: Vec<(u64, Request)>,
    requests: u64,
}

/// A subscription and everything up to where it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub joined: SubscriptionId,
    pub at: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// With the place that was given as `since`.
    Join(u32, Option<Place>),
    Leave(u32),
    Publish(Payload),
    Ping,
}

impl Member {
    /// A client that is about to connect; it may join `rooms` rooms.
    pub fn new(number: u32, path: &str, rooms: usize) -> Self {
        Self {
            number,
            session: Session::open(path),
            is_welcome: false,
            closed: None,
            refused: None,
            problems: Vec::new(),
            rooms: vec![None; rooms],
            before: vec![None; rooms],
            publisher: None,
            pending: Vec::new(),
            requests: 0,
        }
    }

    /// The same client after its connection broke: about to connect and to go on where it was.
    pub fn again(self, path: &str) -> Self {
        let both = self.rooms.iter().zip(&self.before);
        let before = both.map(|(now, before)| now.or(*before)).collect();
        Self { before, problems: self.problems, ..Self::new(self.number, path, self.rooms.len()) }
    }

    /// Whether it can ask for something.
    pub fn is_open(&self) -> bool {
        self.is_welcome && self.session.is_open()
    }

    /// Whether every request is answered.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Requests without an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The rooms it is in, as far as it was told.
    pub fn rooms(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.rooms).filter_map(|(room, joined)| joined.map(|_| room))
    }

    /// How far it has come in each room it is in.
    pub fn places(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        (0..).zip(&self.rooms).filter_map(|(room, place)| Some((room, (*place)?)))
    }

    /// Rooms that it was in and is not now.
    pub fn rooms_before(&self) -> Vec<u32> {
        (0..).zip(&self.before).filter_map(|(room, place)| place.map(|_| room)).collect()
    }

    /// Joins a room, where it left off if it was in it before; not if that may change until the join is carried out.
    pub fn join(&mut self, room: u32) {
        let is_asked = |(_, request): &(u64, Request)| match request {
            Request::Join(other, _) | Request::Leave(other) => *other == room,
            Request::Publish(_) | Request::Ping => false,
        };
        let since = self.before[room as usize].filter(|_| !self.pending.iter().any(is_asked));
        let id = self.request(Request::Join(room, since));
        match since {
            Some(place) => self.session.join_since(&name(room), place.at, id),
            None => self.session.join(&name(room), id),
        }
    }

    pub fn leave(&mut self, room: u32) {
        let id = self.request(Request::Leave(room));
        self.session.leave(&name(room), id);
    }

    /// Publishes and wants to know what became of it.
    pub fn publish(&mut self, checker: &mut Checker, room: u32) {
        let payload = self.next_payload(checker, room);
        let id = self.request(Request::Publish(payload));
        self.session.publish(&name(room), payload, Some(id));
    }

    /// Publishes and does not care.
    pub fn publish_blindly(&mut self, checker: &mut Checker, room: u32) {
        let payload = self.next_payload(checker, room);
        self.session.publish(&name(room), payload, None);
    }

    pub fn ping(&mut self) {
        let id = self.request(Request::Ping);
        self.session.ping(id);
    }

    /// Takes what came.
    pub fn on_bytes(&mut self, kit: &mut Kit, checker: &mut Checker, bytes: &mut [u8]) {
        let mut session = std::mem::replace(&mut self.session, Session::closed());
        let taken = session.on_bytes(kit, bytes, |event| self.on_event(checker, event));
        self.session = session;
        match taken {
            Ok(()) => {}
            Err(Broken::Refused(status)) => self.refused = Some(status),
            Err(Broken::Protocol(what)) => self.problem(what),
        }
    }

    /// The connection is gone, and the client may come back.
    pub fn away(&mut self, checker: &mut Checker) {
        for (room, before) in self.rooms.iter_mut().zip(&mut self.before) {
            if let Some(place) = room.take() {
                checker.ended(place.joined);
                *before = Some(place);
            }
        }
        self.pending.clear();
    }

    /// The connection is gone, whoever ended it.
    pub fn gone(&mut self, checker: &mut Checker) {
        for place in self.rooms.iter_mut().chain(&mut self.before).filter_map(Option::take) {
            checker.ended(place.joined);
        }
        self.pending.clear();
    }

    fn on_event(&mut self, checker: &mut Checker, event: Event<'_>) {
        if self.is_welcome == (event == Event::Welcome) {
            self.problem(format!("welcome comes first and once, not {event:?}"));
        }
        match event {
            Event::Welcome => self.is_welcome = true,
            Event::Message { channel, offset, data } => match self.room(channel) {
                Some((room, Some(place))) => {
                    checker.received(place.joined, offset, data);
                    self.advance(room, Position { offset, ..place.at });
                }
                Some((room, None)) => checker.phantom(self.number, room, data),
                None => self.problem(format!("a message of {channel}")),
            },
            Event::Joined { channel, at, recovered, id } => {
                self.on_joined(checker, channel, at, recovered, id)
            }
            Event::Left { channel, id } => {
                let Some((room, before)) = self.room(channel) else {
                    return self.problem(format!("left {channel}"));
                };
                let request = self.take(id);
                if request != Some(Request::Leave(room)) {
                    self.problem(format!("left {channel} was given to {request:?}"));
                }
                if let Some(place) = before {
                    checker.ended(place.joined);
                    self.rooms[room as usize] = None;
                    self.before[room as usize] = Some(place);
                }
            }
            Event::Gap { channel, at } => match self.room(channel) {
                Some((room, Some(place))) => {
                    checker.gap(place.joined, at);
                    self.advance(room, at);
                }
                Some((_, None)) | None => self.problem(format!("a gap of {channel}")),
            },
            Event::Ack { offset, id } => match self.take(id) {
                Some(Request::Publish(payload)) => checker.accepted(payload, offset),
                other => self.problem(format!("an ack for {other:?}")),
            },
            Event::Error { code, id } => self.on_error(checker, code, id),
            Event::Pong { id } => match self.take(id) {
                Some(Request::Ping) => {}
                other => self.problem(format!("a pong for {other:?}")),
            },
            Event::Members { channel } => {
                if !matches!(self.room(channel), Some((_, Some(_)))) {
                    self.problem(format!("told of members of {channel}"));
                }
            }
            Event::Binary(_) => {}
            Event::Close(code) => self.closed = Some(code),
        }
    }

    fn on_joined(
        &mut self,
        checker: &mut Checker,
        channel: &str,
        at: Position,
        recovered: Option<bool>,
        id: Option<u64>,
    ) {
        let Some((room, now)) = self.room(channel) else {
            return self.problem(format!("joined {channel}"));
        };
        let since = match self.take(id) {
            Some(Request::Join(asked, since)) if asked == room => since,
            other => return self.problem(format!("joined {channel} was given to {other:?}")),
        };
        let place = match (now, since, recovered) {
            (Some(place), None, None) => {
                checker.joined_again(place.joined, at);
                place
            }
            (None, None, None) => Place { joined: checker.joined(self.number, room, at), at },
            // What it missed follows; the checker sees whether all of it does.
            (None, Some(place), Some(true)) => {
                checker.recovered(place.joined, at);
                place
            }
            (None, Some(Place { joined, .. }), Some(false)) => {
                Place { joined: checker.unrecovered(joined, at), at }
            }
            (now, since, _) => {
                return self.problem(format!(
                    "joined {channel} at {at:?}, recovered: {recovered:?}, was in {now:?}, since {since:?}"
                ));
            }
        };
        self.rooms[room as usize] = Some(place);
        self.before[room as usize] = None;
    }

    fn on_error(&mut self, checker: &mut Checker, code: &str, id: Option<u64>) {
        match (self.take(id), code) {
            (Some(Request::Publish(payload)), "try_again") => checker.refused(payload),
            // A blind publish was refused; which one is not told.
            (None, "try_again") if id.is_none() => {}
            (Some(Request::Join(..)), "try_again") => {}
            // Left before the join was carried out, or left twice.
            (Some(Request::Join(room, _) | Request::Leave(room)), "not_joined") => {
                if self.rooms[room as usize].is_some() {
                    self.problem(format!("told not to be in {}", name(room)));
                }
            }
            (request, code) => self.problem(format!("{code} for {request:?}")),
        }
    }

    fn next_payload(&mut self, checker: &mut Checker, room: u32) -> Payload {
        let publisher = *self.publisher.get_or_insert_with(|| checker.publisher());
        checker.publishing(publisher, room)
    }

    fn request(&mut self, request: Request) -> u64 {
        self.requests += 1;
        self.pending.push((self.requests, request));
        self.requests
    }

    fn take(&mut self, id: Option<u64>) -> Option<Request> {
        let at = self.pending.iter().position(|(pending, _)| Some(*pending) == id)?;
        Some(self.pending.remove(at).1)
    }

    fn advance(&mut self, room: u32, at: Position) {
        if let Some(place) = &mut self.rooms[room as usize] {
            place.at = at;
        }
    }

    fn room(&self, channel: &str) -> Option<(u32, Option<Place>)> {
        let room: u32 = channel.rsplit(['-', ':']).next()?.parse().ok()?;
        Some((room, *self.rooms.get(room as usize).filter(|_| name(room) == channel)?))
    }

    fn problem(&mut self, what: String) {
        self.problems.push(format!("client {}: {what}", self.number));
    }
}

/// A channel of a room. Some have a prefix that a test may give rules of their own.
pub fn name(room: u32) -> String {
    let prefix = match room % 4 {
        2 => OLDEST,
        3 => LATEST,
        _ => "room-",
    };
    format!("{prefix}{room}")
}

/// Prefix of channels in which the oldest publications may make room.
pub const OLDEST: &str = "oldest:";

/// Prefix of channels in which the latest publication may be all that comes.
pub const LATEST: &str = "latest:";
