//! Project Wycheproof's vectors for JSON Web Signatures and Keys: what must verify does, what must not does not.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/tokens.rs"]
mod tokens;

use std::sync::Arc;

use highper_realtime::Config;
use highper_realtime::auth::{KeySet, TokenError, Verifier};
use highper_realtime::config::{JwtAlgorithm, KeySource};
use serde_json::{Value, json};
use tokens::ALGORITHMS;

const JWS: &str = include_str!("corpus/jose/jws.json");
const JWK: &str = include_str!("corpus/jose/jwk.json");

/// Vectors whose verdict is not the one of RFC 7515, and why.
const EXCEPTIONS: [(u64, &str); 6] = [
    (346, "RFC 7520 figure 20 is PS384, the vector's key says PS256; see figure_20_with_the_right_algorithm"),
    (350, "the same with key_ops"),
    (367, "byte for byte vector 357, which is valid: the padding it tells of was lost"),
    (370, "the same"),
    (372, "called valid with ? in the header: RFC 7515 §2 has no other characters in base64url"),
    (373, "the same in the payload"),
];

/// The payload by a server that publishes these keys for this algorithm.
fn verify(keys: &Value, algorithm: JwtAlgorithm, token: &str) -> Result<Vec<u8>, TokenError> {
    let keys = if keys.get("keys").is_some() { keys.clone() } else { json!({ "keys": [keys] }) };
    let set =
        KeySet::parse(keys.to_string().as_bytes(), "keys.json", algorithm).map_err(|_| TokenError::Key)?;
    let jwt_jwks = Some(KeySource::File("keys.json".into()));
    let config = Config { jwt_algorithm: algorithm, jwt_jwks, ..Config::default() };
    Verifier::new(&config).unwrap().with_keys(Arc::new(set)).payload(token)
}

/// The algorithm that a server with this key is configured for.
fn configured(keys: &Value) -> Option<JwtAlgorithm> {
    let key = keys["keys"].get(0).unwrap_or(keys);
    ALGORITHMS.into_iter().find(|algorithm| key["alg"] == algorithm.as_str())
}

/// Goes through a file and returns how many vectors were valid, invalid, and of algorithms that do not exist here.
fn run(text: &str) -> (usize, usize, usize) {
    let file: Value = serde_json::from_str(text).unwrap();
    let (mut valid, mut invalid, mut foreign) = (0, 0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let keys = group.get("public").unwrap_or(&group["private"]);
        for test in group["tests"].as_array().unwrap() {
            let (id, token) = (test["tcId"].as_u64().unwrap(), test["jws"].as_str().unwrap());
            let must_verify = test["result"] == "valid";
            let what = format!("{id} {}", test["comment"]);
            if EXCEPTIONS.iter().any(|(exception, _)| *exception == id && text == JWS) {
                continue;
            }
            // Whatever a server is configured for, what is invalid never verifies.
            let verified: Vec<_> =
                ALGORITHMS.into_iter().filter(|algorithm| verify(keys, *algorithm, token).is_ok()).collect();
            match (must_verify, configured(keys)) {
                (false, _) => {
                    assert!(verified.is_empty(), "{what}: verified by {verified:?}");
                    invalid += 1;
                }
                (true, None) => {
                    assert!(verified.is_empty(), "{what}: {verified:?}");
                    foreign += 1;
                }
                (true, Some(algorithm)) => {
                    assert_eq!(verified, [algorithm], "{what}");
                    valid += 1;
                }
            }
        }
    }
    (valid, invalid, foreign)
}

#[test]
fn json_web_signatures() {
    assert_eq!(run(JWS), (40, 353, 2));
}

#[test]
fn json_web_keys() {
    assert_eq!(run(JWK), (5, 21, 0));
}

#[test]
fn figure_20_with_the_right_algorithm() {
    let file: Value = serde_json::from_str(JWS).unwrap();
    let groups = file["testGroups"].as_array().unwrap();
    let tests = groups.iter().flat_map(|group| {
        group["tests"].as_array().unwrap().iter().map(move |test| (group["public"].clone(), test))
    });
    let mut seen = 0;
    for (mut key, test) in tests.filter(|(_, test)| test["comment"] == "Figure20") {
        key["alg"] = "PS384".into();
        verify(&key, JwtAlgorithm::Ps384, test["jws"].as_str().unwrap()).unwrap();
        seen += 1;
    }
    assert_eq!(seen, 2);
}
