//! Messages between shards: one single-producer ring per direction and lane, and a bell that wakes only a
//! sleeper. Never blocks: a full lane gives the message back.

pub mod bell;

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::driver::Waker;
use crate::token::ShardId;
use bell::Bell;

/// The two lanes between a pair of shards. Each lane is first in, first out; a message that must not overtake
/// another one takes the same lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Few and urgent: stop, reload, admission.
    Control,
    /// Everything that moves publications, and what must keep its order with them.
    Bulk,
}

/// The lane has no room; here is the message back. The caller says "try again" or marks the receiver as behind.
#[derive(Debug)]
pub struct Full<M>(pub M);

/// One shard's ends of the mesh.
pub struct Mesh<M> {
    shard: ShardId,
    to: Vec<Option<Ends<Producer<M>>>>,
    from: Vec<Option<Ends<Consumer<M>>>>,
    bells: Arc<[Bell]>,
    posted: Vec<bool>,
    any_posted: bool,
    outside: Receiver<M>,
    mailbox: Mailbox<M>,
}

struct Ends<E> {
    control: E,
    bulk: E,
}

/// Where threads that are no shards post: bounded, cloneable, wakes the shard if it sleeps.
pub struct Mailbox<M> {
    sender: Sender<M>,
    bells: Arc<[Bell]>,
    shard: ShardId,
    waker: Waker,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            bells: Arc::clone(&self.bells),
            shard: self.shard,
            waker: self.waker.clone(),
        }
    }
}

impl<M> Mailbox<M> {
    /// Posts to the shard; gives the message back when the mailbox is full or the shard has ended.
    pub fn post(&self, message: M) -> Result<(), Full<M>> {
        self.sender.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => Full(message),
        })?;
        self.ring();
        Ok(())
    }

    /// Posts to the shard and waits while its mailbox is full; false if the shard has ended. For threads that may
    /// wait: never call it on a shard.
    pub fn post_waiting(&self, message: M) -> bool {
        let posted = self.sender.send(message).is_ok();
        self.ring();
        posted
    }

    fn ring(&self) {
        if self.bells[self.shard.index()].must_ring() {
            self.waker.wake();
        }
    }
}

/// Builds the mesh of as many shards as there are wakers; `capacity` messages fit each bulk lane, each mailbox,
/// and a quarter of it each control lane.
pub fn mesh<M>(capacity: usize, wakers: &[Waker]) -> Vec<Mesh<M>> {
    let shards = wakers.len();
    let bells: Arc<[Bell]> = (0..shards).map(|_| Bell::new()).collect();
    let mut meshes: Vec<Mesh<M>> = (0..shards)
        .map(|shard| Mesh::new(ShardId(shard as u16), shards, capacity, &bells, &wakers[shard]))
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (control_in, control_out) = RingBuffer::new((capacity / 4).max(16));
            let (bulk_in, bulk_out) = RingBuffer::new(capacity);
            meshes[from].to[to] = Some(Ends { control: control_in, bulk: bulk_in });
            meshes[to].from[from] = Some(Ends { control: control_out, bulk: bulk_out });
        }
    }
    meshes
}

impl<M> Mesh<M> {
    fn new(shard: ShardId, shards: usize, capacity: usize, bells: &Arc<[Bell]>, waker: &Waker) -> Self {
        let (sender, outside) = crossbeam_channel::bounded(capacity);
        let mailbox = Mailbox { sender, bells: Arc::clone(bells), shard, waker: waker.clone() };
        Self {
            shard,
            to: (0..shards).map(|_| None).collect(),
            from: (0..shards).map(|_| None).collect(),
            bells: Arc::clone(bells),
            posted: vec![false; shards],
            any_posted: false,
            outside,
            mailbox,
        }
    }

    /// The shard these ends belong to.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// How many shards the mesh has.
    pub fn shards(&self) -> usize {
        self.to.len()
    }

    /// Where outside threads post to this shard.
    pub fn mailbox(&self) -> Mailbox<M> {
        self.mailbox.clone()
    }

    /// Posts to another shard; its bell rings at the end of the turn, if it sleeps then.
    pub fn post(&mut self, to: ShardId, lane: Lane, message: M) -> Result<(), Full<M>> {
        let ends = self.to[to.index()].as_mut().expect("a shard does not post to itself");
        let ring = match lane {
            Lane::Control => &mut ends.control,
            Lane::Bulk => &mut ends.bulk,
        };
        ring.push(message).map_err(|rtrb::PushError::Full(message)| Full(message))?;
        self.posted[to.index()] = true;
        self.any_posted = true;
        Ok(())
    }

    /// Free places in a lane.
    pub fn room(&self, to: ShardId, lane: Lane) -> usize {
        self.to[to.index()].as_ref().map_or(0, |ends| match lane {
            Lane::Control => ends.control.slots(),
            Lane::Bulk => ends.bulk.slots(),
        })
    }

    /// Takes the next message of `from`, control before bulk.
    pub fn take(&mut self, from: ShardId) -> Option<M> {
        let ends = self.from[from.index()].as_mut()?;
        ends.control.pop().or_else(|_| ends.bulk.pop()).ok()
    }

    /// Messages of outside threads that wait.
    pub fn waiting_outside(&self) -> usize {
        self.outside.len()
    }

    /// Takes the next message of an outside thread.
    pub fn take_outside(&mut self) -> Option<M> {
        self.outside.try_recv().ok()
    }

    /// Whether a message waits for this shard.
    pub fn has_messages(&self) -> bool {
        !self.outside.is_empty()
            || self.from.iter().flatten().any(|ends| !ends.bulk.is_empty() || !ends.control.is_empty())
    }

    /// The shard is about to sleep. False if a message came in meanwhile: then it must not.
    pub fn may_sleep(&mut self) -> bool {
        let bell = &self.bells[self.shard.index()];
        bell.prepare_to_sleep();
        if self.has_messages() {
            bell.awake();
            return false;
        }
        true
    }

    /// The shard is awake again.
    pub fn awake(&mut self) {
        self.bells[self.shard.index()].awake();
    }

    /// Calls `ring` for every peer that was posted to since the last call and sleeps.
    pub fn ring_sleepers(&mut self, mut ring: impl FnMut(ShardId)) {
        if !std::mem::take(&mut self.any_posted) {
            return;
        }
        for (peer, posted) in self.posted.iter_mut().enumerate() {
            if std::mem::take(posted) && self.bells[peer].must_ring() {
                ring(ShardId(peer as u16));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_first_in_first_out_and_control_goes_first() {
        let mut meshes = mesh::<u32>(8, &[Waker::none(), Waker::none()]);
        let (mut one, mut zero) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        for number in 0..3 {
            zero.post(ShardId(1), Lane::Bulk, number).unwrap();
        }
        zero.post(ShardId(1), Lane::Control, 99).unwrap();
        let taken: Vec<u32> = std::iter::from_fn(|| one.take(ShardId(0))).collect();
        assert_eq!(taken, [99, 0, 1, 2]);
    }

    #[test]
    fn a_full_lane_gives_the_message_back() {
        let mut meshes = mesh::<u32>(4, &[Waker::none(), Waker::none()]);
        for number in 0..4 {
            meshes[0].post(ShardId(1), Lane::Bulk, number).unwrap();
        }
        let Err(Full(back)) = meshes[0].post(ShardId(1), Lane::Bulk, 4) else { panic!("the lane is full") };
        assert_eq!(back, 4);
        assert_eq!(meshes[1].take(ShardId(0)), Some(0));
        meshes[0].post(ShardId(1), Lane::Bulk, 4).unwrap();
    }

    #[test]
    fn only_a_sleeper_is_rung_and_only_once() {
        let mut meshes = mesh::<u32>(8, &[Waker::none(), Waker::none()]);
        let (mut one, mut zero) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        let mut rung = Vec::new();
        zero.post(ShardId(1), Lane::Bulk, 1).unwrap();
        zero.ring_sleepers(|peer| rung.push(peer));
        assert_eq!(rung, [], "it is awake");
        assert!(!one.may_sleep(), "a message waits");
        one.take(ShardId(0));
        assert!(one.may_sleep());
        zero.post(ShardId(1), Lane::Bulk, 2).unwrap();
        zero.post(ShardId(1), Lane::Bulk, 3).unwrap();
        zero.ring_sleepers(|peer| rung.push(peer));
        zero.ring_sleepers(|peer| rung.push(peer));
        assert_eq!(rung, [ShardId(1)]);
    }
}
