//! What is in flight: per slot which operations the kernel still owes, and the frames it reads from. A frame is
//! held here from its submission to its completion, so the kernel never reads freed memory. Never submits.

use crate::token::{GENERATION_MASK, Token};
use crate::tx::Frame;

/// The operations of all slots and the frames of all sends.
#[derive(Default)]
pub(super) struct Flights {
    slots: Vec<Flight>,
    sends: Vec<Send>,
    free_send: u32,
    sending: usize,
}

/// One slot. Eight bytes, because they are multiplied by all connections.
#[derive(Clone, Copy)]
pub(super) struct Flight {
    /// Flags in the upper byte, generation below.
    word: u32,
    send: u32,
}

/// A send in flight, or a free place that names the next one.
struct Send {
    frame: Option<Frame>,
    token: Token,
}

const _: () = assert!(size_of::<Flight>() == 8 && size_of::<Send>() == 16);

const NONE: u32 = u32::MAX;

/// A multishot receive is armed.
pub(super) const RECEIVE: u32 = 1 << 24;
/// A one-shot poll is armed.
pub(super) const REST: u32 = 1 << 25;
/// A connect is in flight.
pub(super) const CONNECT: u32 = 1 << 26;
/// The receive must end: a cancel that found nothing is repeated.
pub(super) const CANCEL: u32 = 1 << 27;
/// Everything must end: a cancel that found nothing is repeated.
pub(super) const CLOSE: u32 = 1 << 28;
/// A thread of the kernel ends the sending direction: the socket must not be closed before it has.
pub(super) const SHUTDOWN: u32 = 1 << 29;
/// Receives of this socket are one-shot. A multishot receive waits for the next wake-up once the kernel has told it that
/// no byte is left, and the kernel counts bytes: it tells so of a socket file with an end behind its last byte, too
/// (since Linux 6.17; of TCP it does not). If the end woke it together with the bytes, nothing does any more (until
/// 7.0 and its backports, axboe/liburing#1549). What is armed looks anew.
pub(super) const ONCE: u32 = 1 << 30;
/// More was there than a one-shot receive took: the next one is multishot, and cancelled once nothing is left.
pub(super) const BURST: u32 = 1 << 31;

impl Flight {
    const NOTHING: Self = Self { word: 0, send: NONE };

    pub fn has(self, flag: u32) -> bool {
        self.word & flag != 0
    }

    /// Where the frame in flight is held.
    pub fn send(self) -> Option<u32> {
        Some(self.send).filter(|send| *send != NONE)
    }

    fn is_anything(self) -> bool {
        self.has(RECEIVE | REST | CONNECT) || self.send != NONE
    }
}

impl Flights {
    pub fn new() -> Self {
        Self { slots: Vec::new(), sends: Vec::new(), free_send: NONE, sending: 0 }
    }

    /// A slot begins: nothing is in flight for it.
    pub fn begin(&mut self, token: Token) {
        let index = token.index as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Flight::NOTHING);
        }
        assert!(!self.slots[index].is_anything(), "a slot is reused when the kernel has returned everything");
        self.slots[index] = Flight { word: token.generation & GENERATION_MASK, send: NONE };
    }

    /// The slot as it is now; `None` for a token of a slot that was reused since.
    pub fn get(&self, token: Token) -> Option<Flight> {
        self.slots
            .get(token.index as usize)
            .copied()
            .filter(|flight| flight.word & GENERATION_MASK == token.generation)
    }

    /// Sets flags, unless the slot was reused.
    pub fn set(&mut self, token: Token, flags: u32) {
        if let Some(flight) = self.slot(token) {
            flight.word |= flags;
        }
    }

    /// Clears flags, unless the slot was reused.
    pub fn clear(&mut self, token: Token, flags: u32) {
        if let Some(flight) = self.slot(token) {
            flight.word &= !flags;
        }
    }

    /// Holds a frame until [`Flights::sent`]; returns its place.
    pub fn hold(&mut self, token: Token, frame: Frame) -> u32 {
        let send = Send { frame: Some(frame), token };
        let place = match self.free_send {
            NONE => {
                self.sends.push(send);
                (self.sends.len() - 1) as u32
            }
            place => {
                self.free_send = self.sends[place as usize].token.index;
                self.sends[place as usize] = send;
                place
            }
        };
        self.sending += 1;
        if let Some(flight) = self.slot(token) {
            assert!(flight.send == NONE, "one send per slot is in flight");
            flight.send = place;
        }
        place
    }

    /// Lets go of the frame at `place`, which the kernel has done with.
    pub fn sent(&mut self, place: u32) -> Option<(Token, Frame)> {
        let send = self.sends.get_mut(place as usize)?;
        let (frame, token) = (send.frame.take()?, send.token);
        send.token.index = self.free_send;
        self.free_send = place;
        self.sending -= 1;
        if let Some(flight) = self.slot(token) {
            flight.send = NONE;
        }
        Some((token, frame))
    }

    /// Slots for which the kernel still owes something.
    pub fn owed(&self) -> impl Iterator<Item = Token> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, flight)| flight.is_anything())
            .map(|(index, flight)| Token { index: index as u32, generation: flight.word & GENERATION_MASK })
    }

    fn slot(&mut self, token: Token) -> Option<&mut Flight> {
        let flight = self.slots.get_mut(token.index as usize)?;
        if flight.word & GENERATION_MASK == token.generation { Some(flight) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Frame {
        Frame::from(vec![byte])
    }

    #[test]
    fn a_frame_is_held_until_the_kernel_has_done_with_it() {
        let mut flights = Flights::new();
        let (one, two) = (Token { index: 0, generation: 3 }, Token { index: 9, generation: 0 });
        flights.begin(one);
        flights.begin(two);
        let first = flights.hold(one, frame(1));
        let second = flights.hold(two, frame(2));
        assert_eq!(flights.get(one).and_then(Flight::send), Some(first));
        let (token, held) = flights.sent(first).expect("it is held");
        assert_eq!((token, &held[..]), (one, &[1][..]));
        assert!(flights.sent(first).is_none(), "a second completion finds nothing");
        assert_eq!(flights.hold(one, frame(3)), first, "places are used again");
        assert_eq!(flights.owed().collect::<Vec<_>>(), [one, two]);
        assert!(flights.sent(second).is_some());
        assert_eq!(flights.owed().collect::<Vec<_>>(), [one]);
    }

    #[test]
    fn a_late_token_changes_nothing_of_the_new_slot() {
        let mut flights = Flights::new();
        let (old, new) = (Token { index: 4, generation: GENERATION_MASK }, Token { index: 4, generation: 0 });
        flights.begin(old);
        flights.begin(new);
        flights.set(new, RECEIVE);
        flights.clear(old, RECEIVE);
        flights.set(old, CLOSE);
        assert!(flights.get(old).is_none());
        assert!(flights.get(new).is_some_and(|flight| flight.has(RECEIVE) && !flight.has(CLOSE)));
    }

    #[test]
    #[should_panic(expected = "a slot is reused when the kernel has returned everything")]
    fn a_slot_is_never_reused_while_the_kernel_owes_something() {
        let mut flights = Flights::new();
        flights.begin(Token { index: 0, generation: 0 });
        flights.set(Token { index: 0, generation: 0 }, RECEIVE);
        flights.begin(Token { index: 0, generation: 1 });
    }
}
