//! What the generator says and understands of the native dialect: join, publish, and which of the server's texts
//! it got. Reads only the texts a server of ours writes; never a full JSON parser.

/// A text of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The answer to join.
    Joined,
    /// A publication; the bytes between the quotes of its data, or nothing if it has no string.
    Message(&'a [u8]),
    /// A refusal, whole.
    Error(&'a [u8]),
    /// Anything else: welcome, pong, acknowledgements.
    Other,
}

/// Joins a channel.
pub fn join(channel: &str) -> String {
    format!(r#"{{"type":"join","channel":"{channel}"}}"#)
}

/// Publishes a string of `size` bytes; also where in the text it begins.
pub fn publish(channel: &str, size: usize) -> (Vec<u8>, usize) {
    let mut text = format!(r#"{{"type":"publish","channel":"{channel}","data":""#).into_bytes();
    let offset = text.len();
    text.resize(offset + size, b'x');
    text.extend_from_slice(br#""}"#);
    (text, offset)
}

/// Reads a text of the server; the type comes first in all of them.
pub fn read(text: &[u8]) -> Said<'_> {
    let Some(rest) = text.strip_prefix(br#"{"type":""#) else { return Said::Other };
    if rest.starts_with(br#"message""#) {
        return Said::Message(data(rest).unwrap_or_default());
    }
    match rest {
        [b'j', b'o', b'i', b'n', b'e', b'd', b'"', ..] => Said::Joined,
        [b'e', b'r', b'r', b'o', b'r', b'"', ..] => Said::Error(text),
        _ => Said::Other,
    }
}

/// The string after the key data. The fields before it are short and the publication has no quote in it.
pub fn data(text: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = br#""data":""#;
    let begin = text.windows(KEY.len()).position(|bytes| bytes == KEY)? + KEY.len();
    // What follows the data is short too, so its end is found from the back.
    let tail = &text[begin..];
    let end = match tail.windows(7).rposition(|bytes| bytes == br#"","from"#) {
        Some(at) => at,
        None => tail.iter().rposition(|byte| *byte == b'"')?,
    };
    Some(&tail[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_server_are_told_apart() {
        let message = br#"{"type":"message","channel":"c","offset":12,"data":"00ffxx","from":"0001"}"#;
        assert_eq!(read(message), Said::Message(b"00ffxx"));
        assert_eq!(read(br#"{"type":"message","channel":"c","data":"00"}"#), Said::Message(b"00"));
        assert_eq!(read(br#"{"type":"message","channel":"c","offset":1,"data":7}"#), Said::Message(b""));
        assert_eq!(read(br#"{"type":"joined","channel":"c"}"#), Said::Joined);
        assert!(matches!(read(br#"{"type":"error","code":"bad_channel"}"#), Said::Error(_)));
        assert_eq!(read(br#"{"type":"welcome","connection":"x"}"#), Said::Other);
        assert_eq!(read(b"hello"), Said::Other);
    }

    #[test]
    fn requests_are_json_with_the_payload_where_it_is_said_to_be() {
        let (text, offset) = publish("c", 48);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["data"].as_str().unwrap().as_bytes(), &text[offset..offset + 48]);
        let value: serde_json::Value = serde_json::from_str(&join("c")).unwrap();
        assert_eq!((&value["type"], &value["channel"]), (&"join".into(), &"c".into()));
    }
}
