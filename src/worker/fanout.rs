//! One publication into many outboxes: encoded once for each form in which subscribers want it, visited in slot
//! order, each connection touched once. Never copies a payload per subscriber.

use highper_shards::{Frame, SlotId};
use highper_wire::dialect::Dialect;
use highper_wire::ws::{self, Kind};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::conn::WebSocket;

/// How a subscriber wants its messages: frames of one form are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    dialect: Dialect,
    /// Compressed with the full window. Who agreed on a smaller one gets it plain: RFC 7692 §6 leaves that free.
    compressed: bool,
}

const FULL_WINDOW_BITS: u8 = 15;

impl Form {
    const COUNT: usize = 6;

    fn of(websocket: &WebSocket) -> Self {
        Self { dialect: websocket.dialect, compressed: websocket.window_bits == FULL_WINDOW_BITS }
    }

    fn index(self) -> usize {
        self.dialect as usize * 2 + usize::from(self.compressed)
    }
}

/// The result of one visit.
enum Visit {
    Done,
    /// The frame of this form is not encoded yet.
    Missing(Form),
    Slow(SlotId),
}

impl Worker {
    /// Sends what `write` writes to every subscriber of a channel. Who reads too slowly is closed afterwards.
    pub(super) fn fan_out(&mut self, io: &mut ShardIo, at: u32, write: impl Fn(&mut Vec<u8>, Dialect)) {
        let Some(entry) = self.local.get(at) else { return };
        let threshold = self.shared.config.compression_threshold.as_usize();
        let mut frames: [Option<Frame>; Form::COUNT] = [const { None }; Form::COUNT];
        let mut delivered = 0;
        for index in entry.state.subscribers.iter() {
            let mut visited = visit(io, index, &frames);
            if let Visit::Missing(form) = visited {
                self.text.clear();
                write(&mut self.text, form.dialect);
                frames[form.index()] = Some(io.frame(|out| {
                    if form.compressed && self.text.len() >= threshold {
                        self.deflated.clear();
                        self.deflater.compress(&self.text, FULL_WINDOW_BITS, &mut self.deflated);
                        ws::encoder::compressed_message(out, Kind::Text, &self.deflated);
                    } else if !self.text.is_empty() {
                        ws::encoder::message(out, Kind::Text, &self.text);
                    }
                }));
                visited = visit(io, index, &frames);
            }
            match visited {
                Visit::Slow(slot) => self.slow.push(slot),
                Visit::Done | Visit::Missing(_) => delivered += 1,
            }
        }
        self.counters.delivered += delivered;
        for frame in frames.into_iter().flatten() {
            io.recycle(frame);
        }
        while let Some(slot) = self.slow.pop() {
            self.end(io, slot, Cause::Slow);
        }
    }
}

fn visit(io: &mut ShardIo, index: u32, frames: &[Option<Frame>; Form::COUNT]) -> Visit {
    let Some((slot, mut open)) = io.open_at(index) else { return Visit::Done };
    let Some(websocket) = open.conn.websocket() else { return Visit::Done };
    let form = Form::of(websocket);
    match &frames[form.index()] {
        None => Visit::Missing(form),
        Some(frame) if frame.is_empty() => Visit::Done,
        Some(frame) => match open.out.push(frame.clone()) {
            Ok(()) => Visit::Done,
            Err(_) => Visit::Slow(slot),
        },
    }
}
