//! Gzip (RFC 1952) of which each piece stands alone, so that one compressed event serves every stream. Never ends a
//! member: a stream ends with its connection, and a checksum over what one subscriber got could not be shared.
//!
//! A stream is [`HEADER`] once, then pieces of [`Gzip::compress`] and [`stored`] in any order. After each piece the
//! receiver has all of it.

use crate::ws::Deflater;

/// The member header: deflate, no flags, no time, unknown system (RFC 1952 §2.3).
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses events; one serves a shard.
pub struct Gzip {
    deflater: Deflater,
}

impl Gzip {
    /// The effort to compress with, from 1 (fast) to 9 (small). Nothing is allocated before the first event.
    ///
    /// # Panics
    /// If `level` is not in 1..=9.
    pub fn new(level: u32) -> Self {
        Self { deflater: Deflater::with_level(level) }
    }

    /// Appends `plain` as blocks that refer to nothing before them, and a flush: an empty stored block, which ends
    /// on a byte (RFC 1951 §3.2.4).
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if !plain.is_empty() {
            self.deflater.compress(plain, WINDOW_BITS, out);
            out.extend_from_slice(&FLUSH);
        }
    }
}

/// Appends `plain` as it is, 5 bytes more for each 65,535: for what is too short to gain, such as the id line that each
/// stream has for itself.
pub fn stored(plain: &[u8], out: &mut Vec<u8>) {
    out.reserve(plain.len() + BLOCK_HEADER_LEN * plain.len().div_ceil(STORED_LEN_MAX));
    for block in plain.chunks(STORED_LEN_MAX) {
        let len = block.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
}

/// Every receiver of gzip has the whole window of 32 KiB.
const WINDOW_BITS: u8 = 15;

/// The end of a flush, which [`Deflater::compress`] leaves out.
const FLUSH: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Bytes of a stored block (RFC 1951 §3.2.4: 16 bits).
const STORED_LEN_MAX: usize = 65_535;
const BLOCK_HEADER_LEN: usize = 5;
