//! The lists of frames that wait, one for each outbox, all in one arena. Knows which frame may be lost; never loses
//! one by itself.

use super::{Frame, Label, Loss, NONE, Outbox};

/// The frames of all outboxes of a shard. A node costs 24 bytes and is used again.
pub(super) struct Lists {
    nodes: Vec<Node>,
    free: u32,
}

struct Node {
    frame: Option<Frame>,
    next: u32,
    prev: u32,
    mark: Mark,
}

const _: () = assert!(size_of::<Node>() == 24, "a node is multiplied by all frames that wait");

/// What may become of a frame that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is sent.
    Kept,
    /// It may make room for newer ones.
    Oldest,
    /// A newer one of its topic takes its place.
    Latest,
    /// It tells that frames of its topic made room.
    Word,
}

/// Kind, topic and number of a frame; three bits of the topic are the kind, and whether it opens the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    bits: u32,
    /// Its number in the topic, of which 32 bits are enough to tell those apart that wait.
    pub number: u32,
}

/// Topics are below this.
const TOPICS: u32 = 1 << 29;
const OPENING: u32 = 1 << 31;

impl Mark {
    pub const KEPT: Self = Self { bits: 0, number: 0 };

    pub fn of(label: Label) -> Self {
        let kind = match label.loss {
            Loss::Oldest => Kind::Oldest,
            Loss::Latest => Kind::Latest,
        };
        assert!(label.topic < TOPICS, "so many topics have no room in memory");
        Self { bits: label.topic, number: label.number }.with(kind)
    }

    /// The mark of the frame that opens the one with this mark.
    pub fn opening(self) -> Self {
        Self { bits: self.bits | OPENING, ..self }
    }

    pub fn with(self, kind: Kind) -> Self {
        let keep = OPENING | (TOPICS - 1);
        Self { bits: self.bits & keep | (kind as u32) << 29, ..self }
    }

    pub fn kind(self) -> Kind {
        match self.bits >> 29 & 3 {
            0 => Kind::Kept,
            1 => Kind::Oldest,
            2 => Kind::Latest,
            _ => Kind::Word,
        }
    }

    pub fn topic(self) -> u32 {
        self.bits & (TOPICS - 1)
    }

    pub fn is_opening(self) -> bool {
        self.bits & OPENING != 0
    }
}

impl Lists {
    pub fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE }
    }

    #[inline]
    pub fn append(&mut self, outbox: &mut Outbox, frame: Frame, mark: Mark) {
        let at = match self.free {
            NONE => self.grow(),
            at => at,
        };
        // Field by field: a node that is put together first and then moved costs a stall of the store buffer.
        let node = &mut self.nodes[at as usize];
        self.free = node.next;
        node.frame = Some(frame);
        node.next = NONE;
        node.prev = outbox.tail;
        node.mark = mark;
        match outbox.tail {
            NONE => outbox.head = at,
            tail => self.nodes[tail as usize].next = at,
        }
        outbox.tail = at;
    }

    /// One more node, free.
    fn grow(&mut self) -> u32 {
        self.nodes.push(Node { frame: None, next: NONE, prev: NONE, mark: Mark::KEPT });
        (self.nodes.len() - 1) as u32
    }

    /// Takes the first frame out of the list.
    #[inline]
    pub fn pop(&mut self, outbox: &mut Outbox) -> Option<Frame> {
        let at = outbox.head;
        let node = self.nodes.get_mut(at as usize)?;
        let frame = node.frame.take();
        let next = node.next;
        node.next = self.free;
        self.free = at;
        outbox.head = next;
        match next {
            NONE => outbox.tail = NONE,
            next => self.nodes[next as usize].prev = NONE,
        }
        frame
    }

    /// Takes a frame out of the list.
    pub fn unlink(&mut self, outbox: &mut Outbox, at: u32) -> Frame {
        let node = &mut self.nodes[at as usize];
        let frame = node.frame.take().expect("only nodes of a list are taken out of it");
        let (prev, next) = (node.prev, node.next);
        node.next = self.free;
        self.free = at;
        match prev {
            NONE => outbox.head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => outbox.tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        frame
    }

    /// Puts another frame in the place of one; gives that back.
    pub fn replace(&mut self, at: u32, frame: Frame) -> Frame {
        self.nodes[at as usize].frame.replace(frame).expect("a node of a list has a frame")
    }

    pub fn frame(&self, at: u32) -> &Frame {
        self.nodes[at as usize].frame.as_ref().expect("a node of a list has a frame")
    }

    pub fn frame_mut(&mut self, at: u32) -> &mut Frame {
        self.nodes[at as usize].frame.as_mut().expect("a node of a list has a frame")
    }

    pub fn mark(&self, at: u32) -> Mark {
        self.nodes[at as usize].mark
    }

    pub fn set_mark(&mut self, at: u32, mark: Mark) {
        self.nodes[at as usize].mark = mark;
    }

    pub fn next(&self, at: u32) -> Option<u32> {
        Some(self.nodes[at as usize].next).filter(|next| *next != NONE)
    }

    pub fn prev(&self, at: u32) -> Option<u32> {
        Some(self.nodes[at as usize].prev).filter(|prev| *prev != NONE)
    }

    /// The list from its beginning.
    pub fn forwards(&self, outbox: &Outbox) -> impl Iterator<Item = u32> + '_ {
        let first = Some(outbox.head).filter(|head| *head != NONE);
        std::iter::successors(first, |at| self.next(*at))
    }

    /// The list from its end.
    pub fn backwards(&self, outbox: &Outbox) -> impl Iterator<Item = u32> + '_ {
        let last = Some(outbox.tail).filter(|tail| *tail != NONE);
        std::iter::successors(last, |at| self.prev(*at))
    }
}
