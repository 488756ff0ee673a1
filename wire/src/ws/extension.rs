//! Negotiation of permessage-deflate (RFC 7692 §7.1) out of `Sec-WebSocket-Extensions` values (RFC 6455 §9.1).
//! Never agrees to context takeover: memory per connection is not worth it.

/// What the server is willing to agree to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Window bits of our deflater, 9..=15: the largest window we use towards a client.
    pub server_window_bits_max: u8,
}

/// permessage-deflate was agreed, without context takeover in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Window bits of what we compress for this client, 9..=15.
    pub server_window_bits: u8,
    /// The client limited the window, so the response must say what it is.
    answer_window: bool,
}

/// A server answered something this client did not offer: the connection must be failed (RFC 6455 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// The header is not a list of extensions.
    #[error("the list of extensions is malformed")]
    Malformed,
    /// An extension that was not offered, or one twice.
    #[error("an extension was agreed that was not offered")]
    NotOffered,
    /// A parameter that is unknown, repeated, badly valued or answers no offer.
    #[error("a parameter of permessage-deflate is not acceptable")]
    BadParameter,
    /// The server wants to keep its window between messages.
    #[error("the server did not give up context takeover")]
    ContextTakeover,
}

/// What a client of ours offers.
pub const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

const NAME: &str = "permessage-deflate";

/// The server's choice: the first acceptable offer in the values of all `Sec-WebSocket-Extensions` headers. An
/// offer with an unknown, repeated or badly valued parameter is declined, and so is a window of 8 bits, which zlib
/// cannot write. Of a malformed value only what stands before the fault counts.
pub fn negotiate<'o>(offers: impl Iterator<Item = &'o str>, settings: &Settings) -> Option<Agreement> {
    for value in offers {
        let mut list = List { rest: value };
        while let Ok(Some(parameters)) = list.next() {
            let wanted = parameters.ok().and_then(|parameters| parameters.accept(settings));
            if wanted.is_some() {
                return wanted;
            }
        }
    }
    None
}

/// The client's check of the response to [`OFFER`]: whether messages may be compressed.
///
/// # Errors
/// Anything the offer does not allow.
pub fn agreed<'o>(responses: impl Iterator<Item = &'o str>) -> Result<bool, BadResponse> {
    let mut agreed = false;
    for value in responses {
        let mut list = List { rest: value };
        while let Some(parameters) = list.next().map_err(|Malformed| BadResponse::Malformed)? {
            let parameters = parameters.map_err(|declined| match declined {
                Declined::OtherExtension => BadResponse::NotOffered,
                Declined::BadParameter => BadResponse::BadParameter,
            })?;
            if agreed {
                return Err(BadResponse::NotOffered);
            }
            if parameters.client_window.is_some() || matches!(parameters.server_window, Some(None)) {
                return Err(BadResponse::BadParameter);
            }
            if !parameters.server_no_context_takeover {
                return Err(BadResponse::ContextTakeover);
            }
            agreed = true;
        }
    }
    Ok(agreed)
}

impl Agreement {
    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub const fn response(&self) -> &'static str {
        if self.answer_window {
            RESPONSES[(self.server_window_bits - 9) as usize]
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }
}

/// For 9 to 15 window bits.
const RESPONSES: [&str; 7] = [
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=13",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=14",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
];

/// The parameters of one permessage-deflate, each at most once. A window is `Some(None)` without a value.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_window: Option<Option<u8>>,
    client_window: Option<Option<u8>>,
}

enum Declined {
    OtherExtension,
    BadParameter,
}

/// The header does not follow the grammar of RFC 6455 §9.1.
struct Malformed;

/// A parameter's value as it stands there; quoted ones with their backslashes.
#[derive(Clone, Copy)]
enum Value<'o> {
    None,
    Token(&'o str),
    Quoted(&'o str),
}

impl Parameters {
    /// Our answer to this as an offer.
    fn accept(&self, settings: &Settings) -> Option<Agreement> {
        let most = settings.server_window_bits_max.clamp(9, 15);
        match self.server_window {
            None => Some(Agreement { server_window_bits: most, answer_window: false }),
            Some(Some(bits @ 9..)) => {
                Some(Agreement { server_window_bits: bits.min(most), answer_window: true })
            }
            Some(Some(_) | None) => None,
        }
    }

    /// Takes one parameter; false if it is unknown, repeated or badly valued.
    fn take(&mut self, name: &str, value: Value<'_>) -> bool {
        match name {
            "server_no_context_takeover" => take_flag(&mut self.server_no_context_takeover, value),
            "client_no_context_takeover" => take_flag(&mut self.client_no_context_takeover, value),
            "server_max_window_bits" => take_window(&mut self.server_window, value),
            "client_max_window_bits" => take_window(&mut self.client_window, value),
            _ => false,
        }
    }
}

fn take_flag(flag: &mut bool, value: Value<'_>) -> bool {
    matches!(value, Value::None) && !std::mem::replace(flag, true)
}

fn take_window(window: &mut Option<Option<u8>>, value: Value<'_>) -> bool {
    let bits = match value {
        Value::None => None,
        Value::Token(digits) => match window_bits(digits.bytes()) {
            Some(bits) => Some(bits),
            None => return false,
        },
        Value::Quoted(digits) => match window_bits(digits.bytes().filter(|byte| *byte != b'\\')) {
            Some(bits) => Some(bits),
            None => return false,
        },
    };
    window.replace(bits).is_none()
}

/// A number from 8 to 15 without leading zeros (RFC 7692 §7.1.2).
fn window_bits(mut digits: impl Iterator<Item = u8>) -> Option<u8> {
    match (digits.next(), digits.next(), digits.next()) {
        (Some(digit @ b'8'..=b'9'), None, _) => Some(digit - b'0'),
        (Some(b'1'), Some(digit @ b'0'..=b'5'), None) => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The elements of one header value.
struct List<'o> {
    rest: &'o str,
}

impl<'o> List<'o> {
    /// The next extension that is named, or `None` at the end. Empty elements are skipped (RFC 9110 §5.6.1).
    fn next(&mut self) -> Result<Option<Result<Parameters, Declined>>, Malformed> {
        while self.eat(b',') {}
        if self.rest.is_empty() {
            return Ok(None);
        }
        let ours = self.token()?.eq_ignore_ascii_case(NAME);
        let mut parameters = Parameters::default();
        let mut good = true;
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') { self.value()? } else { Value::None };
            good &= !ours || parameters.take(name, value);
        }
        if !self.eat(b',') && !self.rest.is_empty() {
            return Err(Malformed);
        }
        Ok(Some(match (ours, good) {
            (false, _) => Err(Declined::OtherExtension),
            (true, false) => Err(Declined::BadParameter),
            (true, true) => Ok(parameters),
        }))
    }

    /// Skips white space, then `mark` if it comes next.
    fn eat(&mut self, mark: u8) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let found = self.rest.as_bytes().first() == Some(&mark);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn token(&mut self) -> Result<&'o str, Malformed> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let end = self.rest.bytes().position(|byte| !is_token(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// A token or a quoted string whose content is a token (RFC 6455 §9.1).
    fn value(&mut self) -> Result<Value<'o>, Malformed> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token().map(Value::Token) };
        let mut bytes = quoted.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' if at > 0 => {
                    self.rest = &quoted[at + 1..];
                    return Ok(Value::Quoted(&quoted[..at]));
                }
                b'\\' if bytes.next().is_some_and(|(_, byte)| is_token(byte)) => {}
                byte if is_token(byte) => {}
                _ => return Err(Malformed),
            }
        }
        Err(Malformed)
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
