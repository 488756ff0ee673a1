//! Promises of the HTTP/1.1 request reader, one per module.

mod bodies;
mod early;
mod heads;
mod limits;
mod smuggling;
mod splits;

use highper_wire::http1::{BodyKind, Event, Limits, Reader, Refusal, Stage, Version};

/// An event that owns its bytes; neighbouring body pieces are one.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Request(SeenHead),
    Body(Vec<u8>),
    End,
}

#[derive(Debug, Clone, PartialEq)]
struct SeenHead {
    method: String,
    target: String,
    path: String,
    query: Option<String>,
    host: Option<String>,
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
    body: BodyKind,
    keep_alive: bool,
    expects_continue: bool,
    wants_upgrade: bool,
}

/// Everything one connection gave.
#[derive(Debug, Clone, PartialEq)]
struct Transcript {
    events: Vec<Seen>,
    refusal: Option<Refusal>,
    stage: Stage,
}

impl Transcript {
    fn heads(&self) -> Vec<&SeenHead> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Seen::Request(head) => Some(head),
                Seen::Body(_) | Seen::End => None,
            })
            .collect()
    }

    fn body(&self) -> Vec<u8> {
        self.events
            .iter()
            .flat_map(|event| match event {
                Seen::Body(bytes) => bytes.as_slice(),
                Seen::Request(_) | Seen::End => &[],
            })
            .copied()
            .collect()
    }
}

/// Reads the pieces one after the other; goes on after a refusal, to see that nothing comes of it.
fn read_within(limits: &Limits, pieces: &[&[u8]]) -> Transcript {
    let mut reader = Reader::new();
    let mut events = Vec::new();
    let mut refusal = None;
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.next(limits, &mut input) {
                Ok(Some(_)) if refusal.is_some() => panic!("an event after a refusal"),
                Ok(Some(event)) => note(&mut events, &event),
                Ok(None) => break,
                Err(second) => {
                    assert_eq!(refusal.replace(second), None, "refused twice: {second}");
                }
            }
        }
        assert!(input.is_empty(), "None is said only when all input is used");
    }
    Transcript { events, refusal, stage: reader.stage() }
}

fn note(events: &mut Vec<Seen>, event: &Event<'_>) {
    match event {
        Event::Request(head) => events.push(Seen::Request(SeenHead {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            path: head.path().to_owned(),
            query: head.query().map(str::to_owned),
            host: head.host().map(str::to_owned),
            version: head.version,
            fields: head.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            body: head.body(),
            keep_alive: head.keep_alive(),
            expects_continue: head.expects_continue(),
            wants_upgrade: head.wants_upgrade(),
        })),
        Event::Body(bytes) => {
            assert!(!bytes.is_empty(), "an empty body event");
            match events.last_mut() {
                Some(Seen::Body(body)) => body.extend_from_slice(bytes),
                Some(Seen::Request(_) | Seen::End) | None => events.push(Seen::Body(bytes.to_vec())),
            }
        }
        Event::End => events.push(Seen::End),
    }
}

fn read(pieces: &[&[u8]]) -> Transcript {
    read_within(&Limits::default(), pieces)
}

/// A request refused whole is refused the same byte by byte.
fn refusal_of(bytes: &[u8]) -> Option<Refusal> {
    let whole = read(&[bytes]);
    let pieces: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(read(&pieces), whole, "byte by byte: {}", bytes.escape_ascii());
    whole.refusal
}
