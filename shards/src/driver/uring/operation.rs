//! Names of kernel operations: what an operation is and whose, packed into the 64 bits that come back with its
//! completion. Never says whether it is in flight; `flight` does.

use crate::token::{GENERATION_MASK, Token};

/// What was asked of the kernel. The number is the upper byte of the user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Accept of one connection; the index is the listener, the generation the place of its address.
    Accept = 1,
    /// Multishot receive into provided buffers.
    Receive = 2,
    /// One-shot poll of a resting connection.
    Rest = 3,
    /// Send; the index is a place in the table of sends, the generation is the slot's.
    Send = 4,
    /// Outgoing connection.
    Connect = 5,
    /// Close of an adopted socket.
    Close = 6,
    /// Cancels `Receive`. Completes only if it found nothing.
    CancelReceive = 7,
    /// Cancels `Rest`. Completes only if it found nothing.
    CancelRest = 8,
    /// Cancels `Send`; named by the slot. Completes only if it found nothing.
    CancelSend = 9,
    /// Cancels `Connect`. Completes only if it found nothing.
    CancelConnect = 10,
    /// Operations whose failure changes nothing: close of a socket nobody adopted.
    Forgotten = 11,
    /// Multishot poll of this shard's eventfd.
    Wake = 12,
    /// A message of another ring: nothing but a wake-up.
    Rung = 13,
    /// A message to another ring that was refused; the index is the peer.
    Ring = 14,
    /// A descriptor put into the file table.
    Install = 15,
    /// Cancels `Accept`. Completes only if it found nothing.
    CancelAccept = 16,
    /// A descriptor was lent to the process so that it can end the sending direction.
    Shutdown = 17,
    /// End of the sending direction by a thread of the kernel.
    ThreadShutdown = 18,
}

const ALL: [Operation; 18] = [
    Operation::Accept,
    Operation::Receive,
    Operation::Rest,
    Operation::Send,
    Operation::Connect,
    Operation::Close,
    Operation::CancelReceive,
    Operation::CancelRest,
    Operation::CancelSend,
    Operation::CancelConnect,
    Operation::Forgotten,
    Operation::Wake,
    Operation::Rung,
    Operation::Ring,
    Operation::Install,
    Operation::CancelAccept,
    Operation::Shutdown,
    Operation::ThreadShutdown,
];

impl Operation {
    /// The user data of this operation for a slot.
    pub fn of(self, token: Token) -> u64 {
        u64::from(self as u8) << 56
            | u64::from(token.generation & GENERATION_MASK) << 32
            | u64::from(token.index)
    }

    /// The user data of this operation for something that has no generation.
    pub fn at(self, index: u32) -> u64 {
        self.of(Token { index, generation: 0 })
    }

    /// Reads user data; `None` if it is not ours, as a message of a foreign ring may not be.
    pub fn parse(user_data: u64) -> Option<(Self, Token)> {
        let operation = *ALL.get(((user_data >> 56) as usize).wrapping_sub(1))?;
        let generation = (user_data >> 32) as u32 & GENERATION_MASK;
        Some((operation, Token { index: user_data as u32, generation }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_comes_back_as_it_went() {
        for operation in ALL {
            for (index, generation) in [(0, 0), (u32::MAX, GENERATION_MASK), (7, 1)] {
                let token = Token { index, generation };
                assert_eq!(Operation::parse(operation.of(token)), Some((operation, token)));
            }
        }
    }

    #[test]
    fn user_data_of_strangers_is_nobody_s() {
        for user_data in [0, u64::MAX, 19 << 56, 1] {
            assert_eq!(Operation::parse(user_data), None);
        }
    }
}
