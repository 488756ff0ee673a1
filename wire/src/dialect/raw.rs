//! The raw dialect: the server adds no language of its own. Never looks into a message.
//!
//! - What a client sends, text or binary, reaches the embedder's handler as it came. Joining, publishing and
//!   answering are the handler's calls; there are no commands, no acknowledgements and no error messages.
//! - What is published into a channel reaches a subscriber as its data bytes alone: no channel, no offset, no sender.
//!   A client that must tell channels apart, or find gaps, needs the native dialect or has to put both into its data.
//! - A fault that the native dialect reports as an event has no form here. What concerns the connection is said by
//!   the transport's close code; all else is the handler's return value.
//!
//! A channel may have subscribers of both dialects. The native ones embed the data in JSON, so what is published there
//! must be JSON; [`super::scan::document`] tells.

/// Appends a publication as a subscriber receives it: the data.
pub fn message(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
}

/// Bytes that [`message`] appends.
pub fn message_len(data: &[u8]) -> usize {
    data.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_its_data() {
        let mut out = b"before".to_vec();
        message(&mut out, b"\x00{ not json");
        assert_eq!(out, b"before\x00{ not json");
        assert_eq!(message_len(b"\x00{ not json"), out.len() - 6);
    }
}
