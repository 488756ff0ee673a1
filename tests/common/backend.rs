//! A web backend that publishes by the server API over one keep-alive connection, requests pipelined, and tells the
//! checker what it did and was told. Owns no socket.

use std::collections::VecDeque;

use serde_json::Value;

use crate::checker::{Checker, Payload};
use crate::member::name;

/// One connection.
pub struct Backend {
    /// Bytes for the server.
    pub out: Vec<u8>,
    /// What the server must not have done.
    pub problems: Vec<String>,
    /// The last place it was told in each room.
    pub last: Vec<u64>,
    publisher: u32,
    /// Publications without an answer, in order.
    pending: VecDeque<Payload>,
    received: Vec<u8>,
}

impl Backend {
    /// A connection for this many rooms.
    pub fn new(checker: &mut Checker, rooms: u32) -> Self {
        Self {
            out: Vec::new(),
            problems: Vec::new(),
            last: vec![0; rooms as usize],
            publisher: checker.publisher(),
            pending: VecDeque::new(),
            received: Vec::new(),
        }
    }

    /// Answers that are still to come.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Publishes, whether or not earlier requests were answered.
    pub fn publish(&mut self, checker: &mut Checker, room: u32) {
        let payload = checker.publishing(self.publisher, room);
        let body = format!(r#"{{"channel":"{}","data":{payload}}}"#, name(room));
        let head = format!("Host: localhost\r\nContent-Length: {}\r\n", body.len());
        self.out.extend_from_slice(format!("POST /api/publish HTTP/1.1\r\n{head}\r\n{body}").as_bytes());
        self.pending.push_back(payload);
    }

    /// Takes what came.
    pub fn on_bytes(&mut self, checker: &mut Checker, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some((head, body)) = self.answer() {
            let Some(payload) = self.pending.pop_front() else {
                return self.problems.push(format!("an answer to nothing: {head}"));
            };
            let body: Value = serde_json::from_slice(&body).expect("the API answers JSON");
            let offset = body["result"]["offset"].as_u64();
            match (head.split(' ').nth(1), offset) {
                (Some("200"), Some(offset)) => {
                    checker.accepted(payload, Some(offset));
                    self.last[payload.channel as usize] = offset;
                }
                (Some("503"), None) => checker.refused(payload),
                _ => self.problems.push(format!("{payload}: {head} {body}")),
            }
        }
    }

    fn answer(&mut self) -> Option<(String, Vec<u8>)> {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let len: usize = len.expect("answers have a length").parse().expect("it is a number");
        if self.received.len() < end + len {
            return None;
        }
        let body = self.received[end..end + len].to_vec();
        self.received.drain(..end + len);
        Some((head, body))
    }
}
