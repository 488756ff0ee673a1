//! Simulated listeners: several shards may listen on one address, and each has a backlog of its own. Never sees
//! a byte.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;

use super::ends::{EndId, Flags, Owner};
use super::fault::Fault;
use super::kernel::{Act, Kernel, Ready};
use super::log::What;
use crate::driver::{Completion, Socket};
use crate::token::{ListenerId, ShardId};

pub(super) struct Listening {
    pub address: SocketAddr,
    pub shard: u32,
    /// The shard within its node.
    pub shard_id: ShardId,
    pub local: ListenerId,
    pub open: bool,
    armed: bool,
    /// The shard will look at the backlog in its next turn.
    queued: bool,
    backlog: VecDeque<EndId>,
}

impl Kernel {
    pub fn listen(&mut self, shard: u32, shard_id: ShardId, address: SocketAddr) -> ListenerId {
        let index = self.listeners.len() as u32;
        let own = &mut self.shards[shard as usize].listeners;
        let local = ListenerId(u8::try_from(own.len()).expect("a shard has less than 256 listeners"));
        own.push(index);
        self.listeners.push(Listening {
            address,
            shard,
            shard_id,
            local,
            open: true,
            armed: false,
            queued: false,
            backlog: VecDeque::new(),
        });
        local
    }

    /// Where a connection request for this address goes: to one of its listeners, by chance, or to that of one shard.
    pub fn route(&mut self, address: SocketAddr, shard: Option<ShardId>) -> Owner {
        let fits = |listener: &Listening| {
            listener.open && listener.address == address && shard.is_none_or(|id| id == listener.shard_id)
        };
        let count = self.listeners.iter().filter(|listener| fits(listener)).count();
        if count == 0 {
            return Owner::Refused(Errno::CONNREFUSED);
        }
        let chosen = self.pick(count);
        let nth = self.listeners.iter().enumerate().filter(|(_, listener)| fits(listener)).nth(chosen);
        let (index, _) = nth.expect("fewer were chosen from than counted");
        Owner::Dialling(index as u32)
    }

    pub fn arm_accept(&mut self, shard: u32, listener: ListenerId) {
        let index = self.shards[shard as usize].listeners[usize::from(listener.0)];
        let state = &mut self.listeners[index as usize];
        assert!(!state.armed, "one accept at a time");
        state.armed = true;
        self.look_at_backlog(index);
    }

    pub fn cancel_accept(&mut self, shard: u32, listener: ListenerId) {
        let index = self.shards[shard as usize].listeners[usize::from(listener.0)];
        if std::mem::take(&mut self.listeners[index as usize].armed) {
            let error = Errno::CANCELED;
            self.complete(shard, Ready::Done(Completion::AcceptEnded { listener, error }));
        }
    }

    /// A connection request arrives.
    pub fn request_arrives(&mut self, far: EndId) {
        let Some(end) = self.ends.get(far) else { return };
        match end.owner {
            Owner::Refused(error) => self.refuse(far, error),
            Owner::Dialling(index) => {
                let state = &self.listeners[index as usize];
                if !state.open {
                    self.refuse(far, Errno::CONNREFUSED);
                } else if state.backlog.len() >= self.network.backlog_max {
                    // The request is dropped; its sender tries again.
                    self.schedule(REQUEST_AGAIN, Act::Request(far));
                } else {
                    self.queue(index, far);
                }
            }
            Owner::Backlog(_) | Owner::Shard(_) | Owner::Client => {
                panic!("a connection request arrives once")
            }
        }
    }

    /// What a turn finds in a backlog.
    pub fn accept(&mut self, shard: u32, index: u32, completions: &mut Vec<Completion>) {
        self.listeners[index as usize].queued = false;
        let listener = self.listeners[index as usize].local;
        while self.listeners[index as usize].armed && !self.listeners[index as usize].backlog.is_empty() {
            if let Some(error) = self.accept_fails(shard, index) {
                self.listeners[index as usize].armed = false;
                self.note(What::AcceptEnded, shard.into(), error.raw_os_error() as u64);
                return completions.push(Completion::AcceptEnded { listener, error });
            }
            let Some(far) = self.listeners[index as usize].backlog.pop_front() else { return };
            self.ends.get_mut(far).expect("the backlog holds it").owner = Owner::Shard(shard);
            self.shards[shard as usize].sockets += 1;
            self.note(What::Accepted, shard.into(), far.index.into());
            let peer = Some(self.source(far));
            completions.push(Completion::Accepted { listener, socket: Socket(far.index), peer });
        }
    }

    /// The process of this shard has ended: its kernel closes what it had.
    pub fn kill(&mut self, shard: u32) {
        self.note(What::Killed, shard.into(), 0);
        let state = &mut self.shards[shard as usize];
        state.alive = false;
        state.ready.clear();
        for index in state.listeners.clone() {
            let listener = &mut self.listeners[index as usize];
            (listener.open, listener.armed) = (false, false);
            for far in std::mem::take(&mut listener.backlog) {
                let peer = self.ends.get(far).and_then(|end| end.peer);
                self.close_end(far);
                peer.into_iter().for_each(|peer| self.reset_arrives(peer));
            }
        }
        for id in self.ends.of_shard(shard) {
            self.close_end(id);
        }
    }

    fn accept_fails(&mut self, shard: u32, index: u32) -> Option<Errno> {
        let state = &self.shards[shard as usize];
        if state.sockets >= state.sockets_max {
            self.counts.count(Fault::AcceptFull);
            return Some(Errno::NFILE);
        }
        if self.draw(Fault::AcceptFull) {
            return Some(Errno::MFILE);
        }
        if self.draw(Fault::AcceptAborted) {
            if let Some(far) = self.listeners[index as usize].backlog.pop_front() {
                let peer = self.ends.get(far).and_then(|end| end.peer);
                self.close_end(far);
                peer.into_iter().for_each(|peer| self.reset_arrives(peer));
            }
            return Some(Errno::CONNABORTED);
        }
        self.draw(Fault::AcceptEnds).then_some(Errno::INTR)
    }

    fn queue(&mut self, index: u32, far: EndId) {
        let end = self.ends.get_mut(far).expect("its request has just arrived");
        end.owner = Owner::Backlog(index);
        let near = end.peer.expect("a withdrawn request is forgotten");
        self.listeners[index as usize].backlog.push_back(far);
        self.look_at_backlog(index);
        self.established(near, Ok(()));
        // What was sent behind the request arrives behind it.
        self.depart(far);
    }

    fn refuse(&mut self, far: EndId, error: Errno) {
        let Some(end) = self.ends.free(far) else { return };
        let near = end.peer.expect("a withdrawn request is forgotten");
        self.ends.get_mut(near).expect("an end is forgotten with its request").peer = None;
        self.established(near, Err(error));
    }

    /// The end that asked for the connection learns what became of it.
    fn established(&mut self, near: EndId, result: Result<(), Errno>) {
        let Some(end) = self.ends.get_mut(near) else { return };
        if let Owner::Shard(shard) = end.owner {
            end.flags.clear(Flags::CONNECTING);
            let token = end.token;
            self.complete(shard, Ready::Done(Completion::Connected { token, result }));
        } else if result.is_err() {
            self.reset_arrives(near);
        }
    }

    fn look_at_backlog(&mut self, index: u32) {
        let state = &mut self.listeners[index as usize];
        if state.armed && !state.queued && !state.backlog.is_empty() {
            state.queued = true;
            let shard = state.shard;
            self.complete(shard, Ready::Accept(index));
        }
    }
}

/// A connection request that found the backlog full is sent again after this long, as TCP does.
const REQUEST_AGAIN: Duration = Duration::from_secs(1);
