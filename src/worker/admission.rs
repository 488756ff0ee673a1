//! Connections counted by address and user: the question goes to the subject's home shard, its answer comes back to
//! the connection, and what was counted is given back once. Never decides how many there may be; the configuration
//! does.
//!
//! [`Worker::admit`] asks, [`Worker::admitted`] is told, and [`Worker::give_back`] belongs to every end of a connection.
//! While it waits a connection is an HTTP connection. Whatever happens meanwhile, no count is lost: an answer that
//! finds nobody goes back to where it came from.

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};

use super::{ShardIo, Worker};
use crate::limits::{Answered, Hold, Holder, Subject, Ticket, Verdict};
use crate::message::Message;

impl Worker {
    /// Counts a connection for each of these subjects, unless one has as many as its limit. The verdict is known now
    /// if this shard is home of all of them or a lane is full; else `None`, and [`Worker::admitted`] is called with
    /// it, unless the connection ends before. Asking again before that makes the first question void.
    pub(super) fn admit(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        wanted: &[(Subject, u32)],
    ) -> Option<Verdict> {
        let holder = &mut io.conn(slot)?.session().holder;
        let round = holder.begin();
        // First all are asked, then answered: a round is decided by its last answer.
        wanted.iter().for_each(|_| holder.ask());
        if wanted.is_empty() {
            return Some(Verdict::Admitted);
        }
        let mut local = Vec::new();
        for (subject, limit) in wanted {
            let home = self.home_of(subject);
            if home == io.shard() {
                local.push((subject, *limit));
                continue;
            }
            let message = Message::Admit { subject: subject.clone(), limit: *limit, slot, round };
            let may_ask = self.outstanding[home.index()] < self.receipts_max;
            if !may_ask || io.post(home, Lane::Bulk, message).is_err() {
                self.counters.mesh_full += 1;
                let given_up = io.conn(slot)?.session().holder.give_up();
                self.send_home(io, given_up);
                return Some(Verdict::TryAgain);
            }
            self.outstanding[home.index()] += 1;
        }
        let mut verdict = None;
        for (subject, limit) in local {
            let hash = self.shared.names.hash_of(subject);
            let ticket = self.admissions.admit(hash, subject, limit);
            verdict = self.take_answer(io, slot, round, subject.clone(), ticket);
        }
        verdict
    }

    /// At home: another shard asks.
    pub(super) fn on_admit(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        round: u32,
        (subject, limit): (Subject, u32),
    ) {
        let hash = self.shared.names.hash_of(&subject);
        let ticket = self.admissions.admit(hash, &subject, limit);
        let answer = Message::Admitted { subject, ticket, slot, round };
        io.post(slot.shard, Lane::Control, answer).expect("shards have fewer receipts out than it holds");
    }

    /// The home's answer.
    pub(super) fn on_admitted(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        round: u32,
        subject: Subject,
        ticket: Option<Ticket>,
    ) {
        if let Some(verdict) = self.take_answer(io, slot, round, subject, ticket) {
            self.admitted(io, slot, verdict);
        }
    }

    /// At home: a connection is gone.
    pub(super) fn on_vacate(&mut self, subject: &Subject, ticket: Ticket) {
        self.admissions.release(self.shared.names.hash_of(subject), subject, ticket);
    }

    /// A connection ends, or its request comes to nothing: it is counted nowhere any more. Doing it twice does nothing.
    pub(super) fn give_back(&mut self, io: &mut ShardIo, slot: SlotId) {
        let Some(session) = io.conn(slot).and_then(|conn| conn.session.as_mut()) else { return };
        let held = session.holder.end();
        self.send_home(io, held);
    }

    /// The verdict, if this was the last answer. Who is gone has no session, and no question that it could answer.
    fn take_answer(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        round: u32,
        subject: Subject,
        ticket: Option<Ticket>,
    ) -> Option<Verdict> {
        let session = io.conn(slot).and_then(|conn| conn.session.as_mut());
        let mut nobody = Holder::default();
        let holder = session.map_or(&mut nobody, |session| &mut session.holder);
        match holder.on_answer(round, subject, ticket) {
            Answered::Waiting => None,
            Answered::Decided(verdict, holds) => {
                self.send_home(io, holds);
                Some(verdict)
            }
            Answered::Late(hold) => {
                self.send_home(io, hold);
                None
            }
        }
    }

    fn send_home(&mut self, io: &mut ShardIo, holds: impl IntoIterator<Item = Hold>) {
        for Hold { subject, ticket, .. } in holds {
            match self.home_of(&subject) {
                home if home == io.shard() => self.on_vacate(&subject, ticket),
                home => self.post_surely(io, home, Message::Vacate { subject, ticket }),
            }
        }
    }

    fn home_of(&self, subject: &Subject) -> ShardId {
        self.shared.names.home_of(self.shared.names.hash_of(subject))
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
