//! A client that listens to rooms by Server-Sent Events, comes back with the last id it has, and tells the checker
//! what it saw. Also judges the ids: each says where the stream is in every room. Owns no socket.

use highper_realtime::message::Position;
use highper_wire::sse::{Cursor, Decoder};

use crate::checker::Checker;
use crate::member::{Place, name};
use crate::session::{Event, parse};

/// One client; it keeps its place from connection to connection.
pub struct Listener {
    /// Which client.
    pub number: u32,
    /// Bytes for the server.
    pub out: Vec<u8>,
    /// What the server must not have done.
    pub problems: Vec<String>,
    /// The rooms that it asks for.
    rooms: Vec<Room>,
    /// What it would come back with.
    last_event_id: String,
    state: State,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Rooms in which this connection is: everything that was missed has come, or a gap was told.
    entered: usize,
    /// The event that has begun has an id of its own.
    has_id: bool,
}

struct Room {
    room: u32,
    place: Option<Place>,
}

enum State {
    /// The head of the answer, as far as it has come.
    Head(Vec<u8>),
    Open(Box<Decoder>),
}

impl Listener {
    /// A client that is about to connect.
    pub fn new(number: u32, rooms: &[u32]) -> Self {
        let room = |room: &u32| Room { room: *room, place: None };
        let mut listener = Self {
            number,
            out: Vec::new(),
            problems: Vec::new(),
            rooms: rooms.iter().map(room).collect(),
            last_event_id: String::new(),
            state: State::Head(Vec::new()),
            line: Vec::new(),
            entered: 0,
            has_id: false,
        };
        listener.request();
        listener
    }

    /// The same client after its connection broke: about to connect and to go on where it was.
    pub fn again(mut self) -> Self {
        self.state = State::Head(Vec::new());
        self.line.clear();
        (self.entered, self.has_id) = (0, false);
        self.request();
        self
    }

    /// Whether the stream has begun and is in all its rooms.
    pub fn is_in(&self) -> bool {
        self.entered == self.rooms.len()
    }

    /// How far it has come in each room.
    pub fn places(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.rooms.iter().filter_map(|room| Some((room.room, room.place?)))
    }

    /// Takes what came.
    pub fn on_bytes(&mut self, checker: &mut Checker, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if let State::Head(head) = &mut self.state {
            head.append(&mut bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            bytes = head.split_off(end + 4);
            let head = String::from_utf8_lossy(head).into_owned();
            self.state = State::Open(Box::default());
            if !head.starts_with("HTTP/1.1 200 OK\r\n")
                || !head.contains("\r\nContent-Type: text/event-stream")
            {
                self.problem(format!("no stream: {head}"));
            }
        }
        // Line by line, to see each id that comes without an event.
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.on_line(checker, &line);
            }
        }
    }

    fn on_line(&mut self, checker: &mut Checker, line: &[u8]) {
        let State::Open(decoder) = &mut self.state else { return };
        let mut told = None;
        let fed = decoder.feed(line, |event| {
            told = Some((event.event.to_owned(), event.data.to_owned()));
        });
        fed.expect("the events are short");
        if line != b"\n" {
            self.has_id |= line.starts_with(b"id:");
            return;
        }
        if !std::mem::take(&mut self.has_id) {
            return told.into_iter().for_each(|told| self.problem(format!("without an id: {told:?}")));
        }
        decoder.last_event_id().clone_into(&mut self.last_event_id);
        let cursor = match Cursor::parse(self.last_event_id.as_bytes()) {
            Ok(cursor) => cursor,
            Err(error) => return self.problem(error.to_string()),
        };
        match &told {
            None => {}
            Some((event, _)) if event == "joined" => {}
            Some((event, data)) if event == "message" => self.on_message(checker, data),
            Some((event, data)) if event == "gap" => self.on_gap(checker, &cursor, data),
            Some(other) => self.problem(format!("{other:?}")),
        }
        let has_joined = told.is_some_and(|(event, _)| event == "joined");
        self.on_cursor(checker, &cursor, has_joined);
    }

    fn on_message(&mut self, checker: &mut Checker, data: &str) {
        let Ok(Event::Message { channel, offset, data }) = parse(data.as_bytes()) else {
            return self.problem(format!("no message: {data}"));
        };
        let number = self.number;
        match self.rooms.iter_mut().find(|room| name(room.room) == channel) {
            Some(Room { place: Some(Place { joined, at }), .. }) => {
                checker.received(*joined, offset, data);
                at.offset = offset;
            }
            Some(Room { place: None, room, .. }) => checker.phantom(number, *room, data),
            None => self.problem(format!("a message of {channel}")),
        }
    }

    fn on_gap(&mut self, checker: &mut Checker, cursor: &Cursor, data: &str) {
        let is_named =
            |room: &Room| data == format!(r#"{{"type":"gap","channels":["{}"]}}"#, name(room.room));
        let Some(room) = self.rooms.iter_mut().find(|room| is_named(room)) else {
            return self.problem(format!("a gap of {data}"));
        };
        match (position(cursor, room.room), &mut room.place) {
            (None, _) => self.problem(format!("a gap without a position: {data}")),
            (Some(to), Some(Place { joined, at })) => {
                checker.gap(*joined, to);
                *at = to;
                self.entered += 1;
            }
            // It was away before it knew where it was: the gap tells it where it is.
            (Some(at), None) => {
                room.place = Some(Place { joined: checker.joined(self.number, room.room, at), at });
                self.entered += 1;
            }
        }
    }

    /// An id says where the stream is; one of the event `joined`, that it is in another room now.
    fn on_cursor(&mut self, checker: &mut Checker, cursor: &Cursor, has_joined: bool) {
        let mut problems = Vec::new();
        for room in &mut self.rooms {
            match (position(cursor, room.room), &room.place) {
                (None, None) => {}
                (Some(at), None) if has_joined => {
                    room.place = Some(Place { joined: checker.joined(self.number, room.room, at), at });
                }
                (Some(at), Some(place)) if place.at == at => {}
                (at, place) => problems.push(format!("{at:?} in room {}, but {place:?}", room.room)),
            }
        }
        problems.into_iter().for_each(|problem| self.problem(problem));
        self.entered += usize::from(has_joined);
    }

    fn request(&mut self) {
        let channels: Vec<_> = self.rooms.iter().map(|room| format!("channel={}", name(room.room))).collect();
        let id = match self.last_event_id.as_str() {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let query = channels.join("&");
        let head = "Host: localhost\r\nAccept: text/event-stream\r\n";
        self.out = format!("GET /sse?{query} HTTP/1.1\r\n{head}{id}\r\n").into_bytes();
    }

    fn problem(&mut self, what: String) {
        self.problems.push(format!("listener {}: {what}", self.number));
    }
}

/// Where the cursor is in a room. An epoch that no channel has stands for a room whose place was not known.
fn position(cursor: &Cursor, room: u32) -> Option<Position> {
    let (epoch, offset) = cursor.position(name(room).as_str()).filter(|(epoch, _)| *epoch != u32::MAX)?;
    Some(Position { epoch: epoch.into(), offset })
}
