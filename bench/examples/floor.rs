//! The floor of a fan-out: a thread that does nothing but `send(2)` the same frame to one socket after the other.
//! Answers /topic and /publish as the peers in `bench/compare` do. What it costs is the kernel's price, which no
//! server that sends one by one can go below. Usage: floor PORT

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use highper_wire::http1::{Event, Limits, Reader};
use highper_wire::ws::{self, Input, Role, Rules, Scratch, encoder, handshake};

type Subscribers = Arc<Mutex<Vec<TcpStream>>>;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(9003);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let subscribers = Subscribers::default();
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        match upgrade(&mut stream) {
            Ok(path) if path == "/topic" => subscribers.lock().expect("nobody panics").push(stream),
            Ok(_) => {
                let subscribers = Arc::clone(&subscribers);
                std::thread::Builder::new().spawn(move || publish(stream, &subscribers))?;
            }
            // A connection that is no WebSocket, such as somebody's look whether the port is open.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Reads the request and answers it; gives its path.
fn upgrade(stream: &mut TcpStream) -> io::Result<String> {
    let (mut reader, mut bytes) = (Reader::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes)?;
        let mut input = &bytes[..count];
        match reader.next(&Limits::default(), &mut input).map_err(io::Error::other)? {
            Some(Event::Request(head)) => {
                let accepted = handshake::accept(&head, |_| false).map_err(|_| io::ErrorKind::InvalidData)?;
                let mut out = Vec::new();
                handshake::write_101(&mut out, &accepted.key, None, None);
                stream.write_all(&out)?;
                return Ok(head.path().to_owned());
            }
            _ if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// Sends every message of the publisher to every subscriber.
fn publish(mut stream: TcpStream, subscribers: &Subscribers) {
    let (mut decoder, mut scratch) = (ws::Decoder::new(), Scratch::new());
    let (mut bytes, mut frame) = (vec![0; 65_536], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let mut input = Input::new(&mut bytes[..count]);
        while let Ok(Some(event)) = decoder.next(&Rules::new(Role::Server), false, &mut scratch, &mut input) {
            if let ws::Event::Message { kind, payload } = event {
                frame.clear();
                encoder::message(&mut frame, kind, payload);
                let mut subscribers = subscribers.lock().expect("nobody panics");
                subscribers.retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
            }
        }
    }
}
