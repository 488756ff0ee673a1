//! The server API: calls of web backends and shells, shaped as the widely used Centrifugo HTTP API so that its SDKs
//! work. [`call`] reads a request, [`job`] gathers its answers, [`reply`] writes them. Never carries anything out;
//! the worker does.

pub mod call;
pub mod glob;
pub mod job;
mod json;
pub mod refusal;
pub mod reply;
pub mod rights;

pub use call::{Call, Publish, parse};
pub use glob::matches;
pub use job::{Job, Outcome};
pub use refusal::Refusal;
pub use rights::{messages, needs, published};

use highper_wire::http1::Head;

/// Whether a request shows the right key: `X-API-Key: K` or `Authorization: apikey K`. Takes as long for a key that
/// is nearly right as for any other.
pub fn key_is_right(expected: &str, x_api_key: Option<&[u8]>, authorization: Option<&[u8]>) -> bool {
    let shown = x_api_key.or_else(|| {
        let (scheme, key) = authorization?.split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
    });
    shown.is_some_and(|shown| bool::from(subtle::ConstantTimeEq::ct_eq(shown, expected.as_bytes())))
}

/// Whether a request without a key can come from nobody but a program on this host, if the listener is local. A
/// browser there runs the scripts of any site, and a proxy there speaks for the whole world: both say who they are.
pub fn is_direct(head: &Head<'_>) -> bool {
    FOREIGN.iter().all(|name| head.header(name).is_none())
}

const SCHEME: &[u8] = b"apikey ";

/// What browsers (Fetch standard: every POST has an `Origin`) and proxies (RFC 7239, RFC 9110 §7.6.3) add.
const FOREIGN: [&str; 6] = ["origin", "sec-fetch-site", "forwarded", "x-forwarded-for", "x-real-ip", "via"];

#[cfg(test)]
mod tests {
    use highper_wire::http1::{Event, Limits, Reader};

    use super::*;

    #[test]
    fn browsers_and_proxies_need_a_key() {
        let is_direct = |field: &str| {
            let request = format!("POST /api/info HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
            let mut input = request.as_bytes();
            match Reader::new().next(&Limits::default(), &mut input) {
                Ok(Some(Event::Request(head))) => is_direct(&head),
                other => panic!("{other:?}"),
            }
        };
        assert!(is_direct(""));
        assert!(is_direct("User-Agent: curl/8\r\nContent-Type: application/json\r\n"));
        for field in [
            "Origin: https://evil.example",
            "origin: null",
            "Origin: http://localhost",
            "Sec-Fetch-Site: cross-site",
            "Forwarded: for=192.0.2.1",
            "X-Forwarded-For: 192.0.2.1",
            "X-Real-IP: 192.0.2.1",
            "Via: 1.1 proxy",
        ] {
            assert!(!is_direct(&format!("{field}\r\n")), "{field}");
        }
    }

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
