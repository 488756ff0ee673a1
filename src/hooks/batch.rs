//! A request of a webhook: events as one body, and the fields that let its receiver trust it and know it again. Never
//! sends it.

use std::fmt::Write;

use aws_lc_rs::hmac;

use super::backoff::random;
use super::webhooks::Told;

/// Events on their way. Every try sends the same bytes under the same number.
pub(super) struct Batch {
    /// The body.
    pub(super) body: Vec<u8>,
    /// Events in it.
    pub(super) events: u64,
    /// Its number.
    pub(super) delivery: String,
}

impl Batch {
    /// A batch of these events.
    pub(super) fn new(unix_millis: u64, events: &[Told]) -> Self {
        let mut body = format!(r#"{{"time_ms":{unix_millis},"events":["#).into_bytes();
        for (at, Told { event, unix_millis }) in events.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            event.write(&mut body, *unix_millis);
        }
        body.extend_from_slice(b"]}");
        let delivery = format!("{:016x}{:016x}", random(), random());
        Self { body, events: events.len() as u64, delivery }
    }
}

/// Signs bodies with REALTIME_WEBHOOK_SECRET.
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// A signer with this key.
    pub(super) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// What X-Realtime-Signature says of a body sent at this time: HMAC-SHA256 of `timestamp.body`.
    pub(super) fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for piece in [timestamp.as_bytes(), b".", body] {
            context.update(piece);
        }
        let mut text = String::from("sha256=");
        for byte in context.sign().as_ref() {
            write!(text, "{byte:02x}").expect("a string takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_anybody_with_the_key() {
        // printf '%s' '1700000000.{"time_ms":1,"events":[]}' | openssl dgst -sha256 -hmac "$KEY"
        let signer = Signer::new("a key of this test, longer than 32 bytes");
        let signature = signer.sign("1700000000", br#"{"time_ms":1,"events":[]}"#);
        assert_eq!(signature, "sha256=edd3b4bf10d4a4f52067e6b47006bd2bb93b40e1628f47e84eaea9e5aca85d47");
    }

    #[test]
    fn a_batch_is_json_and_has_a_number_of_its_own() {
        let (one, other) = (Batch::new(5, &[]), Batch::new(5, &[]));
        assert_eq!(one.body, br#"{"time_ms":5,"events":[]}"#);
        assert_eq!(one.delivery.len(), 32);
        assert_ne!(one.delivery, other.delivery);
    }
}
