//! The request side of one HTTP/1.1 connection: keep-alive, pipelining, bodies. Never answers, never times out.

use core::mem;

use super::chunked::{Chunked, Piece, take};
use super::head::{BodyKind, Head, Layout};
use super::scan::{self, HeadScan};
use super::{Limits, Refusal};

/// Reads requests out of the bytes of one connection.
///
/// Call [`next`](Self::next) until it gives `None`. Each request is `Request`, any number of `Body`, `End`.
/// Any split of the bytes gives the same events, but for the places where `Body` is cut.
#[derive(Debug, Default)]
pub struct Reader {
    phase: Phase,
}

/// What the reader found.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A head is complete and within all rules.
    Request(Head<'a>),
    /// Some bytes of the body; never empty.
    Body(&'a [u8]),
    /// The request is whole. The next event belongs to another one.
    End,
}

/// Where a connection stands, for deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Between requests: the keep-alive deadline counts.
    Idle,
    /// A head has begun: the head deadline counts, and is answered with 408.
    Head,
    /// A head was given, its `End` was not.
    Body,
    /// No request will come any more.
    Closed,
}

#[derive(Debug)]
enum Phase {
    Idle(Blank),
    Head(Box<Partial>),
    /// A head lent from its own memory; the body comes next.
    Lent(Box<Lent>),
    Length {
        left: u64,
        keep_alive: bool,
    },
    Chunked(Box<Chunked>),
    Closed,
}

/// A head that came in pieces.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    scan: HeadScan,
}

#[derive(Debug)]
struct Lent {
    bytes: Vec<u8>,
    layout: Layout,
}

/// RFC 9112 §2.2: one empty line before a request line is ignored.
#[derive(Debug, Clone, Copy, Default)]
enum Blank {
    #[default]
    Unseen,
    Cr,
    Seen,
}

const _: () = assert!(size_of::<Reader>() <= 16, "a Reader is part of every connection");

impl Default for Phase {
    fn default() -> Self {
        Self::Idle(Blank::default())
    }
}

impl Reader {
    /// A reader at the first byte of a connection. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the next event and moves `input` behind the bytes it took; `None` when all bytes are used and more are needed.
    ///
    /// Behind a request that does not keep the connection alive, and behind a refusal, all input is dropped unread.
    /// After a `Request` that is answered with 101, `input` starts with the new protocol: do not call again.
    ///
    /// # Errors
    /// The peer broke a rule or a limit; given once, and nothing is read from this connection any more.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        limits: &Limits,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, Refusal> {
        if let Phase::Lent(lent) = &self.phase {
            self.phase = Phase::of_body(limits, &lent.layout);
        }
        // Each arm that does not refuse puts the phase back.
        match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Idle(blank) => self.on_idle(blank, limits, input),
            Phase::Head(partial) => self.on_head(partial, limits, input),
            Phase::Length { left, keep_alive } => Ok(self.on_length(left, keep_alive, input)),
            Phase::Chunked(mut chunked) => match chunked.next(limits, input)? {
                Some(Piece::End) => {
                    self.phase = Phase::behind(chunked.keep_alive);
                    Ok(Some(Event::End))
                }
                Some(Piece::Data(data)) => {
                    self.phase = Phase::Chunked(chunked);
                    Ok(Some(Event::Body(data)))
                }
                None => {
                    self.phase = Phase::Chunked(chunked);
                    Ok(None)
                }
            },
            // Lent has become a body phase above.
            Phase::Lent(_) | Phase::Closed => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Where the connection stands.
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Idle(_) => Stage::Idle,
            Phase::Head(_) => Stage::Head,
            Phase::Lent(_) | Phase::Length { .. } | Phase::Chunked(_) => Stage::Body,
            Phase::Closed => Stage::Closed,
        }
    }

    fn on_idle<'a, 'i: 'a>(
        &'a mut self,
        blank: Blank,
        limits: &Limits,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, Refusal> {
        let blank = skip_blank(blank, input)?;
        let bytes = *input;
        if bytes.is_empty() {
            self.phase = Phase::Idle(blank);
            return Ok(None);
        }
        if let Some(layout) = scan::whole(limits, bytes) {
            return Ok(Some(self.lend_input(limits, &layout, input)));
        }
        let mut scan = HeadScan::new(limits);
        if let Some(layout) = scan.advance(limits, bytes)? {
            return Ok(Some(self.lend_input(limits, &layout, input)));
        }
        *input = &[];
        self.phase = Phase::Head(Box::new(Partial { bytes: bytes.to_vec(), scan }));
        Ok(None)
    }

    fn lend_input<'i>(&mut self, limits: &Limits, layout: &Layout, input: &mut &'i [u8]) -> Event<'i> {
        let (head, rest) = input.split_at(layout.len);
        *input = rest;
        self.phase = Phase::of_body(limits, layout);
        Event::Request(Head::new(head, layout))
    }

    fn on_head<'a>(
        &'a mut self,
        mut partial: Box<Partial>,
        limits: &Limits,
        input: &mut &[u8],
    ) -> Result<Option<Event<'a>>, Refusal> {
        let before = partial.bytes.len();
        // An incomplete head is shorter than the limit, so there is room for at least one byte.
        let room = limits.head_bytes_max.saturating_sub(before);
        partial.bytes.extend_from_slice(&input[..input.len().min(room)]);
        let Some(layout) = partial.scan.advance(limits, &partial.bytes)? else {
            *input = &[];
            self.phase = Phase::Head(partial);
            return Ok(None);
        };
        *input = &input[layout.len - before..];
        self.phase = Phase::Lent(Box::new(Lent { bytes: partial.bytes, layout }));
        let Phase::Lent(lent) = &self.phase else { unreachable!("the phase was set one line above") };
        Ok(Some(Event::Request(Head::new(&lent.bytes[..layout.len], &layout))))
    }

    fn on_length<'i>(&mut self, left: u64, keep_alive: bool, input: &mut &'i [u8]) -> Option<Event<'i>> {
        if left == 0 {
            self.phase = Phase::behind(keep_alive);
            return Some(Event::End);
        }
        let (bytes, rest, left) = take(input, left);
        *input = rest;
        self.phase = Phase::Length { left, keep_alive };
        (!bytes.is_empty()).then_some(Event::Body(bytes))
    }
}

impl Phase {
    fn of_body(limits: &Limits, layout: &Layout) -> Self {
        let keep_alive = layout.facts.keep_alive;
        match layout.facts.body {
            BodyKind::None => Self::Length { left: 0, keep_alive },
            BodyKind::Length(left) => Self::Length { left, keep_alive },
            BodyKind::Chunked => Self::Chunked(Box::new(Chunked::new(limits, keep_alive))),
        }
    }

    fn behind(keep_alive: bool) -> Self {
        if keep_alive { Self::Idle(Blank::default()) } else { Self::Closed }
    }
}

fn skip_blank(mut blank: Blank, input: &mut &[u8]) -> Result<Blank, Refusal> {
    while let [byte, rest @ ..] = *input {
        blank = match (blank, byte) {
            (Blank::Unseen, b'\r') => Blank::Cr,
            (Blank::Cr, b'\n') => Blank::Seen,
            (Blank::Cr, _) => return Err(Refusal::BareCr),
            (Blank::Unseen | Blank::Seen, _) => break,
        };
        *input = rest;
    }
    Ok(blank)
}
