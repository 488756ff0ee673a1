//! What browsers on other sites may do (the WHATWG's Fetch standard, CORS protocol): exact lists of sites, `*` for
//! all, never with credentials. Never refuses a request: a browser that finds no permission does.

use highper_wire::http1::{Head, Response, tokens};

use crate::config::{Config, OriginMissing, OriginPattern, Token};

/// The rules of one kind of resource.
#[derive(Debug)]
pub struct Rules {
    origins: Origins,
    methods: String,
    /// `None` allows whatever is asked for.
    headers: Option<String>,
}

#[derive(Debug)]
enum Origins {
    Nobody,
    Everybody,
    List(Vec<OriginPattern>),
}

/// What one response says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Whether the response depends on who asks.
    vary: bool,
    origin: Option<Box<str>>,
    preflight: Option<Box<Preflight>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Preflight {
    methods: Box<str>,
    headers: Box<str>,
}

/// Why a site may not open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// The site is none of those that may.
    #[error("Origin: not one of REALTIME_CORS_ORIGINS")]
    Foreign,
    /// Nobody knows which site asks.
    #[error("Origin: is missing (REALTIME_ORIGIN_MISSING)")]
    Missing,
}

/// How long a browser may remember an answer to a preflight, in seconds.
const MAX_AGE: &str = "600";

impl Rules {
    /// The rules of everything but streams of events.
    pub fn of(config: &Config) -> Self {
        Self::new(config, config.cors_enabled, &config.cors_origins)
    }

    /// The rules of streams of events: both lists are meant for them, and both switches must be on.
    pub fn of_events(config: &Config) -> Self {
        let is_on = config.cors_enabled && config.sse_cors_enabled;
        Self::new(config, is_on, &config.sse_cors_origins)
    }

    fn new(config: &Config, is_on: bool, origins: &[OriginPattern]) -> Self {
        let join = |words: &[Token]| words.iter().map(Token::as_str).collect::<Vec<_>>().join(", ");
        let origins = match is_on {
            false => Origins::Nobody,
            true if origins.iter().any(OriginPattern::is_any) => Origins::Everybody,
            true => Origins::List(origins.to_vec()),
        };
        let any_header = config.cors_headers.iter().any(|header| header.as_str() == "*");
        let headers = (!any_header).then(|| join(&config.cors_headers));
        Self { origins, methods: join(&config.cors_methods), headers }
    }

    /// Whether scripts of the site that asks may open a WebSocket or a stream (CWE-1385): browsers open them for every
    /// site, only the `Origin` field tells for which. Other clients send none, and get `when_missing`.
    ///
    /// # Errors
    /// Why not; answered with 403.
    pub fn admits(&self, head: &Head<'_>, when_missing: bool) -> Result<(), BadOrigin> {
        let mut origins = head.headers("origin");
        let (first, second) = (origins.next(), origins.next());
        let Some(origin) = first else {
            return if when_missing { Ok(()) } else { Err(BadOrigin::Missing) };
        };
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        let is_listed = match &self.origins {
            Origins::Nobody => is_own(origin, head),
            Origins::Everybody => true,
            Origins::List(list) => list.iter().any(|pattern| pattern.matches(origin)),
        };
        if is_listed && second.is_none() { Ok(()) } else { Err(BadOrigin::Foreign) }
    }

    /// Whether the site that asks stands in a list by name: then its cookies are its word.
    pub fn is_listed(&self, head: &Head<'_>) -> bool {
        matches!(self.origins, Origins::List(_)) && self.admits(head, false).is_ok()
    }

    /// Whether a WebSocket is opened for a request without an Origin field, if `config` leaves that open.
    pub fn may_be_missing(&self, config: &Config) -> bool {
        match config.origin_missing {
            OriginMissing::Allow => true,
            OriginMissing::Refuse => false,
            OriginMissing::Auto => config.auth_enabled || !matches!(self.origins, Origins::List(_)),
        }
    }

    /// What the response to a request says.
    pub fn judge(&self, head: &Head<'_>) -> Cors {
        let vary = matches!(self.origins, Origins::List(_));
        let mut origins = head.headers("origin");
        let origin = origins.next().and_then(|origin| std::str::from_utf8(origin).ok());
        let Some(origin) = origin.filter(|_| origins.next().is_none()) else {
            return Cors { vary, ..Cors::default() };
        };
        let allowed = match &self.origins {
            Origins::Nobody => None,
            Origins::Everybody => Some("*"),
            Origins::List(list) => list.iter().any(|pattern| pattern.matches(origin)).then_some(origin),
        };
        let wants_more = head.method == "OPTIONS" && head.header("access-control-request-method").is_some();
        let preflight = allowed.filter(|_| wants_more).map(|_| {
            let asked = || asked_headers(head);
            let headers = self.headers.as_ref().map_or_else(asked, Clone::clone);
            Box::new(Preflight { methods: self.methods.as_str().into(), headers: headers.into() })
        });
        Cors { vary, origin: allowed.map(Box::from), preflight }
    }
}

/// Whether the page came from this server, as far as the browser knows.
fn is_own(origin: &str, head: &Head<'_>) -> bool {
    let host = head.header("host").and_then(|host| std::str::from_utf8(host).ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// The names of header fields that a preflight asks for, those that are names.
fn asked_headers(head: &Head<'_>) -> String {
    let is_name = |name: &&[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let asked = head.headers("access-control-request-headers").flat_map(tokens).filter(is_name);
    let names: Vec<&str> = asked.filter_map(|name| std::str::from_utf8(name).ok()).collect();
    names.join(", ")
}

impl Cors {
    /// Writes the fields.
    pub fn write<'o>(&self, mut response: Response<'o>) -> Response<'o> {
        if self.vary {
            response = response.header("Vary", "Origin");
        }
        if let Some(origin) = &self.origin {
            response = response.header("Access-Control-Allow-Origin", origin);
        }
        if let Some(preflight) = &self.preflight {
            response = response
                .header("Access-Control-Allow-Methods", &preflight.methods)
                .header("Access-Control-Max-Age", MAX_AGE);
            if !preflight.headers.is_empty() {
                response = response.header("Access-Control-Allow-Headers", &preflight.headers);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use highper_wire::http1::{Connection, Date, Event, Limits, Reader, Status};

    use super::*;
    use crate::config::{Bounds, Config, Unit, Value};

    const BOUNDS: Bounds = Bounds { unit: Unit::Count, min: 0, max: u64::MAX, power_of_two: false };

    fn rules(origins: &str) -> Rules {
        let list =
            |words: &str| words.split(',').map(|word| OriginPattern::parse(word, &BOUNDS).unwrap()).collect();
        let headers = vec![Token::parse("X-API-Key", &BOUNDS).unwrap()];
        Rules::of(&Config { cors_origins: list(origins), cors_headers: headers, ..Config::default() })
    }

    fn response(rules: &Rules, request: &str) -> String {
        let (mut reader, mut input) = (Reader::new(), request.as_bytes());
        let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut input) else {
            panic!("not a request: {request}")
        };
        let cors = rules.judge(&head);
        let mut out = Vec::new();
        let date = Date::from_unix(0);
        cors.write(Response::begin(&mut out, Status::Ok, Connection::Close, &date)).body(b"");
        String::from_utf8(out).unwrap()
    }

    fn from(origin: &str) -> String {
        format!("GET /sse HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n")
    }

    #[test]
    fn only_listed_sites_are_allowed_and_caches_are_told() {
        let rules = rules("https://app.example.com,http://localhost:3000");
        for origin in ["https://app.example.com", "http://localhost:3000"] {
            let text = response(&rules, &from(origin));
            assert!(text.contains(&format!("Access-Control-Allow-Origin: {origin}\r\n")), "{text}");
            assert!(text.contains("Vary: Origin\r\n") && !text.contains("Credentials"), "{text}");
        }
        for origin in [
            "https://app.example.com.evil.com",
            "https://evilapp.example.com",
            "https://evil.com/https://app.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://example.com",
            "null",
            "http://localhost",
            "http://localhost:30000",
            "https://app.example.com\r\nOrigin: https://app.example.com",
            "*",
            "",
        ] {
            let text = response(&rules, &from(origin));
            assert!(!text.contains("Access-Control"), "{origin}: {text}");
            assert!(text.contains("Vary: Origin\r\n"), "{origin}: {text}");
        }
    }

    #[test]
    fn every_site_is_a_star_that_needs_no_vary() {
        let text = response(&rules("*"), &from("https://anything.example"));
        assert!(text.contains("Access-Control-Allow-Origin: *\r\n") && !text.contains("Vary"), "{text}");
        assert!(!response(&rules("*"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains("Access-Control"));
    }

    #[test]
    fn a_preflight_is_told_what_may_be_sent() {
        let request = "OPTIONS /api/publish HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\
            Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n\r\n";
        let text = response(&rules("https://a.example"), request);
        assert!(text.contains("Access-Control-Allow-Methods: GET, POST\r\n"), "{text}");
        assert!(text.contains("Access-Control-Allow-Headers: X-API-Key\r\n"), "{text}");
        assert!(!response(&rules("https://b.example"), request).contains("Access-Control"));
    }
}
