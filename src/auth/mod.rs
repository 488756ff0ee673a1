//! Who somebody is and what they may do: tokens (RFC 7519), keys, identities, and the one permission function that
//! every transport asks. Takes text and time, gives values; only [`Fetcher`] has a thread, and it calls nobody but the
//! configured source. Never touches a connection.

pub mod claims;
mod fetcher;
pub mod jwks;
mod keys;
pub mod permit;
mod revoked;
mod signing;
mod verifier;

pub use claims::{BadClaims, Claims, Limits, Pattern, Permissions};
pub use fetcher::Fetcher;
pub use jwks::{BadKeySet, KeyId, KeySet};
pub use permit::{Action, Denied, Identity, Policy, is_for, permit};
pub use revoked::{Revocations, USERS_MAX};
pub use signing::{random_secret, sign};
pub use verifier::{TOKEN_BYTES_MAX, TokenError, Verifier};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde::Deserialize;

use crate::config::JwtAlgorithm;

/// Why tokens cannot be checked or made as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// REALTIME_JWT_SECRET is no key for the algorithm.
    #[error("REALTIME_JWT_SECRET=(hidden): expected {expected}, for REALTIME_JWT_ALGORITHM={algorithm}")]
    Key {
        /// The configured algorithm.
        algorithm: JwtAlgorithm,
        /// What would be right.
        expected: &'static str,
    },
    /// Signatures are not to be checked, and this is no test.
    #[error("REALTIME_JWT_VERIFY_SIGNATURE=false: expected true unless APP_ENV is testing or local")]
    Unsigned,
    /// REALTIME_JWT_JWKS cannot be used.
    #[error("REALTIME_JWT_JWKS={url}: {what}", url = .source_shown)]
    Source {
        /// The source without its secrets.
        source_shown: String,
        /// What is wrong.
        what: String,
    },
    /// Only secrets can sign here.
    #[error("REALTIME_JWT_SECRET and an HS algorithm are needed to sign; REALTIME_JWT_ALGORITHM={0}")]
    CannotSign(JwtAlgorithm),
    /// The thread that fetches keys was refused.
    #[error("start the thread that fetches keys: {0}")]
    Thread(std::io::Error),
}

/// base64url without padding (RFC 7515 §2), and nothing else: no padding, no white space, no bits left over.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A struct from a JSON object. The library would take a list too, and read it by position.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().first() == Some(&b'{');
    if is_object { serde_json::from_slice(json).ok() } else { None }
}
