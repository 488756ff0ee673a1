//! What has come of a message that does not end in its input: header bytes, payload so far, where the reader is.
//! Boxed, because most connections have none at most times. Never stores what the rules refuse.

use super::frame::{CONTROL_BYTES_MAX, Expected, HEADER_BYTES_MAX, Header, Opcode};
use super::mask::Mask;
use super::scratch::Buffers;
use super::utf8::Utf8;
use super::{FrameError, Input, Kind, Rules};

/// The unfinished part of one connection's input.
#[derive(Default)]
pub(super) struct Partial {
    reading: Reading,
    /// The data message that is open, from its first header to its last byte.
    message: Option<Open>,
    /// Its payload so far, unmasked.
    assembly: Vec<u8>,
}

/// What the next byte belongs to.
enum Reading {
    Head { bytes: [u8; HEADER_BYTES_MAX], len: u8 },
    Data { fin: bool, remaining: u64, mask: Option<Mask> },
    Control { opcode: Opcode, mask: Option<Mask>, bytes: [u8; CONTROL_BYTES_MAX], len: u8, remaining: u8 },
}

struct Open {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    empty_continuations: u32,
    utf8: Utf8,
}

/// Something the peer finished.
pub(super) enum Ready<'i> {
    /// A frame that is a whole message or control frame and lies in the input, unmasked.
    Whole { header: Header, payload: &'i [u8] },
    /// A message in the given buffer; text is checked already unless it is compressed.
    Assembled { kind: Kind, compressed: bool, payload: Vec<u8> },
    /// A control frame that came in pieces.
    Control { opcode: Opcode, bytes: [u8; CONTROL_BYTES_MAX], len: usize },
}

impl Partial {
    /// Reads until something is finished or the input is used up.
    pub fn advance<'i>(
        &mut self,
        rules: &Rules,
        inflate: bool,
        buffers: &mut Buffers,
        input: &mut Input<'i>,
    ) -> Result<Option<Ready<'i>>, FrameError> {
        loop {
            match &mut self.reading {
                Reading::Head { .. } => {
                    let expected =
                        Expected { role: rules.role, inflate, message_open: self.message.is_some() };
                    let Some(header) = self.head(expected, input)? else { return Ok(None) };
                    if let Some(ready) = self.begin(rules, header, input)? {
                        return Ok(Some(ready));
                    }
                }
                Reading::Data { remaining, .. } => {
                    let ends = *remaining <= input.len() as u64;
                    if let Some(ready) = self.data(rules, buffers, input)? {
                        return Ok(Some(ready));
                    }
                    if !ends {
                        return Ok(None);
                    }
                }
                Reading::Control { opcode, mask, bytes, len, remaining } => {
                    let piece = input.take((*remaining).into());
                    if let Some(mask) = mask {
                        mask.apply(piece);
                    }
                    let start = usize::from(*len);
                    bytes[start..start + piece.len()].copy_from_slice(piece);
                    *len += piece.len() as u8;
                    *remaining -= piece.len() as u8;
                    if *remaining > 0 {
                        return Ok(None);
                    }
                    let ready = Ready::Control { opcode: *opcode, bytes: *bytes, len: (*len).into() };
                    self.reading = Reading::default();
                    return Ok(Some(ready));
                }
            }
        }
    }

    /// Whether nothing is pending, so that the box can serve another connection.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Head { len: 0, .. }) && self.message.is_none()
    }

    /// Forgets everything; the buffer goes back to the caller.
    pub fn clear(&mut self) -> Vec<u8> {
        self.reading = Reading::default();
        self.message = None;
        std::mem::take(&mut self.assembly)
    }

    /// Bytes of memory behind this partial.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.assembly.capacity()
    }

    /// The next header, out of the input if it lies there whole.
    fn head(&mut self, expected: Expected, input: &mut Input<'_>) -> Result<Option<Header>, FrameError> {
        let Reading::Head { bytes, len } = &mut self.reading else { return Ok(None) };
        if *len == 0
            && let Some((header, header_len)) = Header::parse(input.peek(), expected)?
        {
            input.take(header_len);
            return Ok(Some(header));
        }
        while let [byte] = input.take(1) {
            bytes[usize::from(*len)] = *byte;
            *len += 1;
            if let Some((header, _)) = Header::parse(&bytes[..usize::from(*len)], expected)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Judges a header by the limits and turns to its payload. A control frame that is whole in the input is
    /// finished at once.
    fn begin<'i>(
        &mut self,
        rules: &Rules,
        header: Header,
        input: &mut Input<'i>,
    ) -> Result<Option<Ready<'i>>, FrameError> {
        rules.check_frame(&header)?;
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                self.reading = Reading::default();
                if header.len > input.len() as u64 {
                    self.reading = Reading::Control {
                        opcode: header.opcode,
                        mask: header.key.map(Mask::new),
                        bytes: [0; CONTROL_BYTES_MAX],
                        len: 0,
                        remaining: header.len as u8,
                    };
                    return Ok(None);
                }
                let payload = input.unmask(header.len as usize, header.key);
                return Ok(Some(Ready::Whole { header, payload }));
            }
            Opcode::Text => self.message = Some(Open::new(Kind::Text, header.rsv1)),
            Opcode::Binary => self.message = Some(Open::new(Kind::Binary, header.rsv1)),
            Opcode::Continuation => self.open().count_continuation(rules, header.len)?,
        }
        let compressed = self.open().compressed;
        rules.check_message(compressed, self.assembly.len() as u64, header.len)?;
        self.reading =
            Reading::Data { fin: header.fin, remaining: header.len, mask: header.key.map(Mask::new) };
        Ok(None)
    }

    /// Takes what the input has of a data frame. At its end the reader turns to the next header, or the message
    /// is ready.
    fn data<'i>(
        &mut self,
        rules: &Rules,
        buffers: &mut Buffers,
        input: &mut Input<'i>,
    ) -> Result<Option<Ready<'i>>, FrameError> {
        let Reading::Data { fin, remaining, mask } = &mut self.reading else { return Ok(None) };
        let piece = input.take(usize::try_from(*remaining).unwrap_or(usize::MAX));
        if let Some(mask) = mask {
            mask.apply(piece);
        }
        *remaining -= piece.len() as u64;
        let (fin, remaining) = (*fin, *remaining);
        let open = self.message.as_mut().expect(OPEN);
        let check_text = matches!(open.kind, Kind::Text) && !open.compressed && rules.validate_utf8;
        if check_text {
            open.utf8.feed(piece)?;
        }
        append(&mut self.assembly, piece, remaining, buffers);
        if remaining > 0 {
            return Ok(None);
        }
        self.reading = Reading::default();
        if !fin {
            return Ok(None);
        }
        if check_text {
            open.utf8.finish()?;
        }
        let (kind, compressed) = (open.kind, open.compressed);
        let payload = self.clear();
        Ok(Some(Ready::Assembled { kind, compressed, payload }))
    }

    fn open(&mut self) -> &mut Open {
        self.message.as_mut().expect(OPEN)
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self::Head { bytes: [0; HEADER_BYTES_MAX], len: 0 }
    }
}

impl Open {
    fn new(kind: Kind, compressed: bool) -> Self {
        Self { kind, compressed, fragments: 1, empty_continuations: 0, utf8: Utf8::default() }
    }

    fn count_continuation(&mut self, rules: &Rules, len: u64) -> Result<(), FrameError> {
        if self.fragments >= rules.fragments_max {
            return Err(FrameError::TooManyFragments { limit: rules.fragments_max });
        }
        self.fragments += 1;
        if len == 0 {
            if self.empty_continuations >= rules.empty_continuations_max {
                let limit = rules.empty_continuations_max;
                return Err(FrameError::TooManyEmptyContinuations { limit });
            }
            self.empty_continuations += 1;
        }
        Ok(())
    }
}

/// Appends to the assembly; `remaining` bytes of its frame are still to come. Room is made for them too, but for
/// no more than as much again as has come: a declared length costs the peer its bytes before it costs us memory.
fn append(assembly: &mut Vec<u8>, piece: &[u8], remaining: u64, buffers: &mut Buffers) {
    let need = assembly.len() + piece.len();
    if need > assembly.capacity() {
        let whole = need.saturating_add(usize::try_from(remaining).unwrap_or(usize::MAX));
        buffers.grow(assembly, whole.min(2 * need));
    }
    assembly.extend_from_slice(piece);
}

const OPEN: &str = "data and continuations are accepted only inside a message";
