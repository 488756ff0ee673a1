//! Published keys (RFC 7517): which of a set's keys check tokens, each under its issuer, source, `kid` and algorithm.
//! A set never changes; a new one takes its place whole. Never fetches one.

use std::sync::Arc;

use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::keys::{BadKey, Key, family};
use crate::config::JwtAlgorithm;

/// The usable keys of one source for one algorithm.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Box<[(KeyId, Key)]>,
    unusable: usize,
}

/// What finds a key: all of it, part by part, never glued together. Two issuers may both have a key `1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// The issuer that the key is for alone, where the set says so (member `issuer`, as Microsoft Entra has it).
    pub issuer: Option<Box<str>>,
    /// Where the set came from.
    pub source: Arc<str>,
    /// The name that tokens call it by.
    pub kid: Option<Box<str>>,
    /// The one algorithm it is used with.
    pub algorithm: JwtAlgorithm,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySet {
    /// More than [`SET_BYTES_MAX`] bytes.
    #[error("more than 1 MiB")]
    TooLong,
    /// No JSON object with a list of objects named `keys`.
    #[error("no JSON Web Key Set")]
    Syntax,
    /// More than [`KEYS_MAX`] keys.
    #[error("more than 256 keys")]
    TooMany,
    /// None of its keys can check a token of the algorithm.
    #[error("no usable key for {0}")]
    NoKey(JwtAlgorithm),
}

impl KeySet {
    /// Reads a set that came from `source` for tokens of `algorithm`.
    ///
    /// A key is left out if it is of another kind, for another use or algorithm (`use`, `alg`, `key_ops`), too weak,
    /// broken, or shows its private half. Two keys of the same [`KeyId`] are both left out: which is meant is a guess.
    /// Secrets (`oct`) count only in a set of nothing else: beside public keys a secret is no secret.
    ///
    /// # Errors
    /// No set at all, or none of its keys can be used.
    pub fn parse(json: &[u8], source: &str, algorithm: JwtAlgorithm) -> Result<Self, BadKeySet> {
        if json.len() > SET_BYTES_MAX {
            return Err(BadKeySet::TooLong);
        }
        let set: RawSet<'_> = super::object(json).ok_or(BadKeySet::Syntax)?;
        if set.keys.len() > KEYS_MAX {
            return Err(BadKeySet::TooMany);
        }
        let source: Arc<str> = source.into();
        let raw: Vec<RawKey> =
            set.keys.iter().filter_map(|raw| super::object(raw.get().as_bytes())).collect();
        let only_secrets = raw.len() == set.keys.len() && raw.iter().all(|key| key.kty == "oct");
        let meant: Vec<(KeyId, &RawKey)> = raw
            .iter()
            .filter(|key| key.is_for(algorithm) && (only_secrets || key.kty != "oct"))
            .filter_map(|key| Some((key.id(&source, algorithm)?, key)))
            .collect();
        let is_alone = |id: &KeyId| meant.iter().filter(|(other, _)| other == id).count() == 1;
        let alone = meant.iter().filter(|(id, _)| is_alone(id));
        let keys: Box<[_]> =
            alone.filter_map(|(id, raw)| Some((id.clone(), raw.key(algorithm).ok()?))).collect();
        let unusable = set.keys.len() - keys.len();
        if keys.is_empty() { Err(BadKeySet::NoKey(algorithm)) } else { Ok(Self { keys, unusable }) }
    }

    /// Keys that can check tokens.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no key, as before the first set has come.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that were left out.
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// Under what the keys are found.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(|(id, _)| id)
    }

    /// The keys that a token with this `kid` may mean: more than one only if they are for different issuers. A token
    /// without `kid` means the set's only key.
    pub(super) fn find(
        &self,
        source: &str,
        kid: Option<&str>,
        algorithm: JwtAlgorithm,
    ) -> impl Iterator<Item = &(KeyId, Key)> {
        let is_only = self.keys.len() == 1;
        self.keys.iter().filter(move |(id, _)| {
            let is_named = kid.map_or(is_only, |kid| id.kid.as_deref() == Some(kid));
            is_named && *id.source == *source && id.algorithm == algorithm
        })
    }
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members that we know (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    issuer: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// The private half.
    d: Option<serde::de::IgnoredAny>,
}

impl RawKey {
    /// Whether somebody meant it to check tokens of the algorithm, however good it is.
    fn is_for(&self, algorithm: JwtAlgorithm) -> bool {
        let kind = match family(algorithm) {
            AlgorithmFamily::Hmac => "oct",
            AlgorithmFamily::Rsa => "RSA",
            AlgorithmFamily::Ec => "EC",
            AlgorithmFamily::Ed => "OKP",
        };
        self.kty == kind
            && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str())
    }

    fn key(&self, algorithm: JwtAlgorithm) -> Result<Key, BadKey> {
        if self.d.is_some() {
            return Err("a key without its private half");
        }
        let key = match family(algorithm) {
            AlgorithmFamily::Hmac => DecodingKey::from_secret(&decode(self.k.as_deref())?),
            AlgorithmFamily::Rsa => {
                let (n, e) = (decode(self.n.as_deref())?, decode(self.e.as_deref())?);
                DecodingKey::from_rsa_raw_components(&n, &e)
            }
            AlgorithmFamily::Ec => {
                let is_384 = algorithm == JwtAlgorithm::Es384;
                let (crv, len) = if is_384 { ("P-384", 48) } else { ("P-256", 32) };
                self.on_curve(crv)?;
                let point = [vec![4], part(self.x.as_deref(), len)?, part(self.y.as_deref(), len)?].concat();
                DecodingKey::from_ec_der(&point)
            }
            AlgorithmFamily::Ed => {
                self.on_curve("Ed25519")?;
                DecodingKey::from_ed_der(&decode(self.x.as_deref())?)
            }
        };
        Key::new(algorithm, key)
    }

    /// Under what it is found; `None` if its name is longer than a token may write it.
    fn id(&self, source: &Arc<str>, algorithm: JwtAlgorithm) -> Option<KeyId> {
        let kid: Option<Box<str>> = self.kid.as_deref().map(Box::from);
        // Entra's common endpoint writes a template where an issuer would stand; then it is for every issuer.
        let issuer = self.issuer.as_deref().filter(|issuer| !issuer.contains('{')).map(Box::from);
        let fits = kid.as_ref().is_none_or(|kid| kid.len() <= KID_LEN_MAX);
        fits.then(|| KeyId { issuer, source: Arc::clone(source), kid, algorithm })
    }

    fn on_curve(&self, crv: &str) -> Result<(), BadKey> {
        if self.crv.as_deref() == Some(crv) {
            Ok(())
        } else {
            Err("a key on the curve that the algorithm names")
        }
    }
}

fn decode(text: Option<&str>) -> Result<Vec<u8>, BadKey> {
    text.and_then(super::decode).ok_or("base64url")
}

/// A coordinate has all its leading zeros (RFC 7518 §6.2.1.2).
fn part(text: Option<&str>, len: usize) -> Result<Vec<u8>, BadKey> {
    decode(text)
        .and_then(|bytes| if bytes.len() == len { Ok(bytes) } else { Err("a coordinate of full length") })
}

/// Bytes of a set. The largest identity providers publish a tenth of it.
pub const SET_BYTES_MAX: usize = 1 << 20;

/// Keys of a set; a token looks through all of them.
pub const KEYS_MAX: usize = 256;

/// Bytes of the longest `kid`, in a set and in a token.
pub const KID_LEN_MAX: usize = 128;
