//! The simulated TCP: bytes travel in order, arrive in pieces, wait behind a full window, and end with a FIN or
//! a reset. A reset loses what is on the way; what has arrived is still read, as on Linux.

use std::time::Duration;

use rustix::io::Errno;

use super::ClientId;
use super::ends::{End, EndId, Flags, Owner, Sending};
use super::fault::Fault;
use super::kernel::{Act, Kernel, Ready};
use super::log::What;
use crate::driver::{Completion, ReceiveEnd};
use crate::tx::Frame;

impl Kernel {
    /// A connection request leaves: the end that asks, and the one that will be accepted.
    pub fn dial(&mut self, asks: Owner, to: Owner) -> (EndId, EndId) {
        let window = self.network.window;
        let near = self.ends.add(asks, window);
        let far = self.ends.add(to, window);
        for (end, peer) in [(near, far), (far, near)] {
            self.ends.get_mut(end).expect("it was just added").peer = Some(peer);
        }
        let after = self.latency();
        self.schedule(after, Act::Request(far));
        (near, far)
    }

    /// Bytes leave for an end.
    pub fn transmit(&mut self, to: EndId, bytes: &[u8]) {
        self.ends.append(to, bytes);
        self.depart(to);
    }

    /// An end stops sending; everything it has sent still arrives.
    pub fn shut(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        if end.flags.has(Flags::SHUT) {
            return;
        }
        end.flags.set(Flags::SHUT);
        if let Some(peer) = end.peer {
            self.finish(peer);
        }
    }

    /// A shard sends. The completion follows when the peer's window has room.
    pub fn send(&mut self, id: EndId, frame: Frame, from: usize) {
        let end = self.ends.get_mut(id).expect("the caller holds the socket");
        assert!(!end.flags.has(Flags::SENDING), "one send at a time");
        assert!(!end.flags.has(Flags::SHUT), "nothing is sent after a shutdown");
        end.flags.set(Flags::SENDING);
        let connected = end.peer.is_some();
        end.sending = Some(Sending { frame, from: from as u32 });
        if connected && self.draw(Fault::SendError) {
            self.break_both(id);
            return;
        }
        if connected && self.draw(Fault::FullWindow) {
            self.ends.get_mut(id).expect("it sends").flags.set(Flags::HELD);
            let span = self.span(self.faults.stall_max);
            return self.schedule(span, Act::Reopen(id));
        }
        if !self.try_send(id) {
            self.counts.count(Fault::FullWindow);
        }
    }

    /// Both directions are gone at once.
    pub fn break_both(&mut self, id: EndId) {
        let peer = self.ends.get(id).and_then(|end| end.peer);
        self.reset_arrives(id);
        let Some(peer) = peer else { return };
        if self.ends.get(peer).is_some_and(|end| end.owner.is_requested()) {
            self.ends.free(peer);
        } else {
            self.reset_arrives(peer);
        }
    }

    /// Something that was on the way arrives.
    pub fn deliver(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        end.flags.clear(Flags::DELIVERING);
        if end.flags.has(Flags::PAUSED.or(Flags::RESET)) || end.owner.is_requested() {
            return;
        }
        let (owner, peer, travelling) = (end.owner, end.peer, end.inbox.travelling());
        if peer.is_some() && self.draw(Fault::Reset) {
            return self.break_both(id);
        }
        if owner == Owner::Client && travelling > 0 && self.draw(Fault::SlowReader) {
            return self.pause(id);
        }
        if travelling > 0
            && let Some(peer) = peer
            && self.may_half_close(peer)
            && self.draw(Fault::HalfClose)
        {
            self.ends.get_mut(peer).expect("it may half-close").flags.set(Flags::SHUT);
            self.ends.get_mut(id).expect("it is there").flags.set(Flags::FIN);
            self.news(peer);
        }
        let mut arrives = travelling;
        if travelling > 1 && self.draw(Fault::Segment) {
            arrives = self.random.within(1, travelling as u64 - 1) as usize;
        }
        let end = self.ends.get_mut(id).expect("it is there");
        end.inbox.arrive(arrives);
        if arrives < travelling {
            self.depart_later(id);
        } else if end.flags.has(Flags::FIN) {
            end.flags.set(Flags::EOF);
        }
        if owner == Owner::Client && arrives > 0 {
            let number = u64::from(self.ends.get(id).expect("it is there").token.index);
            self.note(What::Arrived, number, arrives as u64);
        }
        self.tell(id);
    }

    /// A reset reaches an end.
    pub fn reset_arrives(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        if end.flags.has(Flags::RESET) {
            return;
        }
        end.flags.set(Flags::RESET);
        end.inbox.lose();
        end.peer = None;
        if let Owner::Shard(shard) = end.owner
            && let Some(Sending { frame, .. }) = end.sending.take()
        {
            let token = end.token;
            let error = if self.toss() { Errno::CONNRESET } else { Errno::PIPE };
            self.complete(shard, Ready::Sent { end: id, token, frame, result: Err(error) });
        }
        self.note(What::Reset, u64::from(id.index), 0);
        self.tell(id);
    }

    /// A reader stops for a while.
    pub fn pause(&mut self, id: EndId) {
        self.ends.get_mut(id).expect("it was looked at").flags.set(Flags::PAUSED);
        let span = self.span(self.faults.stall_max);
        self.schedule(span, Act::Resume(id));
    }

    /// A reader goes on.
    pub fn resume(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        if end.flags.take(Flags::PAUSED) {
            self.depart(id);
        }
    }

    /// A window is open again.
    pub fn reopen(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        if end.flags.take(Flags::HELD) {
            self.try_send(id);
        }
    }

    /// The owner of an end has read `count` bytes: the peer's window may open.
    pub fn read(&mut self, id: EndId, count: usize) {
        self.ends.consume(id, count);
        self.window_moved(id);
    }

    /// There may be room in the inbox of this end now.
    pub fn window_moved(&mut self, id: EndId) {
        let Some(&End { ref inbox, window, peer: Some(peer), .. }) = self.ends.get(id) else { return };
        // The kernel wakes a writer when a third of the buffer is free, not for each byte.
        let room = (window as usize).saturating_sub(inbox.len());
        if room * 3 >= window as usize && self.ends.get(peer).is_some_and(|end| end.sending.is_some()) {
            self.try_send(peer);
        }
    }

    /// An end is closed by its owner and forgotten. What it has not read resets the connection.
    pub fn close_end(&mut self, id: EndId) -> Option<End> {
        let mut end = self.ends.free(id)?;
        let unread = end.inbox.len() > 0;
        self.ends.keep(std::mem::take(&mut end.inbox));
        if let Some(peer) = end.peer {
            let other = self.ends.get_mut(peer).expect("an end with a peer is forgotten by it first");
            other.peer = None;
            if other.owner.is_requested() {
                self.ends.free(peer);
            } else if unread {
                self.send_reset(peer);
            } else {
                // A send that waits for the window need not wait any more.
                self.try_send(peer);
                self.finish(peer);
            }
        }
        Some(end)
    }

    /// A shard closes a socket: what was in flight comes back, then or later, and that it is closed.
    pub fn close_socket(&mut self, shard: u32, id: EndId) {
        let last = self.last_bytes(id);
        let Some(end) = self.close_end(id) else { return };
        let (token, flags) = (end.token, end.flags);
        let mut latest = Duration::ZERO;
        let mut back = |kernel: &mut Self, ready| latest = latest.max(kernel.complete_closed(shard, ready));
        if flags.has(Flags::ARMED) {
            let cancelled = Completion::ReceiveEnded { token, end: ReceiveEnd::Cancelled };
            back(self, last.map_or(Ready::Done(cancelled), |bytes| Ready::Last { token, bytes }));
        }
        if let Some(Sending { frame, .. }) = end.sending {
            back(self, Ready::Sent { end: id, token, frame, result: Err(Errno::CANCELED) });
        }
        if flags.has(Flags::CONNECTING) {
            back(self, Ready::Done(Completion::Connected { token, result: Err(Errno::CANCELED) }));
        }
        back(self, Ready::Done(Completion::Closed { token }));
        if self.draw(Fault::Stale) {
            let stale = match self.pick(3) {
                0 => Ready::Done(Completion::Closed { token }),
                1 => Ready::Done(Completion::ReceiveEnded { token, end: ReceiveEnd::Eof }),
                _ => Ready::Last { token, bytes: b"of another connection".to_vec() },
            };
            let after = latest + self.span(self.faults.delay_max) + self.span(self.faults.stall_max);
            self.complete_after(after, shard, stale);
        }
    }

    /// Tells the owner of an end that there is something to look at.
    pub fn tell(&mut self, id: EndId) {
        let Some(end) = self.ends.get(id) else { return };
        match end.owner {
            Owner::Client => self.news(id),
            Owner::Shard(shard) => self.tell_shard(shard, id),
            Owner::Dialling(_) | Owner::Refused(_) | Owner::Backlog(_) => {}
        }
    }

    /// Puts a client into the list of those with news.
    pub fn news(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(id) else { return };
        if !end.flags.has(Flags::QUEUED) {
            end.flags.set(Flags::QUEUED);
            self.news.push_back(ClientId { number: end.token.index, end: id });
        }
    }

    fn tell_shard(&mut self, shard: u32, id: EndId) {
        let Some(End { inbox, flags, .. }) = self.ends.get_mut(id) else { return };
        let ends = flags.has(Flags::EOF.or(Flags::RESET).or(Flags::CANCELLING));
        let wanted = flags.has(Flags::ARMED) && !flags.has(Flags::QUEUED);
        if wanted && (ends || inbox.arrived() > 0) {
            flags.set(Flags::QUEUED);
            self.complete(shard, Ready::Receive(id));
        }
    }

    /// Gives the waiting send to the network, as much as the window takes. False if it takes nothing.
    fn try_send(&mut self, id: EndId) -> bool {
        let Some(end) = self.ends.get_mut(id) else { return true };
        let Owner::Shard(shard) = end.owner else { return true };
        if end.flags.has(Flags::HELD) {
            return false;
        }
        let Some(Sending { frame, from }) = end.sending.take() else { return true };
        let (token, peer, was_reset) = (end.token, end.peer, end.flags.has(Flags::RESET));
        let bytes = &frame[from as usize..];
        let result = match peer {
            None if was_reset => Err(Errno::PIPE),
            None => {
                // The peer has closed: its kernel answers with a reset.
                self.send_reset(id);
                Ok(bytes.len())
            }
            Some(peer) => {
                let inbox = self.ends.get(peer).expect("a peer is there until it is forgotten");
                let room = (inbox.window as usize).saturating_sub(inbox.inbox.len());
                if room == 0 {
                    self.ends.get_mut(id).expect("it sends").sending = Some(Sending { frame, from });
                    return false;
                }
                let mut takes = room.min(bytes.len());
                if takes > 1 && self.draw(Fault::ShortWrite) {
                    takes = self.random.within(1, takes as u64 - 1) as usize;
                }
                self.transmit(peer, &bytes[..takes]);
                Ok(takes)
            }
        };
        self.complete(shard, Ready::Sent { end: id, token, frame, result });
        true
    }

    fn may_half_close(&self, id: EndId) -> bool {
        self.ends.get(id).is_some_and(|end| end.owner == Owner::Client && !end.flags.has(Flags::SHUT))
    }

    /// The direction to this end is over.
    fn finish(&mut self, to: EndId) {
        if let Some(end) = self.ends.get_mut(to) {
            end.flags.set(Flags::FIN);
            self.depart(to);
        }
    }

    fn send_reset(&mut self, to: EndId) {
        let after = self.latency();
        self.schedule(after, Act::Reset(to));
    }

    /// What is on the way to this end arrives after the latency of the network.
    pub fn depart(&mut self, to: EndId) {
        let Some(end) = self.ends.get(to) else { return };
        let settled =
            end.inbox.travelling() == 0 && (!end.flags.has(Flags::FIN) || end.flags.has(Flags::EOF));
        if settled || end.flags.has(Flags::DELIVERING.or(Flags::PAUSED).or(Flags::RESET)) {
            return;
        }
        let after = self.latency();
        if after == Duration::ZERO {
            return self.deliver(to);
        }
        self.depart_after(to, after);
    }

    /// The rest of a cut segment never comes with its beginning.
    fn depart_later(&mut self, to: EndId) {
        let after = self.latency().max(Duration::from_micros(1));
        self.depart_after(to, after);
    }

    fn depart_after(&mut self, to: EndId, after: Duration) {
        if let Some(end) = self.ends.get_mut(to) {
            end.flags.set(Flags::DELIVERING);
            self.schedule(after, Act::Deliver(to));
        }
    }

    /// What an armed receive may still bring although its socket is being closed.
    fn last_bytes(&mut self, id: EndId) -> Option<Vec<u8>> {
        let end = self.ends.get(id)?;
        let some = end.flags.has(Flags::ARMED) && end.inbox.arrived() > 0;
        (some && self.toss()).then(|| {
            let inbox = &self.ends.get(id).expect("it was just there").inbox;
            inbox.readable()[..inbox.arrived().min(LAST_BYTES_MAX)].to_vec()
        })
    }
}

/// Bytes of one receive that ends with its socket: less than any receive buffer.
const LAST_BYTES_MAX: usize = 16;
