//! Negotiation of permessage-deflate (RFC 7692 section 7).
