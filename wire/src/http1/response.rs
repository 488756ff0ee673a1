//! Writes response heads and small bodies into a buffer. Never sends, never keeps a body, never compresses.

use super::{Date, Refusal, is_token};

/// A response being written. Every response ends in one of [`body`](Self::body), [`head_of`](Self::head_of)
/// and [`head_only`](Self::head_only).
#[derive(Debug)]
#[must_use = "a response without its end is half a response"]
pub struct Response<'o> {
    out: &'o mut Vec<u8>,
    status: Status,
}

/// What becomes of the connection after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Another request may come.
    KeepAlive,
    /// The server closes after the response.
    Close,
}

impl<'o> Response<'o> {
    /// Writes the status line, Date and Connection (`keep-alive` is said too: HTTP/1.0 needs it).
    pub fn begin(out: &'o mut Vec<u8>, status: Status, connection: Connection, date: &Date) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, status.code() as usize);
        out.push(b' ');
        out.extend_from_slice(status.reason().as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(match connection {
            Connection::KeepAlive => b"\r\nConnection: keep-alive\r\n",
            Connection::Close => b"\r\nConnection: close\r\n",
        });
        Self { out, status }
    }

    /// Writes one field.
    ///
    /// # Panics
    /// When `name` is not a token or `value` holds a control character other than tab: a value from outside must
    /// be checked where it comes in, else it could write fields of its own.
    pub fn header(self, name: &str, value: &str) -> Self {
        push_field(self.out, name, value);
        self
    }

    /// Writes Content-Length, the empty line and the body.
    ///
    /// # Panics
    /// When a status that has no body (1xx, 204, 304) is given one.
    pub fn body(self, body: &[u8]) {
        let out = self.end(body.len());
        out.extend_from_slice(body);
    }

    /// The same without the body: the answer to HEAD (RFC 9110 §9.3.2). `body_len` in bytes.
    ///
    /// # Panics
    /// As [`body`](Self::body).
    pub fn head_of(self, body_len: usize) {
        self.end(body_len);
    }

    /// Writes the empty line without a Content-Length. What follows is written by the caller and ends with the connection.
    pub fn head_only(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn end(self, body_len: usize) -> &'o mut Vec<u8> {
        if self.status.has_body() {
            self.out.extend_from_slice(b"Content-Length: ");
            push_decimal(self.out, body_len);
            self.out.extend_from_slice(b"\r\n\r\n");
        } else {
            assert!(body_len == 0, "a response of status {} has no body", self.status.code());
            self.out.extend_from_slice(b"\r\n");
        }
        self.out
    }
}

/// Writes the whole answer to a refused request: status, `Connection: close`, the reason as text.
pub fn refuse(out: &mut Vec<u8>, refusal: &Refusal, date: &Date) {
    Response::begin(out, refusal.status(), Connection::Close, date)
        .header("Content-Type", "text/plain; charset=utf-8")
        .body(format!("{refusal}\n").as_bytes());
}

/// Appends `name: value` and CRLF.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    assert!(!name.is_empty() && name.bytes().all(is_token), "header name is not a token: {name:?}");
    assert!(is_field_value(value), "control character in the value of {name}");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The interim answer to a head that [expects it](super::Head::expects_continue) (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// True when `value` cannot end its line (RFC 9110 §5.5).
pub(crate) fn is_field_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

fn push_decimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal $reason:literal,)*) => {
        /// The statuses this server answers with (RFC 9110 §15).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Status {
            $(#[doc = concat!(stringify!($code), " ", $reason)] $name = $code,)*
        }

        impl Status {
            /// Every status, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The three digits.
            pub fn code(self) -> u16 {
                self as u16
            }

            /// The status of these digits, if it is one of ours.
            pub fn from_code(code: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|status| status.code() == code)
            }

            /// The reason phrase.
            pub fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)*
                }
            }
        }
    };
}

statuses! {
    SwitchingProtocols = 101 "Switching Protocols",
    Ok = 200 "OK",
    NoContent = 204 "No Content",
    NotModified = 304 "Not Modified",
    BadRequest = 400 "Bad Request",
    Unauthorized = 401 "Unauthorized",
    Forbidden = 403 "Forbidden",
    NotFound = 404 "Not Found",
    MethodNotAllowed = 405 "Method Not Allowed",
    RequestTimeout = 408 "Request Timeout",
    ContentTooLarge = 413 "Content Too Large",
    UriTooLong = 414 "URI Too Long",
    UpgradeRequired = 426 "Upgrade Required",
    TooManyRequests = 429 "Too Many Requests",
    RequestHeaderFieldsTooLarge = 431 "Request Header Fields Too Large",
    InternalServerError = 500 "Internal Server Error",
    NotImplemented = 501 "Not Implemented",
    ServiceUnavailable = 503 "Service Unavailable",
    HttpVersionNotSupported = 505 "HTTP Version Not Supported",
}

impl Status {
    /// False for the statuses whose response ends with its head (RFC 9112 §6.3).
    pub fn has_body(self) -> bool {
        self.code() >= 200 && !matches!(self, Self::NoContent | Self::NotModified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>, &Date)) -> String {
        let mut out = Vec::new();
        write(&mut out, &Date::from_unix(0));
        String::from_utf8(out).unwrap()
    }

    const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

    #[test]
    fn a_small_answer() {
        let text = written(|out, date| {
            Response::begin(out, Status::Ok, Connection::KeepAlive, date).header("X-A", "b").body(b"hello");
        });
        let wanted = "Connection: keep-alive\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{DATE}{wanted}"));
    }

    #[test]
    fn the_answer_to_head_has_the_length_and_no_body() {
        let text = written(|out, date| {
            Response::begin(out, Status::Ok, Connection::Close, date).head_of(1234);
        });
        assert_eq!(
            text,
            format!("HTTP/1.1 200 OK\r\n{DATE}Connection: close\r\nContent-Length: 1234\r\n\r\n")
        );
    }

    #[test]
    fn no_content_and_not_modified_have_no_length() {
        for status in [Status::NoContent, Status::NotModified, Status::SwitchingProtocols] {
            let text =
                written(|out, date| Response::begin(out, status, Connection::KeepAlive, date).body(b""));
            assert!(text.ends_with("Connection: keep-alive\r\n\r\n"), "{text}");
            assert!(!text.contains("Content-Length"), "{text}");
        }
    }

    #[test]
    fn a_stream_has_no_length() {
        let text = written(|out, date| Response::begin(out, Status::Ok, Connection::Close, date).head_only());
        assert!(text.ends_with("Connection: close\r\n\r\n") && !text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn a_refusal_closes_and_names_the_field() {
        let text = written(|out, date| refuse(out, &Refusal::HostMissing, date));
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 16\r\n\r\nHost is missing\n"), "{text}");
    }

    #[test]
    fn a_value_cannot_write_a_field_of_its_own() {
        for value in ["a\r\nX: y", "a\ny", "a\ry", "a\0", "\x7f"] {
            assert!(!is_field_value(value), "{value:?}");
        }
        assert!(is_field_value("a\tb ü"));
        let out = std::panic::catch_unwind(|| {
            written(|out, date| {
                Response::begin(out, Status::Ok, Connection::Close, date)
                    .header("X", "a\r\nSet-Cookie: b")
                    .body(b"");
            })
        });
        assert!(out.is_err());
    }

    #[test]
    fn every_status_has_its_line() {
        for status in Status::ALL {
            let text = written(|out, date| Response::begin(out, *status, Connection::Close, date).body(b""));
            assert!(
                text.starts_with(&format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason())),
                "{text}"
            );
        }
        assert_eq!(Status::ALL.len(), 19);
    }
}
