//! A client of Server-Sent Events for tests: one request over a blocking socket, events as they come. Every wait has
//! a deadline. Never connects again by itself.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use highper_shards::Moment;
use highper_wire::sse::Decoder;
use serde_json::Value;

use crate::client::DEADLINE;

/// One stream.
pub struct Stream {
    socket: TcpStream,
    /// Status line and fields of the answer.
    pub head: String,
    /// Everything behind the head, as it came.
    pub raw: Vec<u8>,
    decoder: Decoder,
    events: VecDeque<Seen>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the client would come back with.
    pub id: String,
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: String,
}

impl Seen {
    /// Its data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("the data are JSON")
    }
}

impl Stream {
    /// Asks for a stream, which the server must open.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Self {
        Self::with(address, target, "")
    }

    /// The same with more fields, each with its line end.
    #[track_caller]
    pub fn with(address: SocketAddr, target: &str, fields: &str) -> Self {
        Self::on(TcpStream::connect(address).expect("the server listens"), target, fields, b"")
    }

    /// Comes back with the last id of a stream.
    #[track_caller]
    pub fn again(address: SocketAddr, target: &str, id: &str) -> Self {
        Self::with(address, target, &format!("Last-Event-ID: {id}\r\n"))
    }

    /// The same on a socket that the test has prepared, with bytes right behind the request.
    #[track_caller]
    pub fn on(mut socket: TcpStream, target: &str, fields: &str, behind: &[u8]) -> Self {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{fields}\r\n");
        let request = [request.as_bytes(), behind].concat();
        socket.write_all(&request).expect("the server takes it");
        let mut stream = Self {
            socket,
            head: String::new(),
            raw: Vec::new(),
            decoder: Decoder::new(),
            events: VecDeque::new(),
        };
        let until = deadline();
        while stream.head.is_empty() {
            assert!(stream.read(until), "no answer");
        }
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        stream
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The next event, which must come.
    #[track_caller]
    pub fn next(&mut self) -> Seen {
        let until = deadline();
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(self.read(until), "the stream has ended");
        }
    }

    /// The next event's data as JSON.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        self.next().json()
    }

    /// Reads until this text has come, by whatever events.
    #[track_caller]
    pub fn until_raw(&mut self, text: &str) {
        let until = deadline();
        while !String::from_utf8_lossy(&self.raw).contains(text) {
            assert!(self.read(until), "the stream has ended");
        }
    }

    /// Reads until the stream stands in this many channels, and returns the id to come back with.
    #[track_caller]
    pub fn joined(&mut self, channels: usize) -> String {
        let is_in = |raw: &[u8]| {
            let has_id = |block: &&str| block.lines().any(|line| line.starts_with("id: "));
            String::from_utf8_lossy(raw).split("\n\n").filter(has_id).count() >= channels
        };
        let until = deadline();
        while !is_in(&self.raw) {
            assert!(self.read(until), "the stream has ended");
        }
        self.id()
    }

    /// What the client would come back with now.
    pub fn id(&self) -> String {
        self.decoder.last_event_id().to_owned()
    }

    /// Events until the stream ends, which it must.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Seen> {
        let until = deadline();
        while self.read(until) {}
        self.events.drain(..).collect()
    }

    /// Takes more in; false at the end. Comments keep coming: the deadline is one for all that is waited for.
    #[track_caller]
    fn read(&mut self, until: Moment) -> bool {
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            let left = until.since(Moment::now());
            assert!(!left.is_zero(), "nothing comes after {:?}", String::from_utf8_lossy(&self.raw));
            self.socket.set_read_timeout(Some(left)).expect("a socket has options");
            match self.socket.read(&mut buffer) {
                Ok(count) => break count,
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset => break 0,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => panic!("receiving failed: {error}"),
                },
            }
        };
        let from = self.raw.len();
        self.raw.extend_from_slice(&buffer[..count]);
        let mut fresh = self.raw[from..].to_vec();
        if self.head.is_empty() {
            let Some(end) = self.raw.windows(4).position(|window| window == b"\r\n\r\n") else {
                return count > 0;
            };
            fresh = self.raw.split_off(end + 4);
            self.head = String::from_utf8(std::mem::take(&mut self.raw)).expect("a head is ASCII");
            self.raw.clone_from(&fresh);
        }
        let Self { decoder, events, .. } = self;
        let fed = decoder.feed(&fresh, |event| {
            // That it is in a channel is waited for by `joined`.
            if event.event == "joined" {
                return;
            }
            events.push_back(Seen {
                id: event.id.to_owned(),
                event: event.event.to_owned(),
                data: event.data.to_owned(),
            });
        });
        fed.expect("no event is too long");
        count > 0
    }
}

fn deadline() -> Moment {
    Moment::now() + DEADLINE
}
