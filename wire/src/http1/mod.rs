//! HTTP/1.1 requests and responses as a server sees them (RFC 9112).
