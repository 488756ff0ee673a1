//! A client that joins rooms and publishes in them, and tells the checker what it did and saw. Also judges what
//! the dialect promises one connection: each request with an `id` is answered once, and by its answer. Owns no
//! socket.

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
    rooms: Vec<Option<SubscriptionId>>,
    publisher: Option<u32>,
    pending: Vec<(u64, Request)>,
    requests: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Join(u32),
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
            publisher: None,
            pending: Vec::new(),
            requests: 0,
        }
    }

    /// Whether it can ask for something.
    pub fn is_open(&self) -> bool {
        self.is_welcome && self.session.is_open()
    }

    /// Whether every request is answered.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The rooms it is in, as far as it was told.
    pub fn rooms(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.rooms).filter_map(|(room, joined)| joined.map(|_| room))
    }

    pub fn join(&mut self, room: u32) {
        let id = self.request(Request::Join(room));
        self.session.join(&name(room), id);
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

    /// The connection is gone, whoever ended it.
    pub fn gone(&mut self, checker: &mut Checker) {
        for joined in self.rooms.iter_mut().filter_map(Option::take) {
            checker.ended(joined);
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
                Some((_, Some(joined))) => checker.received(joined, offset, data),
                Some((room, None)) => checker.phantom(self.number, room, data),
                None => self.problem(format!("a message of {channel}")),
            },
            Event::Joined { channel, at, id } => {
                let Some((room, before)) = self.room(channel) else {
                    return self.problem(format!("joined {channel}"));
                };
                self.answered(id, Request::Join(room));
                match before {
                    Some(joined) => checker.joined_again(joined, at),
                    None => self.rooms[room as usize] = Some(checker.joined(self.number, room, at)),
                }
            }
            Event::Left { channel, id } => {
                let Some((room, before)) = self.room(channel) else {
                    return self.problem(format!("left {channel}"));
                };
                self.answered(id, Request::Leave(room));
                if let Some(joined) = before {
                    checker.ended(joined);
                    self.rooms[room as usize] = None;
                }
            }
            Event::Gap { channel, at } => match self.room(channel) {
                Some((_, Some(joined))) => checker.gap(joined, at),
                Some((_, None)) | None => self.problem(format!("a gap of {channel}")),
            },
            Event::Ack { offset, id } => match self.take(id) {
                Some(Request::Publish(payload)) => checker.accepted(payload, offset),
                other => self.problem(format!("an ack for {other:?}")),
            },
            Event::Error { code, id } => self.on_error(checker, code, id),
            Event::Pong { id } => self.answered(id, Request::Ping),
            Event::Binary(_) => {}
            Event::Close(code) => self.closed = Some(code),
        }
    }

    fn on_error(&mut self, checker: &mut Checker, code: &str, id: Option<u64>) {
        match (self.take(id), code) {
            (Some(Request::Publish(payload)), "try_again") => checker.refused(payload),
            // A blind publish was refused; which one is not told.
            (None, "try_again") if id.is_none() => {}
            (Some(Request::Join(_)), "try_again") => {}
            // Left before the join was carried out, or left twice.
            (Some(Request::Join(room) | Request::Leave(room)), "not_joined") => {
                if self.rooms[room as usize].is_some() {
                    self.problem(format!("told not to be in {}", name(room)));
                }
            }
            (request, code) => self.problem(format!("{code} for {request:?}")),
        }
    }

    fn answered(&mut self, id: Option<u64>, expected: Request) {
        let request = self.take(id);
        if request != Some(expected) {
            self.problem(format!("the answer to {expected:?} was given to {request:?}"));
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

    fn room(&self, channel: &str) -> Option<(u32, Option<SubscriptionId>)> {
        let room: u32 = channel.strip_prefix("room-")?.parse().ok()?;
        Some((room, *self.rooms.get(room as usize)?))
    }

    fn problem(&mut self, what: String) {
        self.problems.push(format!("client {}: {what}", self.number));
    }
}

fn name(room: u32) -> String {
    format!("room-{room}")
}
