//! Bytes from the peer to messages and control frames (RFC 6455 §5–§8). Owns the unfinished part of one
//! connection's input. Never answers: pongs, closes and limits of rate are the caller's.

use super::frame::{CONTROL_BYTES_MAX, Expected, Header, Opcode};
use super::mask::Mask;
use super::partial::{Partial, Ready};
use super::{CloseCode, FrameError, Kind, Role, Rules, Scratch, close, utf8};

/// The reading side of one connection. Between messages it is a null pointer.
///
/// ```
/// use highper_wire::ws::{Decoder, Event, Input, Kind, Role, Rules, Scratch};
///
/// let (rules, mut scratch, mut decoder) = (Rules::new(Role::Client), Scratch::new(), Decoder::new());
/// let mut received = *b"\x81\x02hi";
/// let mut input = Input::new(&mut received);
/// while let Some(event) = decoder.next(&rules, false, &mut scratch, &mut input)? {
///     assert_eq!(event, Event::Message { kind: Kind::Text, payload: b"hi" });
/// }
/// # Ok::<(), highper_wire::ws::FrameError>(())
/// ```
#[derive(Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() == 8, "the decoder is multiplied by the connections");

/// Something the peer said. Borrows the input or the scratch until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message. Text is UTF-8 if the rules ask for it.
    Message {
        /// Text or binary.
        kind: Kind,
        /// Unmasked, assembled, inflated.
        payload: &'a [u8],
    },
    /// Wants a pong with the same payload, of at most 125 bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or a sign of life.
    Pong(&'a [u8]),
    /// The peer is done; nothing after it means anything.
    Close {
        /// None if the frame was empty.
        code: Option<CloseCode>,
        /// At most 123 bytes.
        reason: &'a str,
    },
}

/// Received bytes, consumed from the front. They are unmasked in place.
pub struct Input<'i> {
    bytes: &'i mut [u8],
}

impl Decoder {
    /// Between messages.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// The next event, or `None` when the input is used up and kept as far as it is unfinished. `inflate` says
    /// that permessage-deflate was agreed. A whole frame inside the input is lent from there, without a copy.
    ///
    /// # Errors
    /// The peer broke a rule. As after [`Event::Close`], feed nothing more of this connection.
    pub fn next<'a, 'i: 'a>(
        &mut self,
        rules: &Rules,
        inflate: bool,
        scratch: &'a mut Scratch,
        input: &mut Input<'i>,
    ) -> Result<Option<Event<'a>>, FrameError> {
        scratch.trim();
        if self.partial.is_none() {
            if let Some((kind, payload)) = short(rules, input) {
                check_text(rules, kind, payload)?;
                return Ok(Some(Event::Message { kind, payload }));
            }
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((header, payload)) = whole(rules, inflate, input)? {
                return frame_event(rules, scratch, &header, payload).map(Some);
            }
        }
        self.resume(rules, inflate, scratch, input)
    }

    /// Whether nothing of a message is pending.
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Bytes of memory behind the unfinished message.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.held_bytes())
    }

    /// Gives the unfinished message's memory back to the shard. For a connection that ends.
    pub fn release(&mut self, scratch: &mut Scratch) {
        if let Some(partial) = self.partial.take() {
            scratch.give_partial(partial);
        }
    }

    /// Goes on with a message that did not lie whole in one input.
    fn resume<'a, 'i: 'a>(
        &mut self,
        rules: &Rules,
        inflate: bool,
        scratch: &'a mut Scratch,
        input: &mut Input<'i>,
    ) -> Result<Option<Event<'a>>, FrameError> {
        let mut partial = self.partial.take().unwrap_or_else(|| scratch.take_partial());
        let ready = partial.advance(rules, inflate, &mut scratch.buffers, input);
        if ready.is_err() || partial.is_idle() {
            scratch.give_partial(partial);
        } else {
            self.partial = Some(partial);
        }
        match ready? {
            Some(ready) => event(rules, scratch, ready).map(Some),
            None => Ok(None),
        }
    }
}

impl Rules {
    /// The limit of a frame.
    #[inline]
    pub(super) fn check_frame(&self, header: &Header) -> Result<(), FrameError> {
        if header.len > self.frame_bytes_max {
            return Err(FrameError::FrameTooLong { len: header.len, limit: self.frame_bytes_max });
        }
        Ok(())
    }

    /// The limit of a message of which `assembled` bytes are there and `len` are announced.
    #[inline]
    pub(super) fn check_message(&self, compressed: bool, assembled: u64, len: u64) -> Result<(), FrameError> {
        let limit = if compressed { self.compressed_bytes_max() } else { self.message_bytes_max };
        if assembled + len > limit as u64 {
            return Err(FrameError::MessageTooLong { limit: self.message_bytes_max });
        }
        Ok(())
    }
}

impl<'i> Input<'i> {
    /// Bytes as they were received.
    pub const fn new(bytes: &'i mut [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not consumed yet.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all bytes are consumed.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn peek(&self) -> &[u8] {
        self.bytes
    }

    /// The next `len` bytes, or as many as there are.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &'i mut [u8] {
        let bytes = std::mem::take(&mut self.bytes);
        let (head, tail) = bytes.split_at_mut(len.min(bytes.len()));
        self.bytes = tail;
        head
    }

    /// The next `len` bytes, unmasked.
    #[inline]
    pub(super) fn unmask(&mut self, len: usize, key: Option<[u8; 4]>) -> &'i [u8] {
        let payload = self.take(len);
        if let Some(key) = key {
            Mask::new(key).apply(payload);
        }
        payload
    }
}

/// The frame that most connections carry most of the time: a client's message of at most 125 bytes in one piece.
/// Half the work of [`whole`], which judges everything else.
#[inline]
fn short<'i>(rules: &Rules, input: &mut Input<'i>) -> Option<(Kind, &'i [u8])> {
    let [first, second, key @ ..] = *input.bytes.first_chunk::<6>()?;
    let kind = match first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        _ => return None,
    };
    let len = usize::from(second ^ 0x80);
    let fits =
        len <= input.bytes.len() - 6 && len as u64 <= rules.frame_bytes_max && len <= rules.message_bytes_max;
    if len > CONTROL_BYTES_MAX || !fits || !matches!(rules.role, Role::Server) {
        return None;
    }
    let (_, payload) = input.take(6 + len).split_at_mut(6);
    Mask::new(key).apply(payload);
    Some((kind, payload))
}

/// A frame that is whole in the input and everything its sender had to say: the common case, nothing is copied.
#[inline]
fn whole<'i>(
    rules: &Rules,
    inflate: bool,
    input: &mut Input<'i>,
) -> Result<Option<(Header, &'i [u8])>, FrameError> {
    let expected = Expected { role: rules.role, inflate, message_open: false };
    let Some((header, header_len)) = Header::parse(input.peek(), expected)? else { return Ok(None) };
    rules.check_frame(&header)?;
    match header.opcode {
        Opcode::Text | Opcode::Binary => rules.check_message(header.rsv1, 0, header.len)?,
        Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {}
    }
    if !header.fin || header.len > (input.len() - header_len) as u64 {
        return Ok(None);
    }
    let (_, payload) = input.take(header_len + header.len as usize).split_at_mut(header_len);
    if let Some(key) = header.key {
        Mask::new(key).apply(payload);
    }
    Ok(Some((header, payload)))
}

/// What the caller sees of a frame that lay in the input.
#[inline]
fn frame_event<'a>(
    rules: &Rules,
    scratch: &'a mut Scratch,
    header: &Header,
    payload: &'a [u8],
) -> Result<Event<'a>, FrameError> {
    let kind = match header.opcode {
        Opcode::Text => Kind::Text,
        Opcode::Binary => Kind::Binary,
        Opcode::Close | Opcode::Ping | Opcode::Pong => return control(header.opcode, payload),
        Opcode::Continuation => unreachable!("a continuation belongs to a partial"),
    };
    if header.rsv1 {
        inflate(rules, scratch, kind, payload)?;
        return Ok(Event::Message { kind, payload: &scratch.inflated });
    }
    check_text(rules, kind, payload)?;
    Ok(Event::Message { kind, payload })
}

/// What the caller sees of something that came in pieces.
fn event<'a, 'i: 'a>(
    rules: &Rules,
    scratch: &'a mut Scratch,
    ready: Ready<'i>,
) -> Result<Event<'a>, FrameError> {
    match ready {
        Ready::Whole { header, payload } => frame_event(rules, scratch, &header, payload),
        Ready::Assembled { kind, compressed, payload } => {
            if !compressed {
                return Ok(Event::Message { kind, payload: scratch.lend(payload) });
            }
            let inflated = inflate(rules, scratch, kind, &payload);
            scratch.buffers.give(payload);
            inflated?;
            Ok(Event::Message { kind, payload: &scratch.inflated })
        }
        Ready::Control { opcode, bytes, len } => {
            scratch.control.0 = bytes;
            control(opcode, &scratch.control.0[..len])
        }
    }
}

/// Puts the message that `compressed` stands for into `scratch.inflated`.
fn inflate(rules: &Rules, scratch: &mut Scratch, kind: Kind, compressed: &[u8]) -> Result<(), FrameError> {
    let inflated = scratch.inflate(compressed, rules.message_bytes_max)?;
    check_text(rules, kind, inflated)
}

#[inline]
fn check_text(rules: &Rules, kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    match kind {
        Kind::Text if rules.validate_utf8 => utf8::validate(payload),
        Kind::Text | Kind::Binary => Ok(()),
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, FrameError> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        Opcode::Close => {
            let (code, reason) = close::parse(payload)?;
            Ok(Event::Close { code, reason })
        }
        Opcode::Text | Opcode::Binary | Opcode::Continuation => unreachable!("data is not control"),
    }
}
