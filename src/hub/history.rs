//! What a home shard remembers of its channels' publications: one [`History`] for each channel, one [`Shelf`] with
//! the byte budget of them all. Hands out exactly what was missed or says that it cannot. Never numbers a
//! publication, never reads a clock, never touches a subscriber.

use std::collections::BTreeSet;
use std::collections::vec_deque::{self, VecDeque};
use std::time::Duration;

use highper_shards::Moment;

use crate::message::Publication;

/// What a channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Publications, at most; 0 keeps nothing.
    pub size: u32,
    /// How long; zero keeps nothing.
    pub ttl: Duration,
}

/// The budget of all histories of a home shard, and which of them holds the oldest publication.
///
/// The order is corrected lazily: a key may be older than what its history holds, never younger. Shedding puts a key
/// that is too old back with the right moment; each such step pays for a publication that left before.
#[derive(Debug)]
pub struct Shelf {
    budget_bytes: usize,
    bytes: usize,
    order: BTreeSet<(Moment, u32)>,
    lost: Vec<u32>,
    /// Publications dropped, or not kept at all, because the budget was full. Only grows.
    pub shed: u64,
    /// Publications dropped because they were too old. Only grows.
    pub expired: u64,
}

/// How the shelf reaches the history of a channel.
pub trait Histories {
    /// The history of the channel at an index; `None` if there is no such channel.
    fn history(&mut self, index: u32) -> Option<&mut History>;
}

/// The newest publications of one channel, with contiguous offsets. Empty it owns no memory. Must be
/// [cleared](Self::clear) before it is dropped: the shelf counts what it holds.
#[derive(Debug, Default)]
pub struct History {
    kept: VecDeque<Kept>,
    /// Offset of the newest publication that was kept, also after it was dropped.
    newest: u64,
    /// The key in the order of the shelf; means nothing while the history is empty.
    listed: Moment,
}

/// One kept publication. Its offset follows from its place.
#[derive(Debug)]
struct Kept {
    at: Moment,
    publication: Publication,
}

/// What a subscriber missed.
#[derive(Debug)]
pub enum Since<'a> {
    /// Every publication after the offset up to the newest, oldest first; none if the subscriber is up to date.
    Complete(Page<'a>),
    /// Something is not held any more, was never kept, or is more than the limit: nothing is given.
    Incomplete,
}

/// Kept publications with their offsets.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    kept: vec_deque::Iter<'a, Kept>,
    first: u64,
    reverse: bool,
}

/// Bytes that a kept publication costs beside its payload: both counts of the `Arc`, what an allocator rounds and
/// heads it with, its place in the ring and the part of the ring that is reserved for the next ones.
pub const ENTRY_BYTES: usize = 16 + 8 + size_of::<Kept>() + size_of::<Kept>() / GROWTH;

/// A ring grows by an eighth, so that at most that much of it is empty; doubling would waste half of the promise.
const GROWTH: usize = 8;
/// The least it grows by.
const GROWTH_MIN: usize = 2;

const _: () = assert!(size_of::<History>() <= 48, "every channel has one, most of them empty");
const _: () = assert!(size_of::<Kept>() <= 48, "a hundred payloads of 200 bytes may cost half of it on top");

impl Shelf {
    /// Nothing is kept yet; `budget_bytes` bounds [`Self::bytes`].
    pub fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, bytes: 0, order: BTreeSet::new(), lost: Vec::new(), shed: 0, expired: 0 }
    }

    /// Bytes of all kept publications: payloads and [`ENTRY_BYTES`] for each. Never above the budget.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops at most `most` of the oldest publications of all until `bytes` hold what is left, and keeps no more than
    /// that from now on; true if it is so. Else the budget is what is left until the next call.
    pub fn limit(&mut self, channels: &mut impl Histories, bytes: usize, most: usize) -> bool {
        self.lost.clear();
        let mut steps = 0;
        while self.bytes > bytes && steps < most {
            self.drop_one(channels);
            steps += 1;
        }
        self.budget_bytes = bytes.max(self.bytes);
        self.bytes <= bytes
    }

    /// Keeps a publication of the channel at index `to`, after dropping what is beyond the rules there, then the
    /// oldest publications of any channel until the budget fits. Returns the channels that lost something to the
    /// budget, each once.
    ///
    /// `offset` is one more than the last; after a hole the older ones are dropped, because they can recover nobody.
    /// A publication that is larger than the budget empties its history and is not kept. `now` never goes back.
    pub fn push(
        &mut self,
        channels: &mut impl Histories,
        to: u32,
        (offset, publication): (u64, Publication),
        rules: Rules,
        now: Moment,
    ) -> &[u32] {
        self.lost.clear();
        let need = bytes(&publication);
        let history = channels.history(to).expect("the caller publishes to a channel that it has");
        if offset != history.newest + 1 || rules.keeps_nothing() {
            history.clear(self, to);
        }
        history.trim(self, to, Rules { size: rules.size.saturating_sub(1), ..rules }, now);
        if need > self.budget_bytes {
            self.shed += 1 + history.len() as u64;
            history.clear(self, to);
            self.lost.push(to);
        } else if !rules.keeps_nothing() {
            self.make_room(channels, need);
            let history = channels.history(to).expect("shedding removes no channel");
            history.append(self, to, Kept { at: now, publication }, rules.size as usize);
            history.newest = offset;
        }
        self.lost.sort_unstable();
        self.lost.dedup();
        &self.lost
    }

    /// Drops the oldest publications of all until `need` bytes fit.
    fn make_room(&mut self, channels: &mut impl Histories, need: usize) {
        while self.bytes + need > self.budget_bytes {
            self.drop_one(channels);
        }
    }

    /// Drops the oldest publication of all, or corrects the order.
    fn drop_one(&mut self, channels: &mut impl Histories) {
        let (listed, index) = self.order.pop_first().expect("bytes are kept by a listed history");
        let history = channels.history(index).expect("a history is cleared before its channel goes");
        let oldest = history.oldest().expect("a listed history holds something");
        if oldest == listed {
            self.shed += 1;
            self.lost.push(index);
            history.drop_oldest(self);
            history.free_if_empty();
        }
        history.list(self, index);
    }
}

impl History {
    /// Publications held.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Offset of the newest publication that was kept, even if it was dropped since; 0 if there was none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// When the oldest publication that is held was published.
    pub fn oldest(&self) -> Option<Moment> {
        self.kept.front().map(|kept| kept.at)
    }

    /// What came after `offset`, if all of it is held. `last` is the offset of the channel's newest publication,
    /// whether it was kept or not. More than `limit` publications are [`Since::Incomplete`]: half of an answer would
    /// be a hole. Call [`Self::expire`] first.
    pub fn since(&self, offset: u64, last: u64, limit: usize) -> Since<'_> {
        let Some(missed) = last.checked_sub(offset) else { return Since::Incomplete };
        if missed == 0 {
            return Since::Complete(self.range(self.len(), self.len(), false));
        }
        let missed = usize::try_from(missed).unwrap_or(usize::MAX);
        if last != self.newest || missed > self.len() || missed > limit {
            return Since::Incomplete;
        }
        Since::Complete(self.range(self.len() - missed, self.len(), false))
    }

    /// At most `limit` publications. Oldest first: those after `since`, or from the oldest on. In reverse, newest
    /// first: those before `since`, or from the newest back. Call [`Self::expire`] first.
    pub fn page(&self, since: Option<u64>, limit: usize, reverse: bool) -> Page<'_> {
        let len = self.len();
        // Places of the ring stand for offsets `first..`, so a place is the distance from `first`.
        let place =
            |offset: u64| usize::try_from(offset.saturating_sub(self.first())).unwrap_or(len).min(len);
        if reverse {
            let end = since.map_or(len, place);
            self.range(end.saturating_sub(limit), end, true)
        } else {
            let start = since.map_or(0, |offset| place(offset.saturating_add(1)));
            self.range(start, start.saturating_add(limit).min(len), false)
        }
    }

    /// Drops everything; the next publication goes on with the next offset. `index` is the channel's.
    pub fn clear(&mut self, shelf: &mut Shelf, index: u32) {
        self.unlist(shelf, index);
        shelf.bytes -= self.kept.iter().map(Kept::bytes).sum::<usize>();
        self.kept = VecDeque::new();
    }

    /// Drops what is too old, or beyond the size if the rules became stricter. `index` is the channel's.
    pub fn expire(&mut self, shelf: &mut Shelf, index: u32, rules: Rules, now: Moment) {
        if rules.keeps_nothing() {
            self.clear(shelf, index);
        } else {
            self.trim(shelf, index, rules, now);
            self.free_if_empty();
        }
    }

    fn trim(&mut self, shelf: &mut Shelf, index: u32, rules: Rules, now: Moment) {
        while self.oldest().is_some_and(|at| now.since(at) >= rules.ttl) {
            shelf.expired += 1;
            self.take_oldest(shelf, index);
        }
        while self.len() > rules.size as usize {
            self.take_oldest(shelf, index);
        }
    }

    /// Drops the oldest of a listed history; the key stays, too old at worst, unless nothing is left.
    fn take_oldest(&mut self, shelf: &mut Shelf, index: u32) {
        if self.len() == 1 {
            self.unlist(shelf, index);
        }
        self.drop_oldest(shelf);
    }

    fn drop_oldest(&mut self, shelf: &mut Shelf) {
        let kept = self.kept.pop_front().expect("the caller saw that it is not empty");
        shelf.bytes -= kept.bytes();
        // A ring that gets emptier keeps the slack that `ENTRY_BYTES` counts, not more.
        if self.kept.capacity() > self.len() + self.len() / 2 + 2 * GROWTH_MIN {
            self.kept.shrink_to(self.len() + self.len() / GROWTH);
        }
    }

    fn free_if_empty(&mut self) {
        if self.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Keeps one more; there are fewer than `size`.
    fn append(&mut self, shelf: &mut Shelf, index: u32, kept: Kept, size: usize) {
        if self.len() == self.kept.capacity() {
            let step = (self.len() / GROWTH).max(GROWTH_MIN);
            self.kept.reserve_exact(step.min(size - self.len()));
        }
        shelf.bytes += kept.bytes();
        self.kept.push_back(kept);
        if self.len() == 1 {
            self.list(shelf, index);
        }
    }

    fn list(&mut self, shelf: &mut Shelf, index: u32) {
        if let Some(oldest) = self.oldest() {
            self.listed = oldest;
            shelf.order.insert((oldest, index));
        }
    }

    fn unlist(&mut self, shelf: &mut Shelf, index: u32) {
        if !self.is_empty() {
            shelf.order.remove(&(self.listed, index));
        }
    }

    /// Offset of the oldest publication that is held.
    fn first(&self) -> u64 {
        self.newest + 1 - self.len() as u64
    }

    fn range(&self, start: usize, end: usize, reverse: bool) -> Page<'_> {
        Page { kept: self.kept.range(start..end), first: self.first() + start as u64, reverse }
    }
}

impl Rules {
    /// Whether nothing is ever kept under these rules.
    pub fn keeps_nothing(self) -> bool {
        self.size == 0 || self.ttl.is_zero()
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        bytes(&self.publication)
    }
}

/// Bytes that keeping a publication takes.
fn bytes(publication: &Publication) -> usize {
    let extras = publication.extras.as_ref().map_or(0, |extras| {
        let event = extras.event.as_ref().map_or(0, |event| event.len());
        16 + size_of_val(&**extras) + event + extras.tags.as_ref().map_or(0, |tags| tags.len())
    });
    ENTRY_BYTES + publication.data.len() + extras
}

impl<'a> Iterator for Page<'a> {
    type Item = (u64, &'a Publication);

    fn next(&mut self) -> Option<Self::Item> {
        if self.reverse {
            let kept = self.kept.next_back()?;
            return Some((self.first + self.kept.len() as u64, &kept.publication));
        }
        let kept = self.kept.next()?;
        self.first += 1;
        Some((self.first - 1, &kept.publication))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.kept.size_hint()
    }
}

impl ExactSizeIterator for Page<'_> {}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
