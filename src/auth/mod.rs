//! Who somebody is and what they may do: tokens (RFC 7519), keys, identities, and the one permission function that
//! every transport asks. Pure and synchronous: takes text and time, gives values. Never touches a connection and never
//! does anything outside this process because of a token that was not verified.

pub mod claims;
pub mod permit;

pub use claims::{BadClaims, Claims, Limits, Pattern, Permissions};
pub use permit::{Action, Denied, Identity, Policy, permit};
