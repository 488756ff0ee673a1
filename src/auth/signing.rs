//! Tokens made: for the command line and for tests, with a shared secret only. Never on a shard.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;

use super::AuthError;
use super::keys::algorithm_of;
use crate::config::Config;

/// A token with this payload, signed with REALTIME_JWT_SECRET by REALTIME_JWT_ALGORITHM.
///
/// # Errors
/// The algorithm is one of two keys, of which this server has the public one only; or there is no secret.
pub fn sign(config: &Config, payload: &str) -> Result<String, AuthError> {
    let algorithm = config.jwt_algorithm;
    let secret = config.jwt_secret.as_ref().filter(|_| algorithm.secret_bytes_min().is_some());
    let Some(secret) = secret else { return Err(AuthError::CannotSign(algorithm)) };
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm_of(algorithm));
    Ok(format!("{message}.{}", signature.expect("a MAC of any bytes with any secret can be made")))
}

/// A secret of 48 random bytes as base64url: 64 characters, enough for every HS algorithm.
///
/// # Panics
/// The operating system has no randomness; then no secret is safe.
pub fn random_secret() -> String {
    let mut bytes = [0; 48];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}
