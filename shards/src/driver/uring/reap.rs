//! From completions of the ring to what the turn understands. Only fills lists: no callback runs and nothing is
//! queued here, so that a completion is never handled while the queue is being read.

use std::mem::MaybeUninit;

use io_uring::cqueue;
use rustix::io::Errno;

use super::files;
use super::flight::{BURST, CANCEL, CLOSE, CONNECT, ONCE, RECEIVE, REST, SHUTDOWN};
use super::operation::Operation;
use super::{Accepting, Uring};
use crate::driver::{Buffer, Completion, ReceiveEnd};
use crate::token::{ListenerId, ShardId, Token};

/// Completions taken out of the queue at once.
const TAKEN: usize = 64;

/// What the kernel said about one operation.
struct Said {
    result: Result<u32, Errno>,
    buffer: Option<u16>,
    /// The operation goes on.
    more: bool,
    /// Bytes are left in the socket.
    is_left: bool,
}

impl Uring {
    /// Takes everything out of the completion queue.
    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut room = [const { MaybeUninit::uninit() }; TAKEN];
        loop {
            let taken = self.ring.take(&mut room);
            for entry in taken {
                let flags = entry.flags();
                let result = entry.result();
                let said = Said {
                    result: u32::try_from(result).map_err(|_| Errno::from_raw_os_error(-result)),
                    buffer: cqueue::buffer_select(flags),
                    more: cqueue::more(flags),
                    is_left: cqueue::sock_nonempty(flags),
                };
                if let Some((operation, token)) = Operation::parse(entry.user_data()) {
                    self.said(operation, token, said, completions);
                }
            }
            if taken.len() < TAKEN {
                return;
            }
        }
    }

    /// Takes completions for the next turn.
    pub(super) fn reap_early(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        self.reap(&mut early);
        self.early = early;
    }

    fn said(&mut self, operation: Operation, token: Token, said: Said, out: &mut Vec<Completion>) {
        match operation {
            Operation::Accept => self.accepted(token, said.result, out),
            Operation::Receive => self.received(token, said, out),
            Operation::Rest => {
                self.flights.clear(token, REST | CANCEL);
                out.push(Completion::ReceiveEnded { token, end: rest_ended(said.result) });
            }
            Operation::Send => {
                if let Some((token, frame)) = self.flights.sent(token.index) {
                    let result = said.result.map(|sent| sent as usize);
                    out.push(Completion::Sent { token, frame, result });
                }
            }
            Operation::Connect => {
                self.flights.clear(token, CONNECT);
                out.push(Completion::Connected { token, result: said.result.map(drop) });
            }
            Operation::Close => out.push(Completion::Closed { token }),
            Operation::CancelReceive => self.cancel_again(operation, token, RECEIVE),
            Operation::CancelRest => self.cancel_again(operation, token, REST),
            Operation::CancelConnect => self.cancel_again(operation, token, CONNECT),
            Operation::CancelSend => {
                if self.flights.get(token).is_some_and(|flight| flight.send().is_some() && flight.has(CLOSE))
                {
                    self.again.push((operation, token));
                }
            }
            Operation::CancelAccept => {
                let state = self.listeners.get(token.index as usize);
                if state.is_some_and(|state| state.arrivals.is_held(token.generation)) {
                    self.again.push((operation, token));
                }
            }
            Operation::Wake => {
                if !said.more {
                    self.again.push((operation, token));
                }
            }
            Operation::Ring => {
                if said.result.is_err() {
                    // The peer's ring is gone or had no memory: its eventfd is not.
                    self.peers.waker(ShardId(token.index as u16)).wake();
                }
            }
            Operation::Shutdown => {
                // Without a free descriptor the peer hears of the end when the connection is closed.
                if let Ok(descriptor) = said.result {
                    files::shutdown(&files::lent(descriptor));
                }
            }
            Operation::ThreadShutdown => {
                self.flights.clear(token, SHUTDOWN);
                if self.flights.get(token).is_some_and(|flight| flight.has(CLOSE)) {
                    self.again.push((operation, token));
                }
            }
            Operation::Install => self.installed = Some(said.result),
            Operation::Forgotten | Operation::Rung => {}
        }
    }

    fn accepted(&mut self, arrival: Token, result: Result<u32, Errno>, out: &mut Vec<Completion>) {
        let listener = ListenerId(arrival.index as u8);
        let Some(state) = self.listeners.get_mut(usize::from(listener.0)) else { return };
        let peer = state.arrivals.take(arrival.generation);
        if let Ok(descriptor) = result {
            out.push(Completion::Accepted { listener, socket: self.files.accepted(descriptor), peer });
        }
        match (result, state.accepting) {
            (Ok(_), Accepting::On) => self.again.push((Operation::Accept, arrival)),
            (Err(error), Accepting::On) => {
                // Those beside it stay in flight: they fail alike, unheard, or bring somebody.
                state.accepting = Accepting::Off;
                out.push(Completion::AcceptEnded { listener, error });
            }
            (Ok(_) | Err(_), Accepting::Off) => {}
            (Ok(_) | Err(_), Accepting::Ending) => {
                if state.arrivals.in_flight() == 0 {
                    state.accepting = Accepting::Off;
                    out.push(Completion::AcceptEnded { listener, error: Errno::CANCELED });
                }
            }
        }
    }

    fn received(&mut self, token: Token, said: Said, out: &mut Vec<Completion>) {
        if !said.more {
            self.flights.clear(token, RECEIVE | CANCEL);
        }
        if let (Ok(len @ 1..), Some(id)) = (said.result, said.buffer) {
            if !said.more || (self.listens_on_files && !said.is_left) {
                self.taken(token, &said);
            }
            let buffer = Buffer { id, len };
            return out.push(Completion::Received { token, buffer, armed: said.more });
        }
        if let Some(id) = said.buffer {
            self.buffers.put(id);
        }
        if said.more {
            return;
        }
        let end = match said.result {
            Ok(_) => ReceiveEnd::Eof,
            Err(Errno::NOBUFS) => {
                self.counters.no_buffers += 1;
                self.counters.rearmed += 1;
                ReceiveEnd::NoBuffers
            }
            Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => ReceiveEnd::Cancelled,
            Err(error) => ReceiveEnd::Failed(error),
        };
        out.push(Completion::ReceiveEnded { token, end });
    }

    /// Bytes were received, and either the receive has ended with them or they were the last for now.
    fn taken(&mut self, token: Token, said: &Said) {
        let Some(flight) = self.flights.get(token) else { return };
        match (flight.has(ONCE), said.more) {
            (true, true) if !flight.has(CANCEL) => {
                // An end may stand behind them, of which this receive will never hear: the next one does.
                self.flights.set(token, CANCEL);
                self.again.push((Operation::CancelReceive, token));
            }
            (true, false) if said.is_left => self.flights.set(token, BURST),
            (true, _) | (false, true) => {}
            (false, false) => self.counters.rearmed += 1,
        }
    }

    /// A cancel found nothing: the operation is done and its completion is on its way, or the kernel holds it
    /// between submission and arming, where no cancel sees it. Only in the second case is it still owed after the
    /// next entry, so the cancel is repeated until it is not.
    fn cancel_again(&mut self, operation: Operation, token: Token, flag: u32) {
        let owed =
            self.flights.get(token).is_some_and(|flight| flight.has(flag) && flight.has(CANCEL | CLOSE));
        if owed {
            self.again.push((operation, token));
        }
    }
}

/// Something can be read: the turn arms a stream. What it is, the receive will say.
fn rest_ended(result: Result<u32, Errno>) -> ReceiveEnd {
    match result {
        Ok(_) | Err(Errno::CANCELED) => ReceiveEnd::Cancelled,
        Err(error) => ReceiveEnd::Failed(error),
    }
}
