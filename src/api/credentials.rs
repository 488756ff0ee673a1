//! Where a request shows who asks: the Authorization field, the sub-protocols of a handshake, the address, a cookie.
//! Never judges a token and never repeats one.

use std::borrow::Cow;

use highper_wire::http1::{Head, tokens};

use crate::config::Config;

/// The sub-protocol of the native dialect. A browser cannot set the Authorization field of a WebSocket, but it can
/// offer `["realtime", "bearer.TOKEN"]`: the first is chosen, the second is no protocol.
pub const PROTOCOL: &str = "realtime";

const BEARER_PROTOCOL: &[u8] = b"bearer.";
const SCHEME: &[u8] = b"bearer";

/// The token that a request shows, by the first of: `Authorization: Bearer T` (RFC 6750 §2.1), a sub-protocol
/// `bearer.T`, `?token=T` or `?access_token=T` if REALTIME_AUTH_QUERY allows it, the cookie REALTIME_AUTH_COOKIE if
/// `takes_cookie`: a cookie comes with requests of every site, so the site must be known.
pub fn token<'h>(head: &Head<'h>, config: &Config, takes_cookie: bool) -> Option<Cow<'h, str>> {
    let text = |bytes: &'h [u8]| Cow::Borrowed(std::str::from_utf8(bytes).unwrap_or(NOT_A_TOKEN));
    if let Some(token) = head.header("authorization").and_then(bearer) {
        return Some(text(token));
    }
    let offered = head.headers("sec-websocket-protocol").flat_map(tokens);
    if let Some(token) = offered.into_iter().find_map(|offered| offered.strip_prefix(BEARER_PROTOCOL)) {
        return Some(text(token));
    }
    let query = head.query().filter(|_| config.auth_query).unwrap_or_default();
    let is_token = |name: &str| matches!(name, "token" | "access_token");
    if let Some((_, token)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| is_token(name)) {
        return Some(token);
    }
    let name = config.auth_cookie.as_ref().filter(|_| takes_cookie)?;
    head.headers("cookie").find_map(|cookies| cookie(cookies, name.as_str())).map(text)
}

/// Whether a sub-protocol is none, but a token: it is never repeated.
pub fn is_token(protocol: &str) -> bool {
    protocol.as_bytes().starts_with(BEARER_PROTOCOL)
}

/// What is no text is no token, and must not pass for none.
const NOT_A_TOKEN: &str = "-";

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    let is_meant = token.is_empty() || token.starts_with(b" ");
    (scheme.eq_ignore_ascii_case(SCHEME) && is_meant).then(|| token.trim_ascii())
}

/// The value of a cookie (RFC 6265 §4.2.1).
fn cookie<'c>(cookies: &'c [u8], name: &str) -> Option<&'c [u8]> {
    cookies.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use highper_wire::http1::{Event, Limits, Reader};

    use super::*;
    use crate::config::{Bounds, Token, Value};

    fn shown(target: &str, fields: &str, takes_cookie: bool, config: &Config) -> Option<String> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut reader, mut input) = (Reader::new(), request.as_bytes());
        match reader.next(&Limits::default(), &mut input) {
            Ok(Some(Event::Request(head))) => token(&head, config, takes_cookie).map(Cow::into_owned),
            other => panic!("not a request: {request}: {other:?}"),
        }
    }

    #[test]
    fn a_token_is_found_where_it_may_stand() {
        let config = Config { auth_cookie: Token::parse("session", &Bounds::ANY), ..Config::default() };
        for (target, fields, expected) in [
            ("/ws", "", None),
            ("/ws", "Authorization: Bearer a.b.c\r\n", Some("a.b.c")),
            ("/ws", "authorization: bEARER  a.b.c \r\n", Some("a.b.c")),
            ("/ws", "Authorization: Basic a.b.c\r\n", None),
            ("/ws", "Authorization: apikey a.b.c\r\n", None),
            ("/ws", "Authorization: Bearer\r\n", Some("")),
            ("/ws", "Authorization: Bearers a\r\n", None),
            ("/ws", "Sec-WebSocket-Protocol: realtime, bearer.a.b.c\r\n", Some("a.b.c")),
            ("/ws", "Sec-WebSocket-Protocol: realtime\r\nSec-WebSocket-Protocol: bearer.x\r\n", Some("x")),
            ("/ws?token=a.b.c", "", Some("a.b.c")),
            ("/sse?channel=x&access_token=a%2Eb.c", "", Some("a.b.c")),
            ("/ws?tokens=a", "", None),
            ("/ws?token=query", "Authorization: Bearer field\r\n", Some("field")),
            ("/ws?token=query", "Cookie: session=cookie\r\n", Some("query")),
            ("/ws", "Cookie: a=1; session=a.b.c; b=2\r\n", Some("a.b.c")),
            ("/ws", "Cookie: session=\"a.b.c\"\r\n", Some("a.b.c")),
            ("/ws", "Cookie: xsession=no; sessionx=no; session =no\r\n", None),
            ("/ws", "Cookie: a=1\r\nCookie: session=two\r\n", Some("two")),
            ("/ws", "Authorization: Bearer \u{e4}\r\n", Some("\u{e4}")),
        ] {
            assert_eq!(shown(target, fields, true, &config).as_deref(), expected, "{target} {fields}");
        }
    }

    #[test]
    fn addresses_and_cookies_are_looked_at_only_where_they_may() {
        let cookie = Token::parse("session", &Bounds::ANY);
        let config = Config { auth_query: false, auth_cookie: cookie, ..Config::default() };
        assert_eq!(shown("/ws?token=a", "", true, &config), None);
        assert_eq!(shown("/ws", "Cookie: session=a\r\n", false, &config), None);
        assert_eq!(shown("/ws", "Cookie: session=a\r\n", true, &Config::default()), None);
    }
}
