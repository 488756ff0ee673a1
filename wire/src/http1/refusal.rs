//! Why a request is refused, and the status that says so. Every refusal closes the connection.

use super::Status;

/// A request that breaks a rule or a limit.
///
/// Answer it with [`refuse`](super::refuse) and close: after it the bytes of the peer have no agreed meaning,
/// so nothing that follows may be read as a request (RFC 9112 §11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// First byte of a TLS record.
    #[error("this port speaks plain HTTP, not TLS")]
    Tls,
    /// `PRI`, the reserved method of the HTTP/2 preface (RFC 9113 §3.4).
    #[error("this port speaks HTTP/1.1, not HTTP/2")]
    Http2,
    /// Method is not a token (RFC 9110 §9.1).
    #[error("method is not a token")]
    Method,
    /// Method is longer than any in use.
    #[error("method is longer than any known method")]
    MethodTooLong,
    /// `CONNECT`: this is an origin server (RFC 9110 §9.3.6).
    #[error("CONNECT is not implemented: this is no proxy")]
    Connect,
    /// Target is in none of the forms of RFC 9112 §3.2 or carries bytes a target cannot have.
    #[error("request target is invalid")]
    Target,
    /// Target over [`Limits::target_bytes_max`](super::Limits::target_bytes_max).
    #[error("request target is too long")]
    TargetTooLong,
    /// The request line does not end in `HTTP/` digit `.` digit.
    #[error("request line has no HTTP version")]
    Version,
    /// A version other than 1.0 and 1.1, or of another protocol.
    #[error("HTTP version is neither 1.0 nor 1.1")]
    VersionUnsupported,
    /// LF without CR. RFC 9112 §2.2 lets a server accept it; request smuggling lives on that.
    #[error("line ends in LF without CR")]
    BareLf,
    /// CR without LF (RFC 9112 §2.2).
    #[error("CR without LF")]
    BareCr,
    /// Folded header line, or white space before the first (RFC 9112 §2.2 and §5.2).
    #[error("header line starts with white space")]
    Fold,
    /// Header line without a name.
    #[error("header name is empty")]
    NameEmpty,
    /// White space between header name and colon (RFC 9112 §5.1).
    #[error("white space between header name and colon")]
    NameSpace,
    /// Header name is not a token, or the line has no colon.
    #[error("header name is not a token")]
    Name,
    /// NUL or another control character in a header value (RFC 9110 §5.5).
    #[error("control character in a header value")]
    Value,
    /// Header fields over [`Limits::headers_max`](super::Limits::headers_max).
    #[error("too many header fields")]
    TooManyFields,
    /// Head or trailers over [`Limits::head_bytes_max`](super::Limits::head_bytes_max).
    #[error("header section is too large")]
    HeadTooLarge,
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    #[error("Host is missing")]
    HostMissing,
    /// More than one Host (RFC 9112 §3.2).
    #[error("Host is repeated")]
    HostRepeated,
    /// Host is empty or not `uri-host [ ":" port ]`.
    #[error("Host is invalid")]
    HostInvalid,
    /// Content-Length is not a number of digits that fits 64 bits (RFC 9112 §6.3).
    #[error("Content-Length is invalid")]
    ContentLength,
    /// Content-Length twice, equal or not (RFC 9110 §8.6 lets a server refuse both).
    #[error("Content-Length is repeated")]
    ContentLengthRepeated,
    /// Transfer-Encoding is not exactly `chunked` (RFC 9112 §6.1).
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// Content-Length beside Transfer-Encoding (RFC 9112 §6.3, §11.2).
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndCoding,
    /// Transfer-Encoding on HTTP/1.0 (RFC 9112 §6.1).
    #[error("Transfer-Encoding on HTTP/1.0")]
    CodingOnHttp10,
    /// Body over [`Limits::body_bytes_max`](super::Limits::body_bytes_max).
    #[error("request body is too large")]
    BodyTooLarge,
    /// Chunk size is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    #[error("chunk size is invalid")]
    ChunkSize,
    /// Chunk extension breaks the grammar of RFC 9112 §7.1.1, or the extensions of a body are too long.
    #[error("chunk extension is invalid")]
    ChunkExtension,
    /// Chunk data does not end in CRLF.
    #[error("chunk data does not end in CRLF")]
    ChunkEnd,
}

impl Refusal {
    /// Status of the answer; the answer carries `Connection: close`.
    pub fn status(&self) -> Status {
        match self {
            Self::Tls
            | Self::Method
            | Self::Target
            | Self::Version
            | Self::BareLf
            | Self::BareCr
            | Self::Fold
            | Self::NameEmpty
            | Self::NameSpace
            | Self::Name
            | Self::Value
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::TransferEncoding
            | Self::LengthAndCoding
            | Self::CodingOnHttp10
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd => Status::BadRequest,
            Self::BodyTooLarge => Status::ContentTooLarge,
            Self::TargetTooLong => Status::UriTooLong,
            Self::TooManyFields | Self::HeadTooLarge => Status::RequestHeaderFieldsTooLarge,
            Self::MethodTooLong | Self::Connect => Status::NotImplemented,
            Self::Http2 | Self::VersionUnsupported => Status::HttpVersionNotSupported,
        }
    }
}
