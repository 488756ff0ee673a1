//! The publications that channels keep for those who come back: one ring per channel, all of a shard under one
//! budget of bytes; the oldest of all go first. Never numbers a publication, never reads a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use highper_shards::Moment;

use crate::message::{Numbered, Publication};

/// The history of one channel: publications with consecutive offsets up to the newest of the channel.
#[derive(Debug, Default)]
pub struct History {
    kept: VecDeque<Kept>,
    /// The offset of the first of them.
    first: u64,
}

const _: () = assert!(size_of::<History>() <= 48, "a channel without history has one too");

#[derive(Debug)]
struct Kept {
    publication: Publication,
    at: Tenths,
}

const _: () = assert!(size_of::<Kept>() <= 48, "multiplied by every publication that is kept");

/// Tenths of a second on the shard's clock: four bytes for thirteen years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tenths(u32);

impl Tenths {
    fn at(moment: Moment) -> Self {
        Self((moment.as_nanos() / 100_000_000) as u32)
    }

    /// The latest moment that is `age` ago.
    fn before(now: Moment, age: Duration) -> Option<Self> {
        Self::at(now).0.checked_sub((age.as_millis() / 100) as u32).map(Self)
    }
}

/// Where a shelf finds the histories of its channels.
pub trait Histories {
    /// The history of the channel at an index, if there is one.
    fn history(&mut self, index: u32) -> Option<&mut History>;
}

/// What one channel keeps at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Publications.
    pub size: usize,
    /// How old one gets.
    pub ttl: Duration,
}

/// The budget of all histories of a shard, and whose publications are the oldest.
#[derive(Debug)]
pub struct Shelf {
    budget: usize,
    bytes: usize,
    /// Channels with a history, the one with the oldest publication first; times may lag behind.
    oldest: BinaryHeap<Reverse<(Tenths, u32)>>,
    /// Publications dropped because the budget was reached.
    pub shed: u64,
}

impl Shelf {
    /// A shelf for this many bytes.
    pub fn new(budget: usize) -> Self {
        Self { budget, bytes: 0, oldest: BinaryHeap::new(), shed: 0 }
    }

    /// Bytes of all that is kept, with what keeping it costs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a publication fits once everything older is gone.
    pub fn holds(&self, publication: &Publication) -> bool {
        cost(publication) <= self.budget
    }

    /// Drops the oldest publications of all channels until one more fits.
    pub fn make_room(&mut self, publication: &Publication, histories: &mut impl Histories) {
        let need = cost(publication);
        while self.bytes + need > self.budget {
            let Some(Reverse((at, index))) = self.oldest.pop() else { return };
            // The channel may be gone, or another one may be there now: its history says how old it is.
            let Some(history) = histories.history(index) else { continue };
            let Some(oldest) = history.kept.front().map(|kept| kept.at) else { continue };
            if oldest <= at {
                self.shed += 1;
                history.drop_first(self);
            }
            if let Some(next) = history.kept.front() {
                self.oldest.push(Reverse((next.at, index)));
            }
        }
    }
}

impl History {
    /// Keeps a publication. It must be the next of the channel and [`Shelf::make_room`] was called for it; `index`
    /// is the channel's.
    pub fn push(
        &mut self,
        numbered: Numbered,
        bounds: Bounds,
        now: Moment,
        (shelf, index): (&mut Shelf, u32),
    ) {
        let Numbered { offset, publication } = numbered;
        assert!(self.kept.is_empty() || self.next() == offset, "a history has no holes");
        self.expire(bounds.ttl, now, shelf);
        while self.kept.len() >= bounds.size.max(1) {
            self.drop_first(shelf);
        }
        let at = Tenths::at(now);
        if self.kept.is_empty() {
            self.first = offset;
            shelf.oldest.push(Reverse((at, index)));
        }
        if self.kept.len() == self.kept.capacity() {
            // Doubling would leave half of it empty.
            self.kept.reserve_exact((self.kept.len() / 8).clamp(4, 4096));
        }
        shelf.bytes += cost(&publication);
        self.kept.push_back(Kept { publication, at });
    }

    /// Publications that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Everything after an offset; `None` if some of it is gone.
    pub fn since(&self, offset: u64) -> Option<impl Iterator<Item = Numbered> + use<'_>> {
        let skip = offset.checked_add(1)?.checked_sub(self.first).filter(|_| !self.kept.is_empty())?;
        Some(self.from(usize::try_from(skip).ok()?))
    }

    /// At most `limit` publications: oldest first those after `since`, or newest first those before it.
    pub fn page(&self, since: Option<u64>, limit: usize, reverse: bool) -> Vec<Numbered> {
        match (reverse, since) {
            (false, since) => {
                let skip = since.map_or(0, |offset| offset.saturating_add(1).saturating_sub(self.first));
                self.from(usize::try_from(skip).unwrap_or(usize::MAX)).take(limit).collect()
            }
            (true, since) => {
                let end = since.map_or(self.kept.len() as u64, |offset| offset.saturating_sub(self.first));
                let end = (end as usize).min(self.kept.len());
                let newest = self.kept.range(..end).enumerate().rev().take(limit);
                newest.map(|(at, kept)| self.numbered(at, kept)).collect()
            }
        }
    }

    /// Drops what is older than this.
    pub fn expire(&mut self, ttl: Duration, now: Moment, shelf: &mut Shelf) {
        let Some(oldest) = Tenths::before(now, ttl) else { return };
        while self.kept.front().is_some_and(|kept| kept.at < oldest) {
            self.drop_first(shelf);
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, shelf: &mut Shelf) {
        while !self.kept.is_empty() {
            self.drop_first(shelf);
        }
        self.kept = VecDeque::new();
    }

    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn from(&self, skip: usize) -> impl Iterator<Item = Numbered> + use<'_> {
        let skip = skip.min(self.kept.len());
        self.kept.range(skip..).enumerate().map(move |(at, kept)| self.numbered(skip + at, kept))
    }

    fn numbered(&self, at: usize, kept: &Kept) -> Numbered {
        Numbered { offset: self.first + at as u64, publication: kept.publication.clone() }
    }

    fn drop_first(&mut self, shelf: &mut Shelf) {
        if let Some(kept) = self.kept.pop_front() {
            self.first += 1;
            shelf.bytes -= cost(&kept.publication);
        }
    }
}

/// Bytes that keeping a publication takes: the payload with its two counters, and its place in the ring.
fn cost(publication: &Publication) -> usize {
    let extras = publication.extras.as_ref().map_or(0, |extras| {
        let text = extras.event.as_ref().map_or(0, |event| event.len());
        size_of_val(&**extras) + text + extras.tags.as_ref().map_or(0, |tags| tags.len())
    });
    publication.data.len() + ARC_BYTES + size_of::<Kept>() + extras
}

/// The counters in front of a shared payload.
const ARC_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    impl Histories for [History; 3] {
        fn history(&mut self, index: u32) -> Option<&mut History> {
            self.get_mut(index as usize)
        }
    }

    const BOUNDS: Bounds = Bounds { size: 5, ttl: Duration::from_secs(60) };

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    fn publication(len: usize) -> Publication {
        Publication::new(None, vec![b'1'; len])
    }

    fn push(history: &mut History, shelf: &mut Shelf, offset: u64, now: Moment) {
        history.push(Numbered { offset, publication: publication(1) }, BOUNDS, now, (shelf, 0));
    }

    fn offsets(numbered: impl IntoIterator<Item = Numbered>) -> Vec<u64> {
        numbered.into_iter().map(|numbered| numbered.offset).collect()
    }

    #[test]
    fn what_was_missed_comes_whole_or_not_at_all() {
        let (mut history, mut shelf) = (History::default(), Shelf::new(1 << 20));
        assert!(history.since(0).is_none());
        (1..=8).for_each(|offset| push(&mut history, &mut shelf, offset, at(0)));
        assert_eq!(history.len(), 5);
        assert!(history.since(2).is_none(), "the third is gone");
        assert_eq!(offsets(history.since(3).unwrap()), [4, 5, 6, 7, 8]);
        assert_eq!(offsets(history.since(7).unwrap()), [8]);
        assert_eq!(offsets(history.since(8).unwrap()), [] as [u64; 0]);
        assert!(history.since(u64::MAX).is_none());
    }

    #[test]
    fn pages_go_both_ways() {
        let (mut history, mut shelf) = (History::default(), Shelf::new(1 << 20));
        (1..=8).for_each(|offset| push(&mut history, &mut shelf, offset, at(0)));
        assert_eq!(offsets(history.page(None, 2, false)), [4, 5]);
        assert_eq!(offsets(history.page(Some(5), 2, false)), [6, 7]);
        assert_eq!(offsets(history.page(Some(1), 2, false)), [4, 5]);
        assert_eq!(offsets(history.page(None, 2, true)), [8, 7]);
        assert_eq!(offsets(history.page(Some(7), 9, true)), [6, 5, 4]);
        assert_eq!(offsets(history.page(Some(2), 9, true)), [] as [u64; 0]);
        assert_eq!(offsets(history.page(Some(u64::MAX), 1, false)), [] as [u64; 0]);
    }

    #[test]
    fn the_old_expire_and_give_their_bytes_back() {
        let (mut history, mut shelf) = (History::default(), Shelf::new(1 << 20));
        push(&mut history, &mut shelf, 1, at(0));
        push(&mut history, &mut shelf, 2, at(50));
        history.expire(BOUNDS.ttl, at(61), &mut shelf);
        assert_eq!(offsets(history.page(None, 9, false)), [2]);
        history.expire(BOUNDS.ttl, at(111), &mut shelf);
        assert!(history.is_empty());
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn the_oldest_of_all_channels_go_first_when_the_budget_is_reached() {
        let budget = 10 * cost(&publication(100));
        let mut shelf = Shelf::new(budget);
        let mut histories = [const { History { kept: VecDeque::new(), first: 0 } }; 3];
        let bounds = Bounds { size: 100, ttl: Duration::from_secs(1000) };
        for turn in 0..20u64 {
            let index = (turn % 3) as usize;
            let offset = turn / 3 + 1;
            let publication = publication(100);
            shelf.make_room(&publication, &mut histories);
            let numbered = Numbered { offset, publication };
            histories[index].push(numbered, bounds, at(turn), (&mut shelf, index as u32));
            assert!(shelf.bytes() <= budget);
        }
        let kept: usize = histories.iter().map(History::len).sum();
        assert_eq!((kept, shelf.shed), (10, 10));
        // Turns 10 to 19 are left: those of each channel without a hole.
        assert_eq!(offsets(histories[0].page(None, 99, false)), [5, 6, 7]);
        assert_eq!(offsets(histories[1].page(None, 99, false)), [4, 5, 6, 7]);
        assert_eq!(offsets(histories[2].page(None, 99, false)), [4, 5, 6]);
        assert!(!shelf.holds(&Publication::new(None, vec![0; budget])));
    }
}
