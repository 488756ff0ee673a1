//! One publication into many outboxes: encoded once for each form in which subscribers want it, visited in slot
//! order, each connection touched once. Never copies a payload per subscriber.

use highper_shards::io::Open;
use highper_shards::tx::Label;
use highper_shards::{Frame, SlotId};
use highper_wire::dialect::Dialect;
use highper_wire::sse::{self, Gzip, Tag, gzip};
use highper_wire::ws::{self, Kind};

use super::channels::{GAP, write_event};
use super::close::Cause;
use super::events::write_piece;
use super::slow::label;
use super::{ShardIo, Worker};
use crate::config::Config;
use crate::conn::{Channels, Conn, Phase};
use crate::hub::local::{Local, LocalChannel};
use crate::hub::table::Entry;
use crate::message::ChannelKind;

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
    /// The same two as gzip.
    GzipEvent,
    GzipEventWithoutId,
}

const FULL_WINDOW_BITS: u8 = 15;

impl Form {
    const COUNT: usize = 18;

    fn of(conn: &Conn) -> Option<Self> {
        let (dialect, coding) = match &conn.phase {
            Phase::Open(websocket) if websocket.window_bits == FULL_WINDOW_BITS => {
                (websocket.dialect, Coding::Deflated)
            }
            Phase::Open(websocket) => (websocket.dialect, Coding::Frame),
            Phase::Stream(stream) => {
                let coding = match (stream.has_many, stream.is_gzip) {
                    (false, false) => Coding::Event,
                    (true, false) => Coding::EventWithoutId,
                    (false, true) => Coding::GzipEvent,
                    (true, true) => Coding::GzipEventWithoutId,
                };
                (stream.dialect, coding)
            }
            Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => return None,
        };
        Some(Self { dialect, coding })
    }

    fn index(self) -> usize {
        self.dialect as usize * 6 + self.coding as usize
    }

    fn is_event(self) -> bool {
        !matches!(self.coding, Coding::Frame | Coding::Deflated)
    }

    fn is_gzip(self) -> bool {
        matches!(self.coding, Coding::GzipEvent | Coding::GzipEventWithoutId)
    }

    fn has_own_id(self) -> bool {
        matches!(self.coding, Coding::EventWithoutId | Coding::GzipEventWithoutId)
    }
}

/// The result of one visit.
enum Visit {
    Done,
    /// It took the place of one that waited.
    Replaced,
    /// The frame of this form is not encoded yet.
    Missing(Form),
    /// The outbox is full.
    Full(SlotId),
}

/// One message in every form that somebody wants.
type Frames = [Option<Frame>; Form::COUNT];

impl Worker {
    /// Sends what `write` writes to every subscriber of a channel; streams get it as this event. What has an offset may
    /// be lost as the policy of the channel allows; what has none may not. Who reads too slowly for that is closed
    /// afterwards.
    pub(super) fn fan_out(
        &mut self,
        io: &mut ShardIo,
        at: u32,
        offset: u64,
        event: Option<&str>,
        write: impl Fn(&mut Vec<u8>, Dialect, bool),
    ) {
        let Some(entry) = self.local.get(at) else { return };
        let policy = self.shared.config.namespaces.rules(entry.channel.name()).slow_consumer;
        // An operator who reads too slowly loses events, never the feed.
        let is_feed = entry.channel.kind() == ChannelKind::Security;
        let label = label(policy, at, offset);
        let mut frames: Frames = [const { None }; Form::COUNT];
        let (mut delivered, mut replaced) = (0, 0);
        let (local, encoder) = (&self.local, &mut self.encoder);
        for index in entry.state.subscribers.iter() {
            let mut visited = visit(io, local, index, &frames, label);
            if let Visit::Missing(form) = visited {
                encoder.text.clear();
                write(&mut encoder.text, form.dialect, form.is_event());
                frames[form.index()] = Some(io.frame(|out| encoder.encode(out, form, entry, event)));
                visited = visit(io, local, index, &frames, label);
            }
            match visited {
                Visit::Full(slot) => self.slow.push(slot),
                Visit::Replaced => replaced += 1,
                Visit::Done | Visit::Missing(_) => delivered += 1,
            }
        }
        self.counters.delivered += delivered + replaced;
        self.counters.conflated += replaced;
        if is_feed {
            self.counters.feed_dropped += self.slow.len() as u64;
            self.slow.clear();
        }
        if !self.slow.is_empty() {
            self.squeeze_in(io, &frames, label);
        }
        for frame in frames.into_iter().flatten() {
            io.recycle(frame);
        }
    }

    /// Whoever has a full outbox loses something, or its connection. Ends come last: handlers that hear of them may
    /// publish.
    fn squeeze_in(&mut self, io: &mut ShardIo, frames: &Frames, label: Option<Label>) {
        let mut slow = std::mem::take(&mut self.slow);
        slow.retain(|slot| {
            let Some(mut open) = io.open(*slot) else { return false };
            let Some(form) = Form::of(open.conn) else { return false };
            let Some(frame) = &frames[form.index()] else { return false };
            let opening = opening(&mut open, &self.local, form, *slot);
            let is_in = self.squeeze(io, *slot, opening, frame, label);
            self.counters.delivered += u64::from(is_in);
            !is_in
        });
        while let Some(slot) = slow.pop() {
            self.end(io, slot, Cause::Slow);
        }
        self.slow = slow;
    }
}

/// Turns messages into frames. Keeps its memory from one to the next.
pub(super) struct Encoder {
    /// The message that is being encoded.
    text: Vec<u8>,
    /// A whole event, or a compressed message.
    scratch: Vec<u8>,
    deflater: ws::Deflater,
    gzip: Gzip,
    threshold: usize,
    /// Nothing is compressed while the process is overloaded.
    is_lean: bool,
    event_bytes_max: usize,
}

impl Encoder {
    pub fn new(config: &Config) -> Self {
        Self {
            text: Vec::new(),
            scratch: Vec::new(),
            deflater: ws::Deflater::with_level(u32::from(config.websocket_compression_level)),
            gzip: Gzip::new(u32::from(config.websocket_compression_level)),
            threshold: config.compression_threshold.as_usize(),
            is_lean: false,
            event_bytes_max: config.sse_max_event_size.as_usize(),
        }
    }

    /// Whether to compress nothing from now on.
    pub fn set_lean(&mut self, is_lean: bool) {
        self.is_lean = is_lean;
    }

    /// Whether a text of so many bytes is worth compressing.
    fn is_worth(&self, bytes: usize) -> bool {
        bytes >= self.threshold && !self.is_lean
    }

    fn encode(&mut self, out: &mut Vec<u8>, form: Form, entry: &Entry<LocalChannel>, event: Option<&str>) {
        if self.text.is_empty() {
            return;
        }
        self.scratch.clear();
        match form.coding {
            Coding::Deflated if self.is_worth(self.text.len()) => {
                self.deflater.compress(&self.text, FULL_WINDOW_BITS, &mut self.scratch);
                ws::encoder::compressed_message(out, Kind::Text, &self.scratch);
            }
            Coding::Frame | Coding::Deflated => ws::encoder::message(out, Kind::Text, &self.text),
            Coding::Event | Coding::EventWithoutId => self.write_event(out, form, entry, event),
            Coding::GzipEvent | Coding::GzipEventWithoutId => {
                let mut plain = std::mem::take(&mut self.scratch);
                self.write_event(&mut plain, form, entry, event);
                match self.is_worth(plain.len()) {
                    true => self.gzip.compress(&plain, out),
                    false => gzip::stored(&plain, out),
                }
                self.scratch = plain;
            }
        }
    }

    /// One event. What is larger than a stream may carry becomes a gap.
    fn write_event(&self, out: &mut Vec<u8>, form: Form, entry: &Entry<LocalChannel>, event: Option<&str>) {
        if let Some(position) = entry.state.position().filter(|_| !form.has_own_id())
            && !entry.channel.is_reserved()
        {
            let place = (entry.state.tag, position.epoch as u32, position.offset);
            sse::id_of_cursor(out, std::iter::once(place));
        }
        if self.text.len() <= self.event_bytes_max {
            return sse::body(out, event, &self.text);
        }
        let mut gap = Vec::new();
        write_event(&mut gap, GAP, &entry.channel);
        sse::body(out, Some(GAP), &gap);
    }
}

fn visit(io: &mut ShardIo, local: &Local, index: u32, frames: &Frames, label: Option<Label>) -> Visit {
    let Some((slot, mut open)) = io.open_at(index) else { return Visit::Done };
    let Some(form) = Form::of(open.conn) else { return Visit::Done };
    let frame = match &frames[form.index()] {
        None => return Visit::Missing(form),
        Some(frame) if frame.is_empty() => return Visit::Done,
        Some(frame) => frame,
    };
    if label.is_none() && !form.has_own_id() {
        return match open.out.push(frame.clone()) {
            Ok(()) => Visit::Done,
            Err(_) => Visit::Full(slot),
        };
    }
    let opening = opening(&mut open, local, form, slot);
    match open.out.push_event(opening, frame.clone(), label) {
        Ok(false) => Visit::Done,
        Ok(true) => Visit::Replaced,
        Err(_) => Visit::Full(slot),
    }
}

/// The id of an event, where it is the stream's own.
fn opening(open: &mut Open<'_, Conn>, local: &Local, form: Form, slot: SlotId) -> Option<Frame> {
    let places = form.has_own_id().then(|| places(local, &open.conn.channels, slot, None))?;
    let write = |out: &mut Vec<u8>| sse::id_of_cursor(out, places);
    Some(open.out.frame(|out| write_piece(out, form.is_gzip(), write)))
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
