//! What a publication over HTTP looks like to each kind of server: the request, what its answer says of the
//! position in the channel, and where the payload is in the event that is delivered. Never a socket.

use std::fmt::Write;

use super::native;
use crate::client::Template;
use crate::options::{Format, Language, Target};

/// Publications to one channel by HTTP.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The whole request, and where the payload begins in it.
    pub request: Template,
    /// In bytes.
    pub offset: usize,
}

/// The position of a publication in its channel: the later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64, u64);

impl Publication {
    /// Publications to `channel` by requests to `url` with payloads of `size` bytes.
    pub fn new(language: &Language, url: &Target, channel: &str, size: usize) -> Self {
        let (path, kind, before, after) = match language.publish_format {
            Format::Nchan => (format!("{}{channel}", url.path), "text/plain", String::new(), ""),
            Format::Realtime => {
                let before = format!(r#"{{"channel":"{channel}","data":""#);
                (url.path.clone(), "application/json", before, r#""}"#)
            }
        };
        let length = before.len() + size + after.len();
        let mut text = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n", url.host);
        if let Some(key) = &language.api_key {
            // Writing to a string does not fail.
            let _ = write!(text, "X-API-Key: {key}\r\n");
        }
        let _ = write!(text, "Content-Length: {length}\r\n\r\n{before}");
        let mut bytes = text.into_bytes();
        let offset = bytes.len();
        bytes.resize(offset + size, b'x');
        bytes.extend_from_slice(after.as_bytes());
        Self { request: Template::plain(bytes), offset }
    }
}

impl Format {
    /// The position an answer names; nothing if it names none.
    pub fn position(self, answer: &[u8]) -> Option<Position> {
        match self {
            Self::Nchan => {
                let rest = after(answer, b"last message id: ")?;
                let (time, rest) = leading_number(rest)?;
                let (tag, _) = leading_number(rest.strip_prefix(b":")?)?;
                Some(Position(time, tag))
            }
            Self::Realtime => {
                let (offset, _) = leading_number(after(answer, br#""offset":"#)?)?;
                Some(Position(0, offset))
            }
        }
    }

    /// The payload in the data of an event: as it is, a JSON string, or the string in an envelope.
    pub fn payload(self, data: &[u8]) -> &[u8] {
        match (self, data) {
            (Self::Nchan, _) => data,
            (Self::Realtime, [b'"', text @ .., b'"']) => text,
            (Self::Realtime, _) => native::data(data).unwrap_or_default(),
        }
    }
}

fn after<'t>(text: &'t [u8], key: &[u8]) -> Option<&'t [u8]> {
    let at = text.windows(key.len()).position(|bytes| bytes == key)?;
    Some(&text[at + key.len()..])
}

fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(publish_format: Format, api_key: Option<&str>) -> (String, usize) {
        let url = Target::parse_http("http://127.0.0.1:9/p?id=").unwrap();
        let language = Language { publish_format, channel: "c".into(), api_key: api_key.map(str::to_owned) };
        let publication = Publication::new(&language, &url, "c1", 48);
        let mut bytes = Vec::new();
        publication.request.stamp(&mut bytes, &[(publication.offset, 7)]);
        (String::from_utf8(bytes).unwrap(), publication.offset)
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        for (format, line, length) in [
            (Format::Nchan, "POST /p?id=c1 HTTP/1.1\r\n", 48),
            (Format::Realtime, "POST /p?id= HTTP/1.1\r\n", 74),
        ] {
            let (text, offset) = request(format, None);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(line) && head.ends_with(&format!("Content-Length: {length}")), "{head}");
            assert_eq!(body.len(), length, "{body}");
            assert!(text[offset..].starts_with("0000000000000007x"), "{text}");
        }
    }

    #[test]
    fn ours_is_json_and_carries_the_key() {
        let (text, _) = request(Format::Realtime, Some("secret"));
        assert!(text.contains("\r\nX-API-Key: secret\r\n"), "{text}");
        let value: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(value["channel"], "c1");
        assert_eq!(value["data"].as_str().unwrap().len(), 48);
    }

    #[test]
    fn positions_are_read_and_compare() {
        let nchan = |id: &str| {
            Format::Nchan.position(format!("queued messages: 2\r\nlast message id: {id}").as_bytes())
        };
        assert!(
            nchan("1795576798:1") > nchan("1795576798:0") && nchan("1795576799:0") > nchan("1795576798:9")
        );
        assert_eq!(nchan("-"), None);
        let ours = br#"{"result":{"offset":12,"epoch":"0000002a"}}"#;
        assert_eq!(Format::Realtime.position(ours), Some(Position(0, 12)));
        assert_eq!(Format::Realtime.position(br#"{"error":{"code":107,"message":"no"}}"#), None);
    }

    #[test]
    fn payloads_are_found_in_what_is_delivered() {
        assert_eq!(Format::Nchan.payload(b"00xx"), b"00xx");
        for data in [&br#""00xx""#[..], br#"{"channel":"c","offset":3,"data":"00xx"}"#] {
            assert_eq!(Format::Realtime.payload(data), b"00xx");
        }
        assert_eq!(Format::Realtime.payload(b"7"), b"");
    }
}
