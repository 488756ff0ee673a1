//! The server API: calls of web backends and shells, shaped as the widely used Centrifugo HTTP API so that its SDKs
//! work. [`call`] reads a request, [`job`] gathers its answers, [`reply`] writes them. Never carries anything out;
//! the worker does.

pub mod call;
pub mod glob;
pub mod job;
mod json;
pub mod refusal;
pub mod reply;

pub use call::{Call, Publish, parse};
pub use glob::matches;
pub use job::{Job, Outcome};
pub use refusal::Refusal;

/// Whether a request shows the right key: `X-API-Key: K` or `Authorization: apikey K`. Takes as long for a key that
/// is nearly right as for any other.
pub fn key_is_right(expected: &str, x_api_key: Option<&[u8]>, authorization: Option<&[u8]>) -> bool {
    let shown = x_api_key.or_else(|| {
        let (scheme, key) = authorization?.split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
    });
    shown.is_some_and(|shown| bool::from(subtle::ConstantTimeEq::ct_eq(shown, expected.as_bytes())))
}

const SCHEME: &[u8] = b"apikey ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_shown_in_one_of_two_fields() {
        assert!(key_is_right("secret", Some(b"secret"), None));
        assert!(key_is_right("secret", None, Some(b"apikey secret")));
        assert!(key_is_right("secret", None, Some(b"ApiKey  secret ")));
        for (key, authorization) in [
            (None, None),
            (Some(&b"secre"[..]), None),
            (Some(b"secrets"), None),
            (Some(b""), None),
            (None, Some(&b"Bearer secret"[..])),
            (None, Some(b"apikey")),
            (Some(b"wrong"), Some(b"apikey secret")),
        ] {
            assert!(!key_is_right("secret", key, authorization), "{key:?} {authorization:?}");
        }
    }
}
