//! Questions to a channel's home: what a connection missed, history, who is in. Asked over the mesh or by a call;
//! the answer finds whoever asked. Never keeps a publication.

use highper_shards::SlotId;
use highper_shards::mesh::Lane;
use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{self, PresenceStats};
use highper_wire::sse;
use highper_wire::ws::{self, Kind};

use super::channels::{GAP, TryAgain, epoch, write_event, write_publication};
use super::close::Cause;
use super::events::write_piece;
use super::fanout::places;
use super::members::native_member;
use super::{ShardIo, Worker};
use crate::api::server::Outcome;
use crate::conn::Phase;
use crate::handler::Error;
use crate::message::{Answer, Channel, Message, Numbered, Position, Purpose, Question, Receipt};

/// What a publication is sent with, beside its data: about as long as the names in it.
const MESSAGE_BYTES: usize = 256;

impl Worker {
    /// Asks a channel's home. The answer comes through [`Worker::on_answer`], maybe now.
    pub(super) fn ask(
        &mut self,
        io: &mut ShardIo,
        channel: &Channel,
        question: Question,
        receipt: Box<Receipt>,
    ) -> Result<(), TryAgain> {
        let home = self.shared.names.home(channel);
        if home == io.shard() {
            let answer = self.home.answer(channel, question, io.now());
            self.on_answer(io, channel, answer, *receipt);
            return Ok(());
        }
        if self.outstanding[home.index()] >= self.receipts_max {
            self.counters.mesh_full += 1;
            return Err(TryAgain);
        }
        let ask = Message::Ask { channel: channel.clone(), question, receipt };
        if io.post(home, Lane::Bulk, ask).is_err() {
            self.counters.mesh_full += 1;
            return Err(TryAgain);
        }
        self.outstanding[home.index()] += 1;
        Ok(())
    }

    /// A join waits for what the connection missed.
    pub(super) fn ask_missed(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        since: Position,
        serial: u32,
    ) {
        let receipt = Box::new(Receipt { slot, purpose: Purpose::Join(serial) });
        if self.ask(io, channel, Question::Missed(since), receipt).is_ok() {
            return;
        }
        // Without an answer there is no subscription: it is undone, and the client told to try again.
        let Some((at, joining)) = self.local.recovered(channel, serial) else { return };
        if let Some(conn) = io.conn(slot) {
            conn.channels.remove(at);
        }
        self.local.leave(at, slot, &mut self.home, io);
        let message = Error::TryAgain.to_string();
        self.refuse_command(io, slot, ErrorCode::TryAgain, &message, joining.id.as_deref());
        if io.conn(slot).is_some_and(|conn| matches!(conn.phase, Phase::Stream(_))) {
            // A stream has no word for it: the browser comes back by itself, with the cursor it has.
            self.end(io, slot, Cause::Restart);
        }
    }

    /// A home has answered.
    pub(super) fn on_answer(
        &mut self,
        io: &mut ShardIo,
        channel: &Channel,
        answer: Answer,
        receipt: Receipt,
    ) {
        let slot = receipt.slot;
        match receipt.purpose {
            Purpose::Join(serial) => {
                let Answer::Missed { position, publications } = answer else {
                    unreachable!("a join asks what was missed")
                };
                self.recovered(io, channel, serial, position, publications);
            }
            Purpose::Part { job, part } => self.put_part(io, slot, job, part, Outcome::from(answer)),
            Purpose::Command(id) => self.answer_command(io, slot, channel, answer, id.as_deref()),
        }
    }

    /// A join is complete: what was missed comes first, or the client is told that it cannot have it.
    fn recovered(
        &mut self,
        io: &mut ShardIo,
        channel: &Channel,
        serial: u32,
        position: Position,
        missed: Option<Vec<Numbered>>,
    ) {
        // Who has left meanwhile was told so.
        let Some((at, joining)) = self.local.recovered(channel, serial) else { return };
        let slot = joining.slot;
        // More than an outbox holds would end the connection as slow, again and again.
        let most = self.shared.config.outbox_bytes.as_usize();
        let bytes = |missed: &Vec<Numbered>| -> usize {
            missed.iter().map(|numbered| numbered.publication.data.len() + MESSAGE_BYTES).sum()
        };
        let missed = missed.filter(|missed| bytes(missed) <= most);
        match &missed {
            Some(_) => self.counters.recovered += 1,
            None => self.counters.unrecovered += 1,
        }
        let is_stream = io.conn(slot).is_some_and(|conn| matches!(conn.phase, Phase::Stream(_)));
        if !is_stream {
            self.joined(io, slot, channel, position, joining.id.as_deref(), Some(missed.is_some()));
        }
        for numbered in missed.iter().flatten() {
            self.send_missed(io, slot, at, channel, numbered);
        }
        if is_stream {
            self.joined(io, slot, channel, position, None, Some(missed.is_some()));
        }
    }

    /// One publication for one connection, under its own number.
    fn send_missed(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        at: u32,
        channel: &Channel,
        Numbered { offset, publication }: &Numbered,
    ) {
        let from = self.publisher(publication);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        if let Some(mut open) = io.open(slot) {
            match &open.conn.phase {
                Phase::Open(websocket) => {
                    write_publication(&mut text, websocket.dialect, channel, *offset, publication, &from);
                    // As much as the history holds may wait for one connection, whatever its outbox holds.
                    open.out.write_last(|out| ws::encoder::message(out, Kind::Text, &text));
                }
                Phase::Stream(stream) => {
                    write_publication(&mut text, stream.dialect, channel, *offset, publication, &from);
                    let event = publication.extras.as_ref().and_then(|extras| extras.event.as_deref());
                    let mut event = event;
                    if text.len() > self.shared.config.sse_max_event_size.as_usize() {
                        // As it was for those who were there.
                        event = Some(GAP);
                        text.clear();
                        write_event(&mut text, GAP, channel);
                    }
                    let places = places(&self.local, &open.conn.channels, slot, Some((at, *offset)));
                    let is_gzip = stream.is_gzip;
                    open.out.write_last(|out| {
                        write_piece(out, is_gzip, |out| {
                            sse::id_of_cursor(out, places);
                            sse::body(out, event, &text);
                        });
                    });
                }
                Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => {}
            }
        }
        self.counters.delivered += 1;
        self.text = text;
        self.from = from;
    }

    /// A stream is in a channel now, and is told so, or that there is a gap: with the id it resumes from here even if
    /// nothing is ever published. An id without data would do for browsers; other clients forget it.
    pub(super) fn stream_joined(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        event: &'static str,
    ) {
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Stream(stream) = &open.conn.phase else { return };
        let is_gzip = stream.is_gzip;
        let places = places(&self.local, &open.conn.channels, slot, None);
        self.text.clear();
        write_event(&mut self.text, event, channel);
        let text = &self.text;
        let write = |out: &mut Vec<u8>| {
            sse::id_of_cursor(out, places);
            sse::body(out, Some(event), text);
        };
        let written = open.out.write_control(|out| write_piece(out, is_gzip, write));
        if written.is_err() {
            self.end(io, slot, Cause::Slow);
        }
    }

    fn answer_command(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        answer: Answer,
        id: Option<&[u8]>,
    ) {
        let name = channel.name();
        match answer {
            Answer::History { position, publications } => {
                let epoch = epoch(position);
                self.tell(io, slot, |out| {
                    native::history_begin(out, name, epoch, position.offset);
                    for (at, Numbered { offset, publication }) in publications.iter().enumerate() {
                        let from = publication.from.map_or_else(String::new, |slot| slot.to_string());
                        let (data, tags) = (&publication.data, publication.tags());
                        native::history_item(out, at == 0, *offset, data, &from, tags);
                    }
                    native::history_end(out, id);
                });
            }
            Answer::Presence(members) => self.tell(io, slot, |out| {
                native::presence_begin(out, name);
                for (at, (slot, member)) in members.iter().enumerate() {
                    native::presence_item(out, at == 0, native_member(&slot.to_string(), member));
                }
                native::presence_end(out, id);
            }),
            Answer::PresenceStats { connections, users } => {
                self.tell(io, slot, |out| {
                    native::presence_stats(out, name, PresenceStats { connections, users }, id)
                });
            }
            Answer::NotAvailable => {
                let message = "the channel keeps nothing of the kind";
                self.refuse_command(io, slot, ErrorCode::NotAvailable, message, id);
            }
            Answer::Missed { .. } | Answer::Done => unreachable!("no command asks for it"),
        }
    }
}
