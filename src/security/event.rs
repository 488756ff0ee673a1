//! What is told of an attack, and its JSON. Never holds a payload, a token or a query: details are short, and what
//! came from outside is escaped.

use std::net::IpAddr;

use highper_wire::dialect::string::{write_number, write_string};

use crate::observe::counters::{SECURITY_KINDS, SECURITY_SEVERITIES};

/// What looks like an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece of SQL where a value belongs.
    SqlInjection,
    /// A piece of HTML that runs scripts where a value belongs.
    Xss,
    /// A path that climbs out of its root, or names a file of the system.
    PathTraversal,
    /// An address fails to authenticate too often.
    BruteForce,
    /// A limit of connections, messages or calls was hit.
    RateLimit,
    /// A scanner says who it is.
    SuspiciousUserAgent,
    /// An address of a country that may not connect.
    GeoDenied,
    /// A user who travels faster than anybody can.
    GeoAnomaly,
    /// Odd but legal frames, too many of them.
    ProtocolGlitches,
    /// A page of a site that may not connect.
    BadOrigin,
    /// A token that is no good.
    BadToken,
}

impl Kind {
    /// All kinds, in the order of [`Kind::index`].
    pub const ALL: [Self; SECURITY_KINDS] = [
        Self::SqlInjection,
        Self::Xss,
        Self::PathTraversal,
        Self::BruteForce,
        Self::RateLimit,
        Self::SuspiciousUserAgent,
        Self::GeoDenied,
        Self::GeoAnomaly,
        Self::ProtocolGlitches,
        Self::BadOrigin,
        Self::BadToken,
    ];

    /// Its place in the counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Where what is reported, not found by looking, belongs.
    pub fn place(self) -> Place {
        match self {
            Self::BruteForce | Self::BadToken => Place::Authentication,
            Self::SqlInjection
            | Self::Xss
            | Self::PathTraversal
            | Self::RateLimit
            | Self::SuspiciousUserAgent
            | Self::GeoDenied
            | Self::GeoAnomaly
            | Self::ProtocolGlitches
            | Self::BadOrigin => Place::Connection,
        }
    }

    /// Its name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SqlInjection => "sql_injection",
            Self::Xss => "xss",
            Self::PathTraversal => "path_traversal",
            Self::BruteForce => "brute_force",
            Self::RateLimit => "rate_limit",
            Self::SuspiciousUserAgent => "suspicious_user_agent",
            Self::GeoDenied => "geo_denied",
            Self::GeoAnomaly => "geo_anomaly",
            Self::ProtocolGlitches => "protocol_glitches",
            Self::BadOrigin => "bad_origin",
            Self::BadToken => "bad_token",
        }
    }
}

/// How bad it is. Only what is high is refused in block mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It happens to the innocent too.
    Low,
    /// Somebody should look when there is time.
    Medium,
    /// An attack, as far as a machine can tell.
    High,
}

impl Severity {
    /// All severities, in the order of [`Severity::index`].
    pub const ALL: [Self; SECURITY_SEVERITIES] = [Self::Low, Self::Medium, Self::High];

    /// Its place in the counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The path of a request.
    Path,
    /// The query of a request.
    Query,
    /// The Cookie field.
    Cookie,
    /// The User-Agent field.
    UserAgent,
    /// The Referer field.
    Referer,
    /// A message.
    Message,
    /// The connection as a whole: its address, its limits, its frames.
    Connection,
    /// Who it says it is.
    Authentication,
}

impl Place {
    /// Its name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
            Self::Message => "message",
            Self::Connection => "connection",
            Self::Authentication => "authentication",
        }
    }
}

/// One thing that looks like an attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Where it was seen.
    pub place: Place,
    /// The client's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// Who it is, if that is known.
    pub user: Option<Box<str>>,
    /// What exactly, at most [`DETAIL_BYTES_MAX`] bytes.
    pub detail: Box<str>,
    /// Whether it was refused.
    pub blocked: bool,
    /// Seconds since the Unix epoch.
    pub at_unix: u64,
}

impl Event {
    /// Appends the event as one line of JSON without its end: the five fields that operators know, then ours.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"security_event":{"type":""#);
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(br#"","severity":""#);
        out.extend_from_slice(self.severity.as_str().as_bytes());
        out.extend_from_slice(br#"","client_ip":"#);
        match self.address {
            Some(address) => write_string(out, &address.to_string()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","blocked":"#);
        out.extend_from_slice(if self.blocked { b"true" } else { b"false" });
        out.extend_from_slice(br#","timestamp":"#);
        write_number(out, self.at_unix);
        out.extend_from_slice(br#","where":""#);
        out.extend_from_slice(self.place.as_str().as_bytes());
        out.extend_from_slice(br#"","detail":"#);
        write_string(out, &self.detail);
        if let Some(user) = &self.user {
            out.extend_from_slice(br#","user":"#);
            match user.contains(|c: char| c.is_control()) {
                true => write_string(out, &escaped(user.as_bytes())),
                false => write_string(out, clip(user, DETAIL_BYTES_MAX)),
            }
        }
        out.extend_from_slice(b"}}");
    }

    /// The same as a string.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        String::from_utf8(out).expect("JSON of strings is text")
    }
}

/// Bytes of a detail: enough to know an attack again, few enough that a hundred a second are no burden.
pub const DETAIL_BYTES_MAX: usize = 256;

/// The text without what a terminal or a log would obey, at most [`DETAIL_BYTES_MAX`] bytes: everything that is not
/// printable ASCII is written as `\xNN`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(DETAIL_BYTES_MAX));
    for &byte in bytes {
        let is_plain = matches!(byte, b' '..=b'~') && byte != b'\\';
        if text.len() + if is_plain { 1 } else { 4 } > DETAIL_BYTES_MAX {
            break;
        }
        match is_plain {
            true => text.push(char::from(byte)),
            false => text.extend(['\\', 'x', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    text
}

/// At most `most` bytes of a text, cut between characters.
pub fn clip(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).expect("four bits are a digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            kind: Kind::SqlInjection,
            severity: Severity::High,
            place: Place::Query,
            address: Some([192, 168, 1, 100].into()),
            user: None,
            detail: "q: s&1c".into(),
            blocked: true,
            at_unix: 1_703_097_600,
        }
    }

    #[test]
    fn the_five_fields_that_operators_know_come_first() {
        let json = event().to_json();
        let known = r#"{"security_event":{"type":"sql_injection","severity":"high","client_ip":"192.168.1.100","blocked":true,"timestamp":1703097600,"#;
        assert!(json.starts_with(known), "{json}");
        assert!(json.ends_with(r#""where":"query","detail":"q: s&1c"}}"#), "{json}");
    }

    #[test]
    fn whatever_it_holds_it_is_one_line_of_json() {
        let nasty = "\u{1b}[2J\n{\"level\":\"x\"}\u{2028}é\\";
        let event = Event {
            user: Some(nasty.into()),
            detail: escaped(nasty.as_bytes()).into(),
            address: None,
            ..event()
        };
        let json = event.to_json();
        assert!(!json.contains(|c: char| c.is_control()), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["security_event"]["client_ip"], serde_json::Value::Null);
        assert_eq!(value["security_event"]["user"], escaped(nasty.as_bytes()));
    }

    #[test]
    fn details_are_printable_and_short() {
        assert_eq!(escaped(b"a\x1b[2J\nb\\"), r"a\x1b[2J\x0ab\x5c");
        assert_eq!(escaped(&[b'a'; 1000]).len(), DETAIL_BYTES_MAX);
        assert_eq!(escaped(&[0xff; 1000]).len(), DETAIL_BYTES_MAX);
        assert_eq!(clip("ééé", 3), "é");
    }

    #[test]
    fn every_kind_and_severity_has_its_place_in_the_counters() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), at, "{kind:?}");
        }
        for (at, severity) in Severity::ALL.into_iter().enumerate() {
            assert_eq!(severity.index(), at, "{severity:?}");
        }
    }
}
