//! Frames that a reader who is too slow may lose: marked when they are queued, lost only while they wait. What was
//! given to the driver stays, and so does what has no label. Never decides when; the logic does.

use super::list::{Kind, Mark};
use super::{Frame, Outbox, OutboxFull, Tx};

/// Makes a frame one that may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// How.
    pub loss: Loss,
    /// What it is about: less than 2²⁹.
    pub topic: u32,
    /// Its number in the topic, or the lower 32 bits of it.
    pub number: u32,
}

/// How a frame may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The oldest make room for newer ones, and a word takes their place: [`Tx::drop_oldest`].
    Oldest,
    /// A newer frame of the topic takes its place without a word.
    Latest,
}

/// Frames of one topic that made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Their topic.
    pub topic: u32,
    /// The number of the last of them.
    pub number: u32,
    /// How many there were.
    pub count: usize,
}

/// Frames that are looked through for one that may be lost: as many as a reader has who follows a thousand topics.
/// Who has more to wait for is a slow one whatever its topics allow.
const LOOK_MAX: usize = 1024;

impl Tx {
    /// Appends a frame and what opens it, if there is such a thing: both or none. A frame of [`Loss::Latest`] takes
    /// the place of the one of its topic that waits; true if there was one. At `limit` bytes it is refused, unless the
    /// outbox is empty.
    pub fn push_event(
        &mut self,
        outbox: &mut Outbox,
        opening: Option<Frame>,
        frame: Frame,
        label: Option<Label>,
        limit: usize,
    ) -> Result<bool, OutboxFull> {
        let is_replacing = match label {
            Some(Label { loss: Loss::Latest, topic, .. }) => self.drop_latest(outbox, topic),
            Some(Label { loss: Loss::Oldest, .. }) | None => false,
        };
        let bytes = frame.len() + opening.as_ref().map_or(0, |opening| opening.len());
        if outbox.bytes() + bytes > limit && outbox.bytes > 0 {
            self.recycle(frame);
            opening.into_iter().for_each(|opening| self.recycle(opening));
            return Err(OutboxFull);
        }
        let mark = label.map_or(Mark::KEPT, Mark::of);
        if let Some(opening) = opening {
            self.append(outbox, opening, mark.opening());
        }
        self.append(outbox, frame, mark);
        Ok(is_replacing)
    }

    /// The oldest frame of [`Loss::Oldest`] makes room, and those of its topic right behind it, until the outbox has
    /// at most `most` bytes. What `write` writes takes their place; a word of the topic that stands right before becomes part of it.
    /// `None` if there is no such frame. Call it again until there is room.
    pub fn drop_oldest(
        &mut self,
        outbox: &mut Outbox,
        most: usize,
        write: impl FnOnce(Lost, &mut Vec<u8>),
    ) -> Option<Lost> {
        let is_oldest = |mark: Mark| mark.kind() == Kind::Oldest && !mark.is_opening();
        let mut at = self.lists.forwards(outbox).take(LOOK_MAX).find(|at| is_oldest(self.lists.mark(*at)))?;
        let topic = self.lists.mark(at).topic();
        let mut count = 1;
        while outbox.bytes() - self.lists.frame(at).len() > most
            && let Some(next) = self.next_event(at)
            && is_oldest(self.lists.mark(next))
            && self.lists.mark(next).topic() == topic
        {
            self.remove(outbox, at);
            at = next;
            count += 1;
        }
        let mark = self.lists.mark(at);
        let opening = self.opening_of(at);
        let lost = Lost { topic, number: mark.number, count };
        self.join_words(outbox, opening.unwrap_or(at), topic);
        let word = self.frame(|out| write(lost, out));
        if word.is_empty() {
            self.recycle(word);
            self.remove(outbox, at);
            return Some(lost);
        }
        for part in opening.into_iter().chain([at]) {
            let mark = self.lists.mark(part);
            self.lists.set_mark(part, mark.with(Kind::Word));
        }
        self.owe(outbox, word.len());
        let old = self.lists.replace(at, word);
        self.paid(outbox, old.len());
        self.recycle(old);
        Some(lost)
    }

    /// The frame of [`Loss::Latest`] that waits is lost; false if none does.
    pub fn drop_latest(&mut self, outbox: &mut Outbox, topic: u32) -> bool {
        let is_it = |mark: Mark| mark.kind() == Kind::Latest && !mark.is_opening() && mark.topic() == topic;
        let waiting = self.lists.backwards(outbox).take(LOOK_MAX).find(|at| is_it(self.lists.mark(*at)));
        if let Some(at) = waiting {
            self.remove(outbox, at);
        }
        waiting.is_some()
    }

    /// What waits of a topic is lost no more. Costs a look at everything that waits.
    pub fn keep(&mut self, outbox: &Outbox, topic: u32) {
        let mut at = outbox.head;
        while at != super::NONE {
            let mark = self.lists.mark(at);
            if mark.kind() != Kind::Kept && mark.topic() == topic {
                self.lists.set_mark(at, Mark::KEPT);
            }
            at = self.lists.next(at).unwrap_or(super::NONE);
        }
    }

    /// Bytes that wait although they may not be lost. As long as nothing waits that may be, what is in flight counts
    /// too. Costs a look at everything that waits.
    pub fn kept(&self, outbox: &Outbox) -> usize {
        let (mut kept, mut loose) = (0, 0);
        for at in self.lists.forwards(outbox) {
            let bytes = self.lists.frame(at).len();
            match self.lists.mark(at).kind() {
                Kind::Kept | Kind::Word => kept += bytes,
                Kind::Oldest | Kind::Latest => loose += bytes,
            }
        }
        if loose == 0 { outbox.bytes() } else { kept }
    }

    /// Whether something waits that may be lost, among what was queued last.
    pub fn has_loose(&self, outbox: &Outbox) -> bool {
        let is_loose = |at: u32| matches!(self.lists.mark(at).kind(), Kind::Oldest | Kind::Latest);
        self.lists.backwards(outbox).take(LOOK_MAX).any(is_loose)
    }

    /// The frame behind an event that is not an opening.
    fn next_event(&self, at: u32) -> Option<u32> {
        let next = self.lists.next(at)?;
        if self.lists.mark(next).is_opening() { self.lists.next(next) } else { Some(next) }
    }

    /// What opens the frame, if that waits too.
    fn opening_of(&self, at: u32) -> Option<u32> {
        let mark = self.lists.mark(at).opening();
        self.lists.prev(at).filter(|prev| self.lists.mark(*prev) == mark && mark.kind() != Kind::Kept)
    }

    /// Takes a frame and its opening out.
    fn remove(&mut self, outbox: &mut Outbox, at: u32) {
        for part in self.opening_of(at).into_iter().chain([at]) {
            let frame = self.lists.unlink(outbox, part);
            self.paid(outbox, frame.len());
            self.recycle(frame);
        }
    }

    /// What is kept may say where the reader is in a topic, and so do openings: only words that stand directly before
    /// the first part of the next one may become part of it. The one of the same topic goes; the last of them loses
    /// its opening, for all of them are told before the next opening counts.
    fn join_words(&mut self, outbox: &mut Outbox, first: u32, topic: u32) {
        let mut before = self.lists.prev(first);
        while let Some(at) = before {
            let mark = self.lists.mark(at);
            if mark.kind() != Kind::Word {
                return;
            }
            before = self.lists.prev(at);
            if mark.is_opening() || mark.topic() == topic {
                let frame = self.lists.unlink(outbox, at);
                self.paid(outbox, frame.len());
                self.recycle(frame);
            }
        }
    }
}
