//! The opening handshake, server and client side (RFC 6455 section 4).
