//! Many clients that all connect at the same moment, on one thread: none waits for another. Each sends its request as
//! soon as it is connected and counts as back when it has its welcome. Judges nothing.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use highper_shards::Moment;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::client::DEADLINE;

/// One client.
struct Member {
    stream: TcpStream,
    /// What it shows, as a whole request.
    request: Vec<u8>,
    received: Vec<u8>,
}

/// All of them, connected.
pub struct Herd {
    members: Vec<Member>,
    /// Handshakes that were refused and tried again.
    pub refused: usize,
}

impl Herd {
    /// One client for each token; returns when all have their welcome, which they must within the deadline.
    pub fn connect(address: SocketAddr, tokens: &[String]) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("there is a descriptor left");
        let begin = |index: usize, stream: &TcpStream| {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, stream, EventData::new_u64(index as u64), flags).expect("it is open");
        };
        let mut herd = Self { members: Vec::with_capacity(tokens.len()), refused: 0 };
        for (index, token) in tokens.iter().enumerate() {
            let stream = begun(address);
            begin(index, &stream);
            herd.members.push(Member { stream, request: request(token), received: Vec::new() });
        }
        let until = Moment::now() + DEADLINE;
        let mut missing = tokens.len();
        let mut events = Vec::with_capacity(1024);
        while missing > 0 {
            assert!(Moment::now() < until, "{missing} of {} are not back", tokens.len());
            let second = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&second)).expect("the set is open");
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                let member = &mut herd.members[index];
                match member.step() {
                    Step::Waits => {}
                    Step::Back => missing -= 1,
                    Step::Refused => {
                        herd.refused += 1;
                        member.stream = begun(address);
                        member.received.clear();
                        member.request = request(&tokens[index]);
                        begin(index, &member.stream);
                    }
                }
            }
        }
        herd
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }
}

enum Step {
    Waits,
    Back,
    Refused,
}

impl Member {
    /// Goes as far as the socket lets it.
    fn step(&mut self) -> Step {
        if self.is_back() {
            return Step::Waits;
        }
        while !self.request.is_empty() {
            match send(&self.stream, &self.request, SendFlags::NOSIGNAL) {
                Ok(len) => drop(self.request.drain(..len)),
                Err(Errno::WOULDBLOCK | Errno::NOTCONN) => return Step::Waits,
                Err(_) => return Step::Refused,
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match recv(self.stream.as_fd(), &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Step::Refused,
                Ok((_, len)) => self.received.extend_from_slice(&buffer[..len]),
                Err(Errno::WOULDBLOCK) if self.is_back() => return Step::Back,
                Err(Errno::WOULDBLOCK) => return Step::Waits,
                Err(_) => return Step::Refused,
            }
        }
    }

    fn is_back(&self) -> bool {
        const WELCOME: &[u8] = br#""type":"welcome""#;
        self.received.starts_with(b"HTTP/1.1 101 ")
            && self.received.windows(WELCOME.len()).any(|window| window == WELCOME)
    }
}

/// A connection that is about to be made.
fn begun(address: SocketAddr) -> TcpStream {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("there is a descriptor left");
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => socket.into(),
        Err(error) => panic!("the server does not listen: {error}"),
    }
}

fn request(token: &str) -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}
