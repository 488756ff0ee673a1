//! Tokens for tests, signed as an issuer would.
#![allow(dead_code, reason = "each test uses its part")]

use highper_realtime::auth;
use highper_realtime::config::{Bounds, Config, Secret, Value as _};
use serde_json::Value;

/// The secret it signs with.
pub const SECRET: &str = "6f1c0a9d3b5e47f28a90c1d2e3f4a5b6c7d8";

/// Clients must prove who they are.
pub fn with_auth(config: &mut Config) {
    config.auth_enabled = true;
    config.jwt_secret = Secret::parse(SECRET, &Bounds::ANY);
}

/// A token of these claims, signed with HS256.
pub fn token(claims: Value) -> String {
    token_by(SECRET, claims)
}

/// The same, signed with this secret.
pub fn token_by(secret: &str, claims: Value) -> String {
    let config = Config { jwt_secret: Secret::parse(secret, &Bounds::ANY), ..Config::default() };
    auth::sign(&config, &claims.to_string()).expect("the secret is one for HS256")
}
