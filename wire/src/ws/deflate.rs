//! DEFLATE for messages (RFC 7692 §7.2), one inflater and one deflater a shard, no context between messages.
//! Never produces more than it is allowed to, whatever the input says.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::FrameError;

/// Inflates one message at a time. Its window of 32 KiB serves every peer: one that agreed to less just uses less.
#[derive(Default)]
pub struct Inflater {
    /// Made for the first compressed message of the shard.
    raw: Option<Box<Decompress>>,
}

/// Deflates one message at a time, with the window each peer can hold.
pub struct Deflater {
    level: u32,
    /// For 9 to 15 window bits; each made when first needed.
    raw: [Option<Box<Compress>>; 7],
}

/// What a sender removed from the end of its message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The same, and an empty final block: reaching it proves that the message ended with a block and not inside one.
const TAIL_AND_END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// Final blocks (BFINAL) a message may have before its end. Senders make none or one; each costs a reset.
const FINAL_BLOCKS_MAX: u32 = 8;

/// DEFLATE never refers further back.
const WINDOW_BYTES: usize = 32 * 1024;

/// First guess of what a message inflates to, as a multiple of what came.
const INFLATE_RATIO: usize = 4;

/// Room for flush markers: with less left in its output zlib may write a marker twice.
const DEFLATE_ROOM_BYTES: usize = 64;

/// zlib's level where nobody chose one: half the time of zlib's own default for a tenth more bytes of JSON; level 1
/// costs a third more bytes.
pub const LEVEL: u32 = 2;

/// How a piece of input ended.
enum Ended {
    /// All of it is consumed and the stream goes on.
    Open,
    /// After a final block; the rest is not consumed.
    Final,
}

impl Inflater {
    /// Replaces `out` by the message that `compressed` stands for. `out` never holds more than `bytes_max` + 1
    /// bytes, or what it had room for.
    ///
    /// # Errors
    /// `BadDeflate` if the data is damaged or ends inside a block, `MessageTooLong` beyond `bytes_max`.
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.clear();
        let raw = self.raw.get_or_insert_with(|| Box::new(Decompress::new(false)));
        raw.reset(false);
        let room = compressed.len().saturating_mul(INFLATE_RATIO).max(1024);
        out.reserve(room.min(bytes_max.saturating_add(1)));
        let mut rest = compressed;
        let mut final_blocks = 0;
        while !rest.is_empty() {
            match run(raw, &mut rest, bytes_max, out)? {
                Ended::Open => {
                    let mut tail = &TAIL_AND_END[..];
                    return match run(raw, &mut tail, bytes_max, out)? {
                        Ended::Final if tail.is_empty() => Ok(()),
                        Ended::Final | Ended::Open => Err(FrameError::BadDeflate),
                    };
                }
                // RFC 7692 §7.2.3.4: a final block does not end the message. zlib stops there, so it starts anew
                // with the history it had.
                Ended::Final if final_blocks < FINAL_BLOCKS_MAX => {
                    final_blocks += 1;
                    raw.reset(false);
                    let history = &out[out.len().saturating_sub(WINDOW_BYTES)..];
                    raw.set_dictionary(history).map_err(|_| FrameError::BadDeflate)?;
                }
                Ended::Final => return Err(FrameError::BadDeflate),
            }
        }
        Ok(())
    }
}

/// Inflates `input` into `out` until it is used up or a final block ends.
fn run(
    raw: &mut Decompress,
    input: &mut &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<Ended, FrameError> {
    loop {
        if out.len() == out.capacity() {
            let most = bytes_max.saturating_add(1) - out.len();
            out.reserve_exact(out.len().max(1024).min(most));
        }
        let before = (raw.total_in(), out.len());
        let status = raw.decompress_vec(input, out, FlushDecompress::None);
        let consumed = (raw.total_in() - before.0) as usize;
        *input = &input[consumed..];
        if out.len() > bytes_max {
            return Err(FrameError::MessageTooLong { limit: bytes_max });
        }
        match status.map_err(|_| FrameError::BadDeflate)? {
            Status::StreamEnd => return Ok(Ended::Final),
            Status::Ok | Status::BufError if out.len() == out.capacity() => {}
            Status::Ok | Status::BufError if input.is_empty() => return Ok(Ended::Open),
            Status::Ok | Status::BufError if consumed == 0 && out.len() == before.1 => {
                return Err(FrameError::BadDeflate);
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflater {
    /// Nothing allocated yet; compresses with [`LEVEL`].
    pub fn new() -> Self {
        Self::with_level(LEVEL)
    }

    /// The effort to compress with, from 1 (fast) to 9 (small).
    ///
    /// # Panics
    /// If `level` is not in 1..=9.
    pub fn with_level(level: u32) -> Self {
        assert!((1..=9).contains(&level), "zlib has levels 1 to 9");
        Self { level, raw: Default::default() }
    }

    /// Appends the compressed message to `out`, ready to be a frame's payload: without the tail, one zero byte for
    /// an empty message (RFC 7692 §7.2.3.6). No byte refers back further than 2^`window_bits`.
    ///
    /// # Panics
    /// If `window_bits` is not in 9..=15, which no agreement contains.
    pub fn compress(&mut self, payload: &[u8], window_bits: u8, out: &mut Vec<u8>) {
        assert!((9..=15).contains(&window_bits), "an agreement has 9 to 15 window bits");
        if payload.is_empty() {
            out.push(0);
            return;
        }
        let level = Compression::new(self.level);
        let raw = self.raw[usize::from(window_bits - 9)]
            .get_or_insert_with(|| Box::new(Compress::new_with_window_bits(level, false, window_bits)));
        raw.reset();
        let start = out.len();
        let mut rest = payload;
        let mut room = payload.len() / 2 + DEFLATE_ROOM_BYTES;
        loop {
            out.reserve(room);
            let before = raw.total_in();
            let status = raw.compress_vec(rest, out, FlushCompress::Sync);
            status.expect("deflate fails only on a state that was never made");
            rest = &rest[(raw.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            room = rest.len() / 2 + DEFLATE_ROOM_BYTES;
        }
        assert!(out[start..].ends_with(&TAIL), "a sync flush ends with an empty stored block");
        out.truncate(out.len() - TAIL.len());
    }
}
