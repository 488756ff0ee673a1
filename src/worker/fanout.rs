//! One publication into many outboxes: encoded once for each form in which subscribers want it, visited in slot
//! order, each connection touched once. Never copies a payload per subscriber.

use highper_shards::{Frame, SlotId};
use highper_wire::dialect::Dialect;
use highper_wire::sse::{self, Tag};
use highper_wire::ws::{self, Kind};

use super::channels::{GAP, write_gap};
use super::close::Cause;
use super::{ShardIo, Worker};
use crate::conn::{Channels, Conn, Phase};
use crate::hub::local::{Local, LocalChannel};
use crate::hub::table::Entry;

/// How a subscriber wants its messages: frames of one form are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    dialect: Dialect,
    coding: Coding,
}

/// What surrounds a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// A WebSocket frame.
    Frame,
    /// A WebSocket frame, compressed with the full window. Who agreed on a smaller one gets it plain: RFC 7692 §6
    /// leaves that free.
    Deflated,
    /// An event of a stream that is in one channel.
    Event,
    /// An event of a stream that is in many: its id is written for each.
    EventWithoutId,
}

const FULL_WINDOW_BITS: u8 = 15;

impl Form {
    const COUNT: usize = 12;

    fn of(conn: &Conn) -> Option<Self> {
        let (dialect, coding) = match &conn.phase {
            Phase::Open(websocket) if websocket.window_bits == FULL_WINDOW_BITS => {
                (websocket.dialect, Coding::Deflated)
            }
            Phase::Open(websocket) => (websocket.dialect, Coding::Frame),
            Phase::Stream(stream) if stream.has_many => (stream.dialect, Coding::EventWithoutId),
            Phase::Stream(stream) => (stream.dialect, Coding::Event),
            Phase::Http(_) | Phase::Closing => return None,
        };
        Some(Self { dialect, coding })
    }

    fn index(self) -> usize {
        self.dialect as usize * 4 + self.coding as usize
    }

    fn is_event(self) -> bool {
        matches!(self.coding, Coding::Event | Coding::EventWithoutId)
    }
}

/// The result of one visit.
enum Visit {
    Done,
    /// The frame of this form is not encoded yet.
    Missing(Form),
    Slow(SlotId),
}

type Frames = [Option<Frame>; Form::COUNT];

impl Worker {
    /// Sends what `write` writes to every subscriber of a channel; streams get it as this event. Who reads too
    /// slowly is closed afterwards.
    pub(super) fn fan_out(
        &mut self,
        io: &mut ShardIo,
        at: u32,
        event: Option<&str>,
        write: impl Fn(&mut Vec<u8>, Dialect, bool),
    ) {
        let Some(entry) = self.local.get(at) else { return };
        let threshold = self.shared.config.compression_threshold.as_usize();
        let event_bytes_max = self.shared.config.sse_max_event_size.as_usize();
        let mut frames: Frames = [const { None }; Form::COUNT];
        let mut delivered = 0;
        for index in entry.state.subscribers.iter() {
            let mut visited = visit(io, &self.local, index, &frames);
            if let Visit::Missing(form) = visited {
                self.text.clear();
                write(&mut self.text, form.dialect, form.is_event());
                let (text, deflated, deflater) = (&self.text, &mut self.deflated, &mut self.deflater);
                frames[form.index()] = Some(io.frame(|out| match form.coding {
                    _ if text.is_empty() => {}
                    Coding::Deflated if text.len() >= threshold => {
                        deflated.clear();
                        deflater.compress(text, FULL_WINDOW_BITS, deflated);
                        ws::encoder::compressed_message(out, Kind::Text, deflated);
                    }
                    Coding::Frame | Coding::Deflated => ws::encoder::message(out, Kind::Text, text),
                    Coding::Event | Coding::EventWithoutId if text.len() > event_bytes_max => {
                        if form.coding == Coding::Event {
                            write_id(out, entry);
                        }
                        let mut gap = Vec::new();
                        write_gap(&mut gap, &entry.channel);
                        sse::body(out, Some(GAP), &gap);
                    }
                    Coding::Event => {
                        write_id(out, entry);
                        sse::body(out, event, text);
                    }
                    Coding::EventWithoutId => sse::body(out, event, text),
                }));
                visited = visit(io, &self.local, index, &frames);
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

fn visit(io: &mut ShardIo, local: &Local, index: u32, frames: &Frames) -> Visit {
    let Some((slot, mut open)) = io.open_at(index) else { return Visit::Done };
    let Some(form) = Form::of(open.conn) else { return Visit::Done };
    let frame = match &frames[form.index()] {
        None => return Visit::Missing(form),
        Some(frame) if frame.is_empty() => return Visit::Done,
        Some(frame) => frame,
    };
    if form.coding == Coding::EventWithoutId {
        let channels = &open.conn.channels;
        let written = open.out.write(|out| sse::id_of_cursor(out, places(local, channels, slot, None)));
        if written.is_err() {
            return Visit::Slow(slot);
        }
    }
    match open.out.push(frame.clone()) {
        Ok(()) => Visit::Done,
        Err(_) => Visit::Slow(slot),
    }
}

/// The id of an event of a stream that is in this channel alone.
fn write_id(out: &mut Vec<u8>, entry: &Entry<LocalChannel>) {
    if let Some(position) = entry.state.position().filter(|_| !entry.channel.is_reserved()) {
        let place = (entry.state.tag, position.epoch as u32, position.offset);
        sse::id_of_cursor(out, std::iter::once(place));
    }
}

/// Where a stream is in each of its channels; in one of them maybe at another offset than it will be.
pub(super) fn places(
    local: &Local,
    channels: &Channels,
    slot: SlotId,
    elsewhere: Option<(u32, u64)>,
) -> impl Iterator<Item = (Tag, u32, u64)> {
    channels.iter().filter_map(move |at| {
        let entry = local.get(at).filter(|entry| !entry.channel.is_reserved())?;
        let position = entry.state.position_of(slot)?;
        let offset =
            elsewhere.filter(|(there, _)| *there == at).map_or(position.offset, |(_, offset)| offset);
        Some((entry.state.tag, position.epoch as u32, offset))
    })
}
