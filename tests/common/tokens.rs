//! Keys of every algorithm and tokens signed with them, also such that no issuer would make. Never checks one.
#![allow(dead_code, reason = "each test uses its part")]

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use highper_realtime::Config;
use highper_realtime::auth::Verifier;
use highper_realtime::config::{JwtAlgorithm, Secret};

/// The time that tests call now, in seconds since 1970.
pub const NOW: u64 = 1_800_000_000;

/// A strong secret, long enough for every HS algorithm.
pub const SECRET: &str = "k7Wq2-zPm9_Rt4vXb1Ns6Yc8Hd3Lf5Jg0Aq1-Ws2_Ed3Rf4Tg5Yh6Uj7Ik8Ol9Pm0";

/// Every algorithm there is.
pub const ALGORITHMS: [JwtAlgorithm; 12] = [
    JwtAlgorithm::Hs256,
    JwtAlgorithm::Hs384,
    JwtAlgorithm::Hs512,
    JwtAlgorithm::Rs256,
    JwtAlgorithm::Rs384,
    JwtAlgorithm::Rs512,
    JwtAlgorithm::Ps256,
    JwtAlgorithm::Ps384,
    JwtAlgorithm::Ps512,
    JwtAlgorithm::Es256,
    JwtAlgorithm::Es384,
    JwtAlgorithm::EdDsa,
];

/// Both halves of a key.
pub enum Signer {
    Hmac(Vec<u8>),
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    /// A fresh key of the kind that an algorithm needs; for HS ones [`SECRET`].
    pub fn new(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => Self::Hmac(SECRET.into()),
            JwtAlgorithm::Es256 => {
                Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            JwtAlgorithm::Es384 => {
                Self::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            JwtAlgorithm::EdDsa => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            JwtAlgorithm::Rs256
            | JwtAlgorithm::Rs384
            | JwtAlgorithm::Rs512
            | JwtAlgorithm::Ps256
            | JwtAlgorithm::Ps384
            | JwtAlgorithm::Ps512 => Self::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()),
        }
    }

    /// What REALTIME_JWT_SECRET has to be: the secret, or the public half in PEM.
    pub fn public(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Hmac(secret) => return String::from_utf8(secret.clone()).unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::Ec(key) => key.public_key().as_der().unwrap(),
            Self::Ed(key) => key.public_key().as_der().unwrap(),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    /// The last bytes of the public half: the point of a curve, without the 4 of EC.
    pub fn point(&self) -> Vec<u8> {
        match self {
            Self::Ec(key) => key.public_key().as_ref()[1..].to_vec(),
            Self::Ed(key) => key.public_key().as_ref().to_vec(),
            Self::Hmac(_) | Self::Rsa(_) => panic!("no point"),
        }
    }

    /// A token with this header, byte for byte, and this payload.
    pub fn token_with(&self, algorithm: JwtAlgorithm, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    /// A token with the header that an issuer writes.
    pub fn token(&self, algorithm: JwtAlgorithm, payload: &str) -> String {
        self.token_with(algorithm, &format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#), payload)
    }

    fn sign(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Hmac(secret) => {
                let hash = match algorithm {
                    JwtAlgorithm::Hs384 => hmac::HMAC_SHA384,
                    JwtAlgorithm::Hs512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    JwtAlgorithm::Rs384 => &RSA_PKCS1_SHA384,
                    JwtAlgorithm::Rs512 => &RSA_PKCS1_SHA512,
                    JwtAlgorithm::Ps256 => &RSA_PSS_SHA256,
                    JwtAlgorithm::Ps384 => &RSA_PSS_SHA384,
                    JwtAlgorithm::Ps512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// base64url, as every part of a token is written.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A configuration that takes tokens of this key.
pub fn config(algorithm: JwtAlgorithm, key: &str) -> Config {
    Config {
        auth_enabled: true,
        jwt_algorithm: algorithm,
        jwt_secret: Some(Secret::new(key)),
        ..Config::default()
    }
}

/// A verifier of HS256 tokens signed with [`SECRET`], with changes to its configuration.
pub fn verifier(change: impl FnOnce(&mut Config)) -> Verifier {
    let mut config = config(JwtAlgorithm::Hs256, SECRET);
    change(&mut config);
    Verifier::new(&config).unwrap()
}

/// A token of HS256 and [`SECRET`].
pub fn hs256(payload: &str) -> String {
    Signer::Hmac(SECRET.into()).token(JwtAlgorithm::Hs256, payload)
}
