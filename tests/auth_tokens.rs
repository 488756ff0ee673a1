//! Tokens are taken if their signature, their claims and their time hold, and for no other reason.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/tokens.rs"]
mod tokens;

use highper_realtime::auth::{
    AuthError, Claims, Identity, Revocations, TOKEN_BYTES_MAX, TokenError, Verifier,
};
use highper_realtime::config::{AppEnv, JwtAlgorithm};
use tokens::{ALGORITHMS, NOW, SECRET, Signer, config, encode, hs256, verifier};

fn payload(more: &str) -> String {
    format!(r#"{{"sub":"ann","exp":{}{more}}}"#, NOW + 60)
}

/// Why HS256 tokens with this payload are not taken.
fn reason(payload: &str) -> &'static str {
    let verified = verifier(|_| ()).verify(&hs256(payload), NOW);
    verified.map_or_else(TokenError::reason, |_| "taken")
}

#[test]
fn every_algorithm_takes_its_own_tokens_and_none_of_another() {
    for ours in ALGORITHMS {
        let signer = Signer::new(ours);
        let verifier = Verifier::new(&config(ours, &signer.public())).unwrap();
        let good = signer.token(ours, &payload(""));
        assert_eq!(&*verifier.verify(&good, NOW).unwrap().user, "ann", "{ours}");
        let stranger = match ours.secret_bytes_min() {
            Some(_) => Signer::Hmac([SECRET, "x"].concat().into()),
            None => Signer::new(ours),
        };
        let forged = stranger.token(ours, &payload(""));
        assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature), "{ours}");
        for other in ALGORITHMS.into_iter().filter(|other| *other != ours) {
            let header = format!(r#"{{"alg":"{other}"}}"#);
            let token = signer.token_with(ours, &header, &payload(""));
            assert_eq!(verifier.verify(&token, NOW), Err(TokenError::Algorithm), "{ours} {other}");
        }
    }
}

#[test]
fn any_changed_character_breaks_a_token() {
    let (verifier, token) = (verifier(|_| ()), hs256(&payload("")));
    assert!(verifier.verify(&token, NOW).is_ok());
    for at in 0..token.len() {
        for other in ["A", "z", "_", ".", "=", " ", "é"] {
            let mut changed = token.clone();
            changed.replace_range(at..=at, other);
            assert!(changed == token || verifier.verify(&changed, NOW).is_err(), "{other:?} at {at}");
        }
    }
}

#[test]
fn j1_a_token_without_our_algorithm_is_refused() {
    let verifier = verifier(|_| ());
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"NoNe"}"#,
        r#"{"alg":"NONE","typ":"JWT"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS256 "}"#,
        r#"{"typ":"JWT"}"#,
        r#"{}"#,
    ] {
        let unsigned = format!("{}.{}.", encode(header), encode(payload("")));
        assert_eq!(verifier.verify(&unsigned, NOW), Err(TokenError::Algorithm), "{header}");
        let signed = Signer::Hmac(SECRET.into()).token_with(JwtAlgorithm::Hs256, header, &payload(""));
        assert_eq!(verifier.verify(&signed, NOW), Err(TokenError::Algorithm), "{header}");
    }
    for header in [
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":1}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        "[]",
        "",
        "{",
    ] {
        let signed = Signer::Hmac(SECRET.into()).token_with(JwtAlgorithm::Hs256, header, &payload(""));
        assert_eq!(verifier.verify(&signed, NOW), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn j2_a_public_key_is_no_secret() {
    for kind in [JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa] {
        let public = Signer::new(kind).public();
        let verifier = Verifier::new(&config(kind, &public)).unwrap();
        for hs in [JwtAlgorithm::Hs256, JwtAlgorithm::Hs384, JwtAlgorithm::Hs512] {
            let forged = Signer::Hmac(public.clone().into()).token(hs, &payload(""));
            assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Algorithm));
            let header = format!(r#"{{"alg":"{kind}"}}"#);
            let forged = Signer::Hmac(public.clone().into()).token_with(hs, &header, &payload(""));
            assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature));
            let refused = Verifier::new(&config(hs, &public)).unwrap_err().to_string();
            assert!(refused.starts_with("REALTIME_JWT_SECRET=(hidden): expected a secret"), "{refused}");
        }
    }
}

#[test]
fn j2_a_key_of_another_kind_is_refused_when_the_server_starts() {
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEYMlDvIkjv3T0n6Nn4cPU8B\n-----END PRIVATE KEY-----";
    for algorithm in ALGORITHMS.into_iter().filter(|algorithm| algorithm.secret_bytes_min().is_none()) {
        let family = |other: JwtAlgorithm| match other.as_str() {
            rsa if rsa.starts_with(['R', 'P']) => "RSA".to_owned(),
            other => other.to_owned(),
        };
        let others = [JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::Es384, JwtAlgorithm::EdDsa];
        let others = others.into_iter().filter(|other| family(*other) != family(algorithm));
        let mut bad: Vec<String> = others.map(|other| Signer::new(other).public()).collect();
        let good = Signer::new(algorithm).public();
        bad.extend(
            [SECRET, private, "", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"].map(String::from),
        );
        bad.push(good.replace("PUBLIC KEY", "CERTIFICATE"));
        bad.push(
            good.replacen("MI", "MA", 1)
                .replacen("MC", "MA", 1)
                .replacen("MF", "MA", 1)
                .replacen("MH", "MA", 1),
        );
        for key in bad {
            let refused = Verifier::new(&config(algorithm, &key));
            assert!(matches!(refused, Err(AuthError::Key { .. })), "{algorithm}: {key}");
            assert!(!refused.unwrap_err().to_string().contains("MC4C"), "the key is not shown");
        }
    }
}

#[test]
fn j3_nothing_in_a_header_brings_or_names_a_key() {
    let verifier = verifier(|_| ());
    let token =
        |header: &str| Signer::Hmac(SECRET.into()).token_with(JwtAlgorithm::Hs256, header, &payload(""));
    for (header, expected) in [
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Err(TokenError::Critical)),
        (r#"{"alg":"HS256","crit":[]}"#, Err(TokenError::Critical)),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, Err(TokenError::Critical)),
        (r#"{"alg":"HS256","crit":null}"#, Err(TokenError::Critical)),
        // One key is configured: what the token calls it does not matter, as long as it is a name.
        (r#"{"alg":"HS256","kid":"../../dev/null"}"#, Ok(())),
        (
            r#"{"alg":"HS256","kid":"' OR 1=1 --","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}"#,
            Ok(()),
        ),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"x5c":["AAAA"]}"#, Ok(())),
        (r#"{"alg":"HS256","kid":7}"#, Err(TokenError::Malformed)),
        (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, Err(TokenError::Malformed)),
        (r#"{"alg":"HS256","x":1,"x":1}"#, Err(TokenError::Malformed)),
    ] {
        assert_eq!(verifier.verify(&token(header), NOW).map(|_| ()), expected, "{header}");
    }
    let named = |len: usize| token(&format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(len)));
    assert!(verifier.verify(&named(128), NOW).is_ok());
    assert_eq!(verifier.verify(&named(129), NOW), Err(TokenError::Malformed));
    // A header with a key in it is not signed with that key.
    let own = Signer::Hmac([0; 32].into());
    let header = format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}}}}"#, encode([0; 32]));
    let forged = own.token_with(JwtAlgorithm::Hs256, &header, &payload(""));
    assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature));
}

#[test]
fn a_token_has_three_parts_of_base64url_and_a_length() {
    let verifier = verifier(|_| ());
    let good = hs256(&payload(""));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    for token in [
        String::new(),
        "..".to_owned(),
        header.to_owned(),
        message.to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}. {signature}"),
        format!("{header}.{claims}.{signature}\n"),
        format!("{header}.{claims}.+/{}", &signature[2..]),
        format!(r#"{{"protected":"{header}","payload":"{claims}","signature":"{signature}"}}"#),
    ] {
        assert_eq!(verifier.verify(&token, NOW), Err(TokenError::Malformed), "{token}");
    }
    assert_eq!(verifier.verify(&format!("{message}."), NOW), Err(TokenError::Signature));
    let padded = |len: usize| hs256(&payload(&format!(r#","x":"{}""#, "x".repeat(len))));
    let most = (0..TOKEN_BYTES_MAX).rev().find(|len| padded(*len).len() <= TOKEN_BYTES_MAX).unwrap();
    assert!(verifier.verify(&padded(most), NOW).is_ok());
    assert_eq!(verifier.verify(&padded(most + 2), NOW), Err(TokenError::Malformed));
}

#[test]
fn j6_times_are_whole_numbers() {
    let bad = [
        "\"1900000000\"",
        "1900000000.0",
        "1.9e9",
        "-1",
        "1e400",
        "9007199254740992",
        "18446744073709551616",
        "null",
        "true",
        "[1900000000]",
        "{}",
        "NaN",
    ];
    for value in bad {
        assert_eq!(reason(&format!(r#"{{"exp":{value}}}"#)), "claims", "exp {value}");
        for claim in ["nbf", "iat"] {
            assert_eq!(reason(&payload(&format!(r#","{claim}":{value}"#))), "claims", "{claim} {value}");
        }
    }
    assert_eq!(reason(r#"{"exp":9007199254740991}"#), "taken");
    assert_eq!(reason(r#"{"sub":"ann"}"#), "claims", "exp is required");
    assert_eq!(reason(r#"{"exp":1900000000,"exp":1900000000}"#), "claims");
    assert_eq!(reason(r#"{"exp":0}"#), "expired");
    let lenient = verifier(|config| config.jwt_verify_expiration = false);
    assert!(lenient.verify(&hs256(r#"{"sub":"ann"}"#), NOW).is_ok());
    assert!(lenient.verify(&hs256(r#"{"exp":0}"#), NOW).is_ok());
    assert!(lenient.verify(&hs256(r#"{"exp":"0"}"#), NOW).is_err(), "what is there must be sound");
}

#[test]
fn j7_issuer_and_audience_count_when_they_are_set() {
    let strict = verifier(|config| {
        config.jwt_issuers = vec!["https://id.example".into(), "other".into()];
        config.jwt_audiences = vec!["realtime".into(), "chat".into()];
    });
    let good = r#","iss":"https://id.example","aud":["x","realtime"]"#;
    assert!(strict.verify(&hs256(&payload(good)), NOW).is_ok());
    assert!(strict.verify(&hs256(&payload(r#","iss":"other","aud":"chat""#)), NOW).is_ok());
    for (claims, error) in [
        (r#","aud":"chat""#, TokenError::Issuer),
        (r#","iss":"https://id.example/","aud":"chat""#, TokenError::Issuer),
        (r#","iss":"OTHER","aud":"chat""#, TokenError::Issuer),
        (r#","iss":"other""#, TokenError::Audience),
        (r#","iss":"other","aud":[]"#, TokenError::Audience),
        (r#","iss":"other","aud":"chat2""#, TokenError::Audience),
        (r#","iss":"other","aud":["Chat","realtime "]"#, TokenError::Audience),
    ] {
        assert_eq!(strict.verify(&hs256(&payload(claims)), NOW), Err(error), "{claims}");
    }
    for claims in [r#","iss":["other"]"#, r#","iss":null"#, r#","aud":null"#, r#","aud":[1]"#, r#","aud":{}"#]
    {
        assert_eq!(reason(&payload(claims)), "claims", "{claims}");
    }
}

#[test]
fn j8_clocks_may_differ_by_the_leeway_and_no_more() {
    for leeway in [0, 30, 300] {
        let verifier = verifier(|config| config.jwt_leeway = std::time::Duration::from_secs(leeway));
        let token = hs256(&format!(r#"{{"exp":{NOW}}}"#));
        let at = |now| verifier.verify(&token, now).map(|_| ());
        assert_eq!(at(NOW - 1), Ok(()));
        assert_eq!(leeway > 0, at(NOW + leeway.saturating_sub(1)).is_ok());
        assert_eq!(at(NOW + leeway), Err(TokenError::Expired));
        assert_eq!(at(NOW + 301), Err(TokenError::Expired));
        for claim in ["nbf", "iat"] {
            let token = hs256(&format!(r#"{{"exp":{},"{claim}":{NOW}}}"#, NOW + 1000));
            let at = |now| verifier.verify(&token, now).map(|_| ());
            assert_eq!(at(NOW - leeway), Ok(()), "{claim}");
            assert_eq!(at(NOW - leeway - 1), Err(TokenError::NotYetValid), "{claim}");
        }
    }
    // A clock that jumps to the end of time neither panics nor revives anything.
    assert_eq!(verifier(|_| ()).verify(&hs256(r#"{"exp":1}"#), u64::MAX), Err(TokenError::Expired));
}

#[test]
fn claims_are_bounded_on_both_sides() {
    let list = |len: usize, item: &str| format!("[{}]", vec![item; len].join(","));
    let text = |len: usize| format!("\"{}\"", "x".repeat(len));
    let pattern = |len: usize| format!(r#"{{"publish":["{}"]}}"#, "x".repeat(len));
    let patterns = |len: usize| format!(r#"{{"subscribe":{}}}"#, list(len, "\"a\""));
    for (claim, good) in [
        ("sub", "\"\"".to_owned()),
        ("sub", text(255)),
        ("sub", "\"Zoë ☃\"".to_owned()),
        ("channels", list(128, "\"news\"")),
        ("channels", "[]".to_owned()),
        ("channel", text(255)),
        ("permissions", "{}".to_owned()),
        ("permissions", patterns(64)),
        ("permissions", pattern(255)),
        ("permissions", r#"{"publish":["!*"],"presence":["$a","*#*"],"history":[]}"#.to_owned()),
        ("limits", r#"{"messages_per_minute":1,"burst":100000000,"connections":3}"#.to_owned()),
        ("info", r#"{"deep":[null,1.50,"\u0000"]}"#.to_owned()),
        ("unknown", "[[{}]]".to_owned()),
    ] {
        assert!(Claims::parse(format!(r#"{{"{claim}":{good}}}"#).as_bytes()).is_ok(), "{claim} {good}");
    }
    for (claim, bad) in [
        ("sub", text(256)),
        ("sub", "1".to_owned()),
        ("sub", "null".to_owned()),
        ("sub", r#""a\nb""#.to_owned()),
        ("channels", list(129, "\"news\"")),
        ("channels", r#"["a b"]"#.to_owned()),
        ("channels", r#"["\u0001all"]"#.to_owned()),
        ("channels", r#"[""]"#.to_owned()),
        ("channels", "\"news\"".to_owned()),
        ("channel", text(256)),
        ("channel", "\"\"".to_owned()),
        ("channel", "null".to_owned()),
        ("permissions", "null".to_owned()),
        ("permissions", "[]".to_owned()),
        ("permissions", patterns(65)),
        ("permissions", pattern(256)),
        ("permissions", pattern(0)),
        ("permissions", r#"{"publish":["!"]}"#.to_owned()),
        ("permissions", r#"{"publish":["é"]}"#.to_owned()),
        ("permissions", r#"{"publish":null}"#.to_owned()),
        ("permissions", r#"{"publish":"*"}"#.to_owned()),
        ("permissions", r#"{"subcribe":["a"]}"#.to_owned()),
        ("permissions", r#"{"publish":[],"publish":["*"]}"#.to_owned()),
        ("permissions", r#"[["a"]]"#.to_owned()),
        ("limits", "[]".to_owned()),
        ("limits", "[5]".to_owned()),
        ("limits", r#"{"burst":0}"#.to_owned()),
        ("limits", r#"{"burst":100000001}"#.to_owned()),
        ("limits", r#"{"burst":null}"#.to_owned()),
        ("limits", r#"{"bursts":1}"#.to_owned()),
        ("jti", "1".to_owned()),
    ] {
        let parsed = Claims::parse(format!(r#"{{"{claim}":{bad}}}"#).as_bytes());
        assert!(
            parsed.is_err_and(|error| error.to_string().starts_with(&format!("expected {claim} to"))),
            "{claim} {bad}"
        );
    }
    for payload in ["", "[]", "1", "{", r#"{"sub":"a","sub":"b"}"#, "{} {}"] {
        assert!(Claims::parse(payload.as_bytes()).is_err(), "{payload}");
    }
    assert!(Claims::parse(b"{\"sub\":\"\xff\"}").is_err());
    assert!(Claims::parse("[".repeat(6000).as_bytes()).is_err());
}

#[test]
fn info_stays_as_it_was_written_but_in_one_line() {
    let claims = Claims::parse(b"{\"info\":\r\n{ \"n\":\n1.50,\t\"t\":\"a\\nb \"}}").unwrap();
    assert_eq!(claims.info.as_deref(), Some(r#"{ "n":1.50,"t":"a\nb "}"#));
}

#[test]
fn no_error_shows_the_token_or_a_claim() {
    let canary = "caNary7";
    for token in [
        canary.to_owned(),
        hs256(&format!(r#"{{"exp":"{canary}"}}"#)),
        hs256(&payload(&format!(r#","permissions":{{"{canary}":[]}}"#))),
        hs256(&payload(&format!(r#","channels":["{canary} "]"#))),
        Signer::Hmac(SECRET.into()).token_with(
            JwtAlgorithm::Hs256,
            &format!(r#"{{"alg":"{canary}"}}"#),
            "{}",
        ),
    ] {
        let error = verifier(|_| ()).verify(&token, NOW).unwrap_err();
        let text = format!("{error} {error:?} {}", error.reason());
        assert!(!text.contains(canary), "{text}");
    }
}

#[test]
fn j12_unsigned_tokens_are_for_tests_alone() {
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(payload("")));
    let mut config = config(JwtAlgorithm::Hs256, SECRET);
    config.jwt_verify_signature = false;
    assert!(matches!(Verifier::new(&config), Err(AuthError::Unsigned)));
    config.app_env = AppEnv::Testing;
    let lax = Verifier::new(&config).unwrap();
    assert_eq!(&*lax.verify(&unsigned, NOW).unwrap().user, "ann");
    assert_eq!(lax.verify(&unsigned, NOW + 100), Err(TokenError::Expired), "claims count all the same");
    config.jwt_verify_signature = true;
    config.jwt_secret = None;
    let keyless = Verifier::new(&config).unwrap();
    assert_eq!(keyless.verify(&hs256(&payload("")), NOW), Err(TokenError::Key));
}

#[test]
fn the_token_of_a_channel_is_nobodys_identity() {
    let claims = |json: &str| Claims::parse(json.as_bytes()).unwrap();
    assert_eq!(Identity::of(claims(r#"{"sub":"ann","channel":"$a"}"#)), None);
    let identity =
        Identity::of(claims(r#"{"sub":"ann","exp":9,"iat":7,"info":{},"limits":{"burst":5}}"#)).unwrap();
    assert_eq!((&*identity.user, identity.expires_at, identity.issued_at), ("ann", Some(9), 7));
    assert_eq!((identity.info.as_deref(), identity.limits.burst), (Some("{}"), Some(5)));
    assert_eq!(Identity::of(claims("{}")).unwrap().issued_at, 0);
}

#[test]
fn j10_what_was_revoked_stays_revoked_also_when_it_is_forgotten() {
    let claims =
        |user: &str, issued_at: Option<u64>| Claims { user: user.into(), issued_at, ..Claims::default() };
    let mut revoked = Revocations::new(3);
    assert!(revoked.is_empty() && !revoked.is_revoked(&claims("ann", None)));
    revoked.revoke("ann", 100);
    revoked.revoke("ann", 50);
    assert!(revoked.is_revoked(&claims("ann", Some(99))) && !revoked.is_revoked(&claims("ann", Some(100))));
    assert!(revoked.is_revoked(&claims("ann", None)), "a token without iat is the oldest");
    assert!(!revoked.is_revoked(&claims("Ann", Some(0))) && !revoked.is_revoked(&claims("bob", None)));
    revoked.revoke("ann", 120);
    assert!(revoked.is_revoked(&claims("ann", Some(119))) && revoked.len() == 1);
    for (user, time) in [("bob", 300), ("cyd", 200), ("dee", 400)] {
        revoked.revoke(user, time);
    }
    assert_eq!(revoked.len(), 3, "ann's made room");
    assert!(revoked.is_revoked(&claims("ann", Some(119))), "and is not forgiven");
    assert!(revoked.is_revoked(&claims("bob", Some(299))) && !revoked.is_revoked(&claims("bob", Some(300))));
    assert!(!revoked.is_revoked(&claims("eve", Some(120))), "the floor is as low as it can be");
    revoked.revoke("old", 110);
    assert_eq!(revoked.len(), 3, "what is below the floor needs no room");
}

#[test]
fn j20_no_crate_computes_with_private_rsa_keys() {
    let lock = include_str!("../Cargo.lock");
    assert!(lock.contains("name = \"aws-lc-rs\"") && !lock.contains("name = \"rsa\""));
}
