//! Tokens checked: their form, the signature by the configured key and algorithm, then what they claim. A shard has a
//! verifier of its own; clones share what never changes. Does no I/O, and nothing a token says before its signature
//! is checked has an effect but which key of the known ones is tried.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::claims::{BadClaims, Claims};
use super::jwks::{KID_LEN_MAX, KeySet};
use super::keys::Key;
use super::{AuthError, decode};
use crate::config::{AuthDriver, Config, JwtAlgorithm, Value};

/// Checks tokens.
#[derive(Clone, Debug)]
pub struct Verifier {
    rules: Arc<Rules>,
    keys: Keys,
}

/// Why a token is not taken. Shows nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not three parts of base64url, longer than [`TOKEN_BYTES_MAX`], or a header that is no JSON object with each
    /// name once (RFC 7515 §4).
    #[error("the token is malformed")]
    Malformed,
    /// Signed with another algorithm than the configured one, or not at all.
    #[error("the token has another algorithm than the server takes")]
    Algorithm,
    /// It says that something must be understood (`crit`); nothing is.
    #[error("the token wants something understood that the server does not know")]
    Critical,
    /// No key is known by its `kid`.
    #[error("the token's key is not known")]
    Key,
    /// Not signed with the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or is not what it must be.
    #[error(transparent)]
    Claims(#[from] BadClaims),
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come, or it was made in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Made by somebody whose tokens are not taken, or with another issuer's key.
    #[error("the token's issuer is not one the server takes")]
    Issuer,
    /// Made for others.
    #[error("the token is for another audience")]
    Audience,
    /// Taken back ([`Revocations`](super::Revocations)).
    #[error("the token was revoked")]
    Revoked,
    /// The token of a channel where that of a connection belongs.
    #[error("the token is for a channel and opens no connection")]
    Purpose,
}

impl Verifier {
    /// A verifier as configured. With REALTIME_JWT_JWKS it takes no token until [`Verifier::with_keys`] brings keys.
    ///
    /// # Errors
    /// REALTIME_JWT_SECRET is no key for REALTIME_JWT_ALGORITHM, or signatures are not to be checked outside testing
    /// and local.
    pub fn new(config: &Config) -> Result<Self, AuthError> {
        match config.auth_driver {
            AuthDriver::Jwt => {}
        }
        if !config.jwt_verify_signature && !config.app_env.relaxed() {
            return Err(AuthError::Unsigned);
        }
        let keys = match &config.jwt_jwks {
            Some(source) => Keys::Published { source: source.show().into(), set: Arc::default() },
            None => Key::of_config(config)?.map_or(Keys::None, |key| Keys::Own(Arc::new(key))),
        };
        let rules = Rules {
            algorithm: config.jwt_algorithm,
            verify_signature: config.jwt_verify_signature,
            verify_expiration: config.jwt_verify_expiration,
            issuers: config.jwt_issuers.clone(),
            audiences: config.jwt_audiences.clone(),
            leeway: config.jwt_leeway.as_secs(),
        };
        Ok(Self { rules: Arc::new(rules), keys })
    }

    /// The same verifier with these published keys. Without REALTIME_JWT_JWKS they change nothing; keys of another
    /// source are never found.
    pub fn with_keys(&self, set: Arc<KeySet>) -> Self {
        let keys = match &self.keys {
            Keys::Published { source, .. } => Keys::Published { source: Arc::clone(source), set },
            Keys::Own(_) | Keys::None => self.keys.clone(),
        };
        Self { rules: Arc::clone(&self.rules), keys }
    }

    /// What a token claims, if all of it holds at this time, in seconds since 1970. It may still be revoked.
    ///
    /// # Errors
    /// The first reason not to take it.
    pub fn verify(&self, token: &str, now_unix_secs: u64) -> Result<Claims, TokenError> {
        let (payload, issuer) = self.signed(token)?;
        let claims = Claims::parse(&payload)?;
        if issuer.is_some_and(|issuer| claims.issuer.as_deref() != Some(issuer)) {
            return Err(TokenError::Issuer);
        }
        self.rules.check(&claims, now_unix_secs)?;
        Ok(claims)
    }

    /// The payload of a token whose signature holds, whatever it says: for those who sign other things than claims.
    ///
    /// # Errors
    /// The form, the algorithm, the key or the signature.
    pub fn payload(&self, token: &str) -> Result<Vec<u8>, TokenError> {
        self.signed(token).map(|(payload, _)| payload)
    }

    /// The payload, and the issuer that the key is for alone.
    fn signed(&self, token: &str) -> Result<(Vec<u8>, Option<&str>), TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') || decode(signature).is_none() {
            return Err(TokenError::Malformed);
        }
        let header = decode(header).ok_or(TokenError::Malformed)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if header.is_critical {
            return Err(TokenError::Critical);
        }
        let decode_payload = || decode(payload).ok_or(TokenError::Malformed);
        if !self.rules.verify_signature {
            return Ok((decode_payload()?, None));
        }
        if header.alg.as_deref() != Some(self.rules.algorithm.as_str()) {
            return Err(TokenError::Algorithm);
        }
        let issuer = self.keys.check(self.rules.algorithm, header.kid.as_deref(), message, signature)?;
        Ok((decode_payload()?, issuer))
    }
}

impl TokenError {
    /// A stable word for counters and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims(_) => "claims",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Revoked => "revoked",
            Self::Purpose => "purpose",
        }
    }
}

/// What a token must satisfy beside its signature.
#[derive(Debug)]
struct Rules {
    algorithm: JwtAlgorithm,
    verify_signature: bool,
    verify_expiration: bool,
    issuers: Vec<String>,
    audiences: Vec<String>,
    /// Seconds.
    leeway: u64,
}

impl Rules {
    fn check(&self, claims: &Claims, now: u64) -> Result<(), TokenError> {
        match claims.expires_at {
            None if self.verify_expiration => return Err(BadClaims("exp").into()),
            // RFC 7519 §4.1.4: on or after the time it is over.
            Some(end) if self.verify_expiration && now >= end.saturating_add(self.leeway) => {
                return Err(TokenError::Expired);
            }
            Some(_) | None => {}
        }
        let latest = now.saturating_add(self.leeway);
        let is_early = |time: Option<u64>| time.is_some_and(|time| time > latest);
        if is_early(claims.not_before) || is_early(claims.issued_at) {
            return Err(TokenError::NotYetValid);
        }
        let issuer = claims.issuer.as_deref();
        if !self.issuers.is_empty() && !self.issuers.iter().any(|taken| Some(taken.as_str()) == issuer) {
            return Err(TokenError::Issuer);
        }
        let is_ours = |audience: &str| self.audiences.iter().any(|ours| ours == audience);
        if !self.audiences.is_empty() && !claims.audiences.iter().any(|audience| is_ours(audience)) {
            return Err(TokenError::Audience);
        }
        Ok(())
    }
}

/// What signatures are checked with.
#[derive(Clone, Debug)]
enum Keys {
    /// Nothing is configured: no token is taken.
    None,
    /// REALTIME_JWT_SECRET, whatever `kid` a token names.
    Own(Arc<Key>),
    /// What REALTIME_JWT_JWKS publishes.
    Published { source: Arc<str>, set: Arc<KeySet> },
}

impl Keys {
    /// The issuer that the key is for alone, if the signature holds.
    fn check(
        &self,
        algorithm: JwtAlgorithm,
        kid: Option<&str>,
        message: &str,
        signature: &str,
    ) -> Result<Option<&str>, TokenError> {
        let message = message.as_bytes();
        match self {
            Self::None => Err(TokenError::Key),
            Self::Own(key) if key.verifies(message, signature) => Ok(None),
            Self::Own(_) => Err(TokenError::Signature),
            Self::Published { source, set } => {
                let mut error = TokenError::Key;
                for (id, key) in set.find(source, kid, algorithm) {
                    if key.verifies(message, signature) {
                        return Ok(id.issuer.as_deref());
                    }
                    error = TokenError::Signature;
                }
                Err(error)
            }
        }
    }
}

/// What a token's header says (RFC 7515 §4.1), of which only three names matter. `jku`, `jwk`, `x5u` and `x5c` bring
/// or fetch a key of the sender's choice; they are read over.
struct Header<'a> {
    alg: Option<Cow<'a, str>>,
    kid: Option<Cow<'a, str>>,
    is_critical: bool,
}

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        use serde::de::Error;
        let mut header = Header { alg: None, kid: None, is_critical: false };
        let mut seen: Vec<String> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "alg" => header.alg = Some(map.next_value()?),
                "kid" => header.kid = Some(map.next_value()?),
                "crit" => {
                    map.next_value::<IgnoredAny>()?;
                    header.is_critical = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if seen.contains(&name) || seen.len() == HEADER_NAMES_MAX {
                return Err(M::Error::custom("a name twice, or too many"));
            }
            seen.push(name);
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > KID_LEN_MAX) {
            return Err(M::Error::custom("kid is too long"));
        }
        Ok(header)
    }
}

/// Bytes of the longest token: it must fit into a request head, whose limit is as large.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// Names that a header may have. Those that are registered are 16.
const HEADER_NAMES_MAX: usize = 32;
