//! A raw client for tests: bytes, HTTP answers and frames over a blocking socket. Every wait has a deadline, and a
//! frame that breaks RFC 6455 fails the test. Never answers anything by itself.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use highper_realtime::CloseCode;
use highper_shards::Moment;
use highper_wire::ws::handshake::{Key, client};
use highper_wire::ws::{Decoder, Event, Input, Kind, Role, Rules, Scratch, encoder};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, sockopt};
use serde_json::Value;

/// How long anything that must happen may take on a machine that does other things too.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of that is decoded.
    decoded: usize,
    rules: Rules,
    decoder: Decoder,
    scratch: Scratch,
    inflate: bool,
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: its code, 0 if it had none, and its reason.
    Close(u16, String),
    /// The connection ended, by FIN or reset.
    End,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    /// The body by Content-Length.
    pub body: Vec<u8>,
}

/// The mask of every frame: it need not be random against a server under test.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];

impl Client {
    /// A TCP connection on which nothing was said.
    pub fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).expect("the server listens"))
    }

    /// A TCP connection from this address of the host.
    pub fn from(address: SocketAddr, from: IpAddr) -> Self {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None);
        let socket = socket.expect("a socket can be made");
        net::bind(&socket, &SocketAddr::new(from, 0)).expect("the host has the address");
        net::connect(&socket, &address).expect("the server listens");
        Self::on(socket.into())
    }

    /// A TCP connection whose kernel receives at most about `bytes` that nobody has read (SO_RCVBUF).
    pub fn narrow(address: SocketAddr, bytes: usize) -> Self {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None);
        let socket = socket.expect("a socket can be made");
        sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a socket has options");
        net::connect(&socket, &address).expect("the server listens");
        Self::on(socket.into())
    }

    /// The same on a socket that the test has prepared.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket has options");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket has options");
        let rules = Rules {
            frame_bytes_max: 1 << 30,
            message_bytes_max: 1 << 30,
            validate_utf8: false,
            ..Rules::new(Role::Client)
        };
        let (decoder, scratch) = (Decoder::new(), Scratch::new());
        Self { stream, received: Vec::new(), decoded: 0, rules, decoder, scratch, inflate: false }
    }

    /// An open WebSocket without extensions.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address);
        assert_eq!(client.upgrade(path, None), None, "no extension was offered");
        client
    }

    /// An open WebSocket of the native dialect, behind its welcome.
    pub fn native(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "/ws");
        assert_eq!(client.json()["type"], "welcome");
        client
    }

    /// Shakes hands with these extensions offered; returns the agreed ones.
    pub fn upgrade(&mut self, path: &str, offer: Option<&str>) -> Option<String> {
        let key = Key::from_nonce(*b"sixteen byte key");
        let mut request = Vec::new();
        client::write_request(&mut request, "localhost", path, &key, None, offer, &[]);
        self.send(&request);
        let head = self.head();
        let mut reader = client::ClientReader::new(key);
        let answer = reader.next(None, &mut head.as_bytes());
        let answer = answer.expect("the server upgrades").expect("the head is whole");
        let agreed = answer.extensions.map(str::to_owned);
        self.inflate = agreed.is_some();
        agreed
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether compression was agreed.
    pub fn inflates(&self) -> bool {
        self.inflate
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends bytes to a server that may have ended the connection; false if it has.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) => {
                let ended = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
                assert!(ended.contains(&error.kind()), "sending failed: {error}");
                false
            }
        }
    }

    /// Sends a text message.
    pub fn text(&mut self, text: &str) {
        self.send(&text_frame(text));
    }

    /// Sends a binary message.
    pub fn binary(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        encoder::masked_message(&mut frame, MASK, Kind::Binary, payload);
        self.send(&frame);
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: CloseCode) {
        let mut frame = Vec::new();
        encoder::masked_close(&mut frame, MASK, Some(code), "");
        self.send(&frame);
    }

    /// Ends the sending direction.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next frame or the end.
    #[track_caller]
    pub fn next(&mut self) -> Received {
        self.next_within(DEADLINE).expect("the server says something")
    }

    /// The next frame or the end, `None` if nothing comes in time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Received> {
        let until = Moment::now() + patience;
        loop {
            if let Some(event) = self.decode() {
                return Some(event);
            }
            match self.fill(until) {
                Filled::Bytes => {}
                Filled::End => return Some(Received::End),
                Filled::Nothing => return None,
            }
        }
    }

    /// The next frame or the end, if it has come already.
    pub fn now(&mut self) -> Option<Received> {
        loop {
            if let Some(event) = self.decode() {
                return Some(event);
            }
            let mut buffer = [0; 16 * 1024];
            match net::recv(&self.stream, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Some(Received::End),
                Ok((_, len)) => self.received.extend_from_slice(&buffer[..len]),
                Err(Errno::WOULDBLOCK) => return None,
                Err(Errno::CONNRESET | Errno::PIPE) => return Some(Received::End),
                Err(error) => panic!("receiving failed: {error}"),
            }
        }
    }

    /// The next message, which is JSON text.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let Received::Text(text) = self.next() else { panic!("text is expected") };
        serde_json::from_str(&text).expect("the server writes JSON")
    }

    /// The next JSON message of this type; others are passed over.
    #[track_caller]
    pub fn json_of(&mut self, kind: &str) -> Value {
        loop {
            let value = self.json();
            if value["type"] == kind {
                return value;
            }
        }
    }

    /// Joins a channel and waits for the answer.
    #[track_caller]
    pub fn join(&mut self, channel: &str) {
        self.text(&format!(r#"{{"type":"join","channel":"{channel}"}}"#));
        assert_eq!(self.json()["type"], "joined");
    }

    /// What comes before the close frame, and its code: the server must send one and end the connection.
    #[track_caller]
    pub fn until_close(&mut self) -> (Vec<Received>, u16) {
        let mut before = Vec::new();
        loop {
            match self.next() {
                Received::Close(code, _) => {
                    assert_eq!(self.next(), Received::End, "nothing follows a close frame");
                    return (before, code);
                }
                Received::End => panic!("no close frame, but {before:?}"),
                other => before.push(other),
            }
        }
    }

    /// The next HTTP answer, to a request that was not HEAD.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let len = field(&head, "content-length").map_or(0, |value| value.parse().expect("a number"));
        while self.received.len() < len {
            assert_eq!(self.fill(Moment::now() + DEADLINE), Filled::Bytes, "the body is not whole");
        }
        let body = self.received.drain(..len).collect();
        Answer { status: status(&head), head, body }
    }

    /// The head of an HTTP answer; what follows stays.
    #[track_caller]
    pub fn head(&mut self) -> String {
        let until = Moment::now() + DEADLINE;
        loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.received.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head is ASCII");
            }
            let filled = self.fill(until);
            assert_eq!(filled, Filled::Bytes, "only {:?} came", String::from_utf8_lossy(&self.received));
        }
    }

    /// Everything until the connection ends, which it must.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let until = Moment::now() + DEADLINE;
        loop {
            match self.fill(until) {
                Filled::Bytes => {}
                Filled::End => return std::mem::take(&mut self.received),
                Filled::Nothing => panic!("the connection does not end"),
            }
        }
    }

    fn decode(&mut self) -> Option<Received> {
        let mut input = Input::new(&mut self.received[self.decoded..]);
        let event = self.decoder.next(&self.rules, self.inflate, &mut self.scratch, &mut input);
        let event = event.expect("the server keeps to RFC 6455").map(|event| match event {
            Event::Message { kind: Kind::Text, payload } => {
                Received::Text(String::from_utf8(payload.to_vec()).expect("text is UTF-8"))
            }
            Event::Message { kind: Kind::Binary, payload } => Received::Binary(payload.to_vec()),
            Event::Ping(payload) => Received::Ping(payload.to_vec()),
            Event::Pong(payload) => Received::Pong(payload.to_vec()),
            Event::Close { code, reason } => {
                Received::Close(code.map_or(0, CloseCode::get), reason.to_owned())
            }
        });
        let left = input.len();
        self.decoded = self.received.len() - left;
        if left == 0 {
            self.received.clear();
            self.decoded = 0;
        }
        event
    }

    fn fill(&mut self, until: Moment) -> Filled {
        let mut buffer = [0; 64 * 1024];
        loop {
            let left = until.since(Moment::now());
            if left.is_zero() {
                return Filled::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket has options");
            match self.stream.read(&mut buffer) {
                Ok(0) => return Filled::End,
                Ok(len) => {
                    self.received.extend_from_slice(&buffer[..len]);
                    return Filled::Bytes;
                }
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Filled::End,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => panic!("receiving failed: {error}"),
                },
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Filled {
    Bytes,
    End,
    Nothing,
}

/// A text message as a client sends it.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    encoder::masked_message(&mut frame, MASK, Kind::Text, text.as_bytes());
    frame
}

/// A frame as a client sends it, its first byte chosen freely.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The header of a masked frame that declares `len` bytes of payload, in the shortest form.
pub fn head(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(0x80 | len as u8),
        126..=0xffff => {
            head.push(0xfe);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(0xff);
            head.extend_from_slice(&len.to_be_bytes());
        }
    }
    head.extend_from_slice(&MASK);
    head
}

/// The value of a field of an HTTP head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (candidate, value) = line.split_once(':')?;
        candidate.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status code of an HTTP head.
#[track_caller]
pub fn status(head: &str) -> u16 {
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status line: {head:?}"))
}

/// Waits until a condition holds, which it must before the deadline.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Moment::now() + DEADLINE;
    while !holds() {
        assert!(Moment::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}
