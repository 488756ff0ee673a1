//! One connection's side of limits that are counted elsewhere: what it has asked for, and the tickets it holds and must
//! give back. Never sends anything; the worker carries questions, answers and tickets.
//!
//! A question belongs to a round, and so does its answer. A ticket of a round that is over, or of a connection that is
//! gone, goes back at once: whatever the order, each ticket is either held by one connection or on its way home.

use super::admission::{Kind, Subject, Ticket};

/// What a connection has asked for and what it holds.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    round: u32,
    /// Answers of this round that are to come.
    waiting: u8,
    refused: Option<Kind>,
    held: Vec<Hold>,
}

/// One ticket in a connection's hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For whom.
    pub subject: Subject,
    /// The ticket.
    pub ticket: Ticket,
    round: u32,
}

/// What became of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every subject has room: the connection is counted.
    Admitted,
    /// A subject has as many connections as it may; nothing of this round is counted.
    Refused(Kind),
    /// A lane between shards is full: nothing was asked. Try again.
    TryAgain,
}

/// What an answer means to its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Others are still to come.
    Waiting,
    /// It was the last one. Tickets that must go home now are in the list.
    Decided(Verdict, Vec<Hold>),
    /// Nobody waits for it; this ticket must go home.
    Late(Option<Hold>),
}

impl Holder {
    /// A new round; answers to questions of earlier ones are late from here on. What is held stays held.
    pub fn begin(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        (self.waiting, self.refused) = (0, None);
        self.round
    }

    /// A question of this round was sent, or is about to be answered here.
    pub fn ask(&mut self) {
        self.waiting += 1;
    }

    /// Whether answers are still to come.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// An answer: a ticket, or none if the subject has as many connections as it may.
    pub fn on_answer(&mut self, round: u32, subject: Subject, ticket: Option<Ticket>) -> Answered {
        let kind = subject.kind();
        let hold = ticket.map(|ticket| Hold { subject, ticket, round });
        if round != self.round || self.waiting == 0 {
            return Answered::Late(hold);
        }
        self.waiting -= 1;
        match hold {
            Some(hold) => self.held.push(hold),
            None => self.refused = self.refused.or(Some(kind)),
        }
        match (self.waiting, self.refused) {
            (0, None) => Answered::Decided(Verdict::Admitted, Vec::new()),
            (0, Some(kind)) => Answered::Decided(Verdict::Refused(kind), self.give_up()),
            (_, _) => Answered::Waiting,
        }
    }

    /// This round comes to nothing: its tickets, to be sent home. What is still out comes late.
    pub fn give_up(&mut self) -> Vec<Hold> {
        let round = self.round;
        self.begin();
        self.held.extract_if(.., |hold| hold.round == round).collect()
    }

    /// The connection ends: everything it holds, to be sent home. What is still out comes late.
    pub fn end(&mut self) -> Vec<Hold> {
        self.begin();
        std::mem::take(&mut self.held)
    }

    /// What it holds.
    pub fn held(&self) -> &[Hold] {
        &self.held
    }
}
