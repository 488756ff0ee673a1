//! What the generator as a client adds to the protocol: its masking key, its nonce, what it accepts, and messages
//! stamped from templates. Never touches a socket or a clock.

pub mod response;
mod template;

use highper_wire::ws::handshake::Key;
use highper_wire::ws::{Role, Rules};

pub use template::{DIGITS, Template, digits, number};

/// The masking key of every frame. A server unmasks whatever the key is; a fixed one lets templates be masked once.
/// Not zero, so that a server which forgets to unmask is found out.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The largest message a server may send: larger than any that is asked for.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What is accepted of a server. Payloads are compared byte for byte, so UTF-8 needs no second look.
pub const RULES: Rules = Rules {
    frame_bytes_max: MESSAGE_BYTES_MAX as u64,
    message_bytes_max: MESSAGE_BYTES_MAX,
    validate_utf8: false,
    ..Rules::new(Role::Client)
};

/// The nonce of a handshake (RFC 6455 section 4.1). It keeps caches from answering, and there is none between a
/// load generator and what it loads: every connection has the same one.
pub fn handshake_key() -> Key {
    Key::from_nonce(*b"realtime-bench 1")
}
