//! Keys that check signatures, each bound to one algorithm and sound for it: kind, curve, length, exponent. Refuses
//! what is too weak to be a key when it is read, not when the first token comes. Never signs.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};

use super::{AuthError, decode};
use crate::config::{Config, JwtAlgorithm};

/// A key for tokens of one algorithm. `Debug` shows the algorithm alone.
#[derive(Clone)]
pub(super) struct Key {
    algorithm: JwtAlgorithm,
    key: DecodingKey,
}

/// What is wrong with a key, as the rest of a sentence that starts with "expected".
pub(super) type BadKey = &'static str;

impl Key {
    /// REALTIME_JWT_SECRET as the key of REALTIME_JWT_ALGORITHM. A secret that is too short is the configuration's to
    /// judge, because tests may have one; one that is a key in PEM never is a secret: everyone may know it.
    pub(super) fn of_config(config: &Config) -> Result<Option<Self>, AuthError> {
        let Some(secret) = &config.jwt_secret else { return Ok(None) };
        let (algorithm, secret) = (config.jwt_algorithm, secret.expose());
        let key = match family(algorithm) {
            AlgorithmFamily::Hmac if secret.contains(PEM) => Err("a secret, not a key in PEM"),
            AlgorithmFamily::Hmac if secret.is_empty() => Err("a secret"),
            AlgorithmFamily::Hmac => Ok(Self { algorithm, key: DecodingKey::from_secret(secret.as_bytes()) }),
            AlgorithmFamily::Rsa | AlgorithmFamily::Ec | AlgorithmFamily::Ed => of_pem(algorithm, secret),
        };
        key.map(Some).map_err(|expected| AuthError::Key { algorithm, expected })
    }

    /// A key from its parts, if it is sound for the algorithm.
    pub(super) fn new(algorithm: JwtAlgorithm, key: DecodingKey) -> Result<Self, BadKey> {
        if key.family() != family(algorithm) {
            return Err(KIND);
        }
        match (key.family(), key.kind()) {
            (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => check_rsa(n, e)?,
            (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| KIND)?;
                let (n, e) = rsa_parts(&key).ok_or(KIND)?;
                check_rsa(&n, &e)?;
            }
            (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point))
                if algorithm == JwtAlgorithm::Es384 =>
            {
                check_point(point, P384_POINT, &ECDSA_P384_SHA384_FIXED)?;
            }
            (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
                check_point(point, P256_POINT, &ECDSA_P256_SHA256_FIXED)?;
            }
            (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => {
                check_point(point, ED25519_POINT, &ED25519)?;
            }
            (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => {
                let bytes_min = algorithm.secret_bytes_min().unwrap_or(usize::MAX);
                if secret.len() < bytes_min {
                    return Err("a secret as long as the hash");
                }
            }
            (AlgorithmFamily::Hmac | AlgorithmFamily::Ec | AlgorithmFamily::Ed, _) => return Err(KIND),
        }
        Ok(Self { algorithm, key })
    }

    /// Whether the signature (base64url) of these bytes was made with the other half of this key. Takes as long for a
    /// MAC that is nearly right as for any other.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let verified =
            jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm_of(self.algorithm));
        verified.unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A public key. A private one does not belong into a configuration that only verifies, and a certificate is more
/// than a key: whoever shows one wants its dates and its issuer looked at.
fn of_pem(algorithm: JwtAlgorithm, pem: &str) -> Result<Key, BadKey> {
    if !PUBLIC_PEM.iter().any(|begin| pem.trim_start().starts_with(begin)) {
        return Err("a public key in PEM, nothing before it");
    }
    let key = match family(algorithm) {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem.as_bytes()),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem.as_bytes()),
        AlgorithmFamily::Hmac => return Err("a secret, not a key in PEM"),
    };
    Key::new(algorithm, key.map_err(|_| "a public key in PEM of the kind that the algorithm needs")?)
}

/// Modulus and exponent of an RSA key.
fn rsa_parts(key: &DecodingKey) -> Option<(Vec<u8>, Vec<u8>)> {
    match Jwk::from_decoding_key(key, None).ok()?.algorithm {
        AlgorithmParameters::RSA(parts) => Some((decode(&parts.n)?, decode(&parts.e)?)),
        // The enum is not ours; an RSA key gives no other parts.
        _ => None,
    }
}

/// A point of the right length that lies on the curve.
fn check_point(
    point: &[u8],
    len: usize,
    algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
) -> Result<(), BadKey> {
    if point.len() != len {
        return Err("a key on the curve that the algorithm names");
    }
    ParsedPublicKey::new(algorithm, point).map(|_| ()).map_err(|_| "a point of the curve")
}

/// Modulus of 2048 to 8192 bits (RFC 7518 §3.3), an exponent that scrambles, and primes of no broken generator.
fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), BadKey> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !(2048..=8192).contains(&bits) || !is_odd(n) {
        return Err("an RSA key of 2048 to 8192 bits");
    }
    if e == [1] || !is_odd(e) || e.len() > EXPONENT_BYTES_MAX {
        return Err("an RSA key with an odd exponent above 1");
    }
    if is_of_broken_generator(n) {
        Err("an RSA key that can not be factored (CVE-2017-15361)")
    } else {
        Ok(())
    }
}

/// Moduli of the broken Infineon library (ROCA, CVE-2017-15361) are a power of 65537 modulo every small prime; of
/// others, one in 2^27 is.
fn is_of_broken_generator(n: &[u8]) -> bool {
    SMALL_PRIMES.iter().all(|prime| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65_537 % prime));
        powers.take(*prime as usize).any(|power| power == rest)
    })
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

pub(super) fn family(algorithm: JwtAlgorithm) -> AlgorithmFamily {
    algorithm_of(algorithm).family()
}

pub(super) fn algorithm_of(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

const KIND: BadKey = "a key of the kind that the algorithm needs";

/// RFC 7468 §2.
const PEM: &str = "-----BEGIN ";
const PUBLIC_PEM: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"];

/// Points that are not compressed (RFC 7518 §6.2.1): 4, x, y.
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;
const ED25519_POINT: usize = 32;

/// As the crypto library has it.
const EXPONENT_BYTES_MAX: usize = 5;

/// Primes modulo which 65537 has few powers.
const SMALL_PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
