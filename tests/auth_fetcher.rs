//! Published keys: which of a set are taken and under what name; and that they are fetched from the configured source
//! alone, kept when it fails, and replaced when it has new ones.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/tokens.rs"]
mod tokens;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use highper_realtime::auth::{AuthError, BadKeySet, Fetcher, KeyId, KeySet, TokenError, Verifier};
use highper_realtime::config::{AppEnv, JwtAlgorithm, KeySource, Url, Value};
use highper_realtime::{Config, outbound};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokens::{NOW, SECRET, Signer, encode};

const WITHIN: Duration = Duration::from_secs(20);

/// The public half of an Ed25519 key as a JWK.
fn jwk(signer: &Signer, kid: &str, more: &str) -> String {
    let x = encode(signer.point());
    format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"{more}}}"#)
}

fn set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn ed() -> Signer {
    Signer::new(JwtAlgorithm::EdDsa)
}

fn parse(text: &str) -> Result<KeySet, BadKeySet> {
    KeySet::parse(text.as_bytes(), "here", JwtAlgorithm::EdDsa)
}

fn config(source: KeySource) -> Config {
    Config {
        auth_enabled: true,
        jwt_algorithm: JwtAlgorithm::EdDsa,
        jwt_jwks: Some(source),
        jwt_jwks_interval: Duration::from_millis(10),
        ..Config::default()
    }
}

fn url(text: &str) -> KeySource {
    KeySource::parse(text, &highper_realtime::config::Bounds::ANY).unwrap()
}

/// A token that an issuer signed with the key of this name.
fn token(signer: &Signer, kid: &str, issuer: &str) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
    let payload = format!(r#"{{"sub":"ann","iss":"{issuer}","exp":{}}}"#, NOW + 60);
    signer.token_with(JwtAlgorithm::EdDsa, &header, &payload)
}

/// What fetches hand over, in order.
fn fetch(config: &Config) -> (Result<Option<Fetcher>, AuthError>, Receiver<Arc<KeySet>>) {
    let (keys, fetched) = channel();
    let agent = outbound::agent(config, Duration::from_secs(5)).unwrap();
    let on_keys = move |set: Arc<KeySet>| keys.send(set).unwrap_or_default();
    (Fetcher::start(config, agent, on_keys), fetched)
}

#[test]
fn a_set_takes_its_usable_keys_and_leaves_the_others_out() {
    let (one, two) = (ed(), ed());
    let set_of = |keys: &[String]| parse(&set(keys)).map(|set| (set.len(), set.unusable()));
    let good = jwk(&one, "1", "");
    assert_eq!(
        set_of(&[
            good.clone(),
            jwk(&two, "2", r#","use":"sig","alg":"EdDSA","key_ops":["verify"],"x5t":"a""#)
        ]),
        Ok((2, 0))
    );
    for bad in [
        jwk(&two, "2", r#","use":"enc""#),
        jwk(&two, "2", r#","alg":"ES256""#),
        jwk(&two, "2", r#","key_ops":["sign"]"#),
        jwk(&two, "2", r#","d":"AAAA""#),
        jwk(&two, &"k".repeat(129), ""),
        jwk(&two, "2", r#","crv":"Ed25519""#),
        jwk(&two, "2", "").replace("Ed25519", "X25519"),
        jwk(&two, "2", "").replace("OKP", "EC"),
        jwk(&two, "2", "").replace(r#""x":""#, r#""x":"AA"#),
        r#"{"kty":"oct","kid":"2","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned(),
        r#"["OKP"]"#.to_owned(),
        "7".to_owned(),
    ] {
        assert_eq!(set_of(&[good.clone(), bad.clone()]), Ok((1, 1)), "{bad}");
        assert!(matches!(set_of(&[bad]), Err(BadKeySet::NoKey(_))));
    }
    assert_eq!(
        set_of(&[good.clone(), jwk(&two, "1", ""), jwk(&two, "2", "")]),
        Ok((1, 2)),
        "a name twice is nobody's"
    );
    let many = |count: usize| (0..count).map(|kid| jwk(&one, &kid.to_string(), "")).collect::<Vec<_>>();
    assert_eq!(set_of(&many(256)), Ok((256, 0)));
    assert_eq!(set_of(&many(257)), Err(BadKeySet::TooMany));
    for text in ["", "{}", "[]", r#"{"keys":{}}"#, "[[]]", r#"{"keys":[]"#, "<html>"] {
        assert_eq!(parse(text).err(), Some(BadKeySet::Syntax), "{text}");
    }
    let long = set(&[good]);
    let padded = |len: usize| format!("{}{long}", " ".repeat(len - long.len()));
    assert!(parse(&padded(1 << 20)).is_ok());
    assert_eq!(parse(&padded((1 << 20) + 1)).err(), Some(BadKeySet::TooLong));
}

#[test]
fn j3_a_kid_is_only_looked_up() {
    let (one, two) = (ed(), ed());
    let verifier = Verifier::new(&config(KeySource::File("here".into()))).unwrap();
    assert_eq!(verifier.verify(&token(&one, "1", "a"), NOW), Err(TokenError::Key), "before there are keys");
    let both = verifier.with_keys(Arc::new(parse(&set(&[jwk(&one, "1", ""), jwk(&two, "2", "")])).unwrap()));
    assert!(
        both.verify(&token(&one, "1", "a"), NOW).is_ok() && both.verify(&token(&two, "2", "a"), NOW).is_ok()
    );
    assert_eq!(both.verify(&token(&one, "2", "a"), NOW), Err(TokenError::Signature));
    for kid in
        ["", "3", "../1", "1/../1", "/etc/passwd", "http://127.0.0.1:1/keys", "' OR '1'='1", "1 ", "\\u00311"]
    {
        assert_eq!(both.verify(&token(&one, kid, "a"), NOW), Err(TokenError::Key), "{kid}");
    }
    let payload = format!(r#"{{"exp":{}}}"#, NOW + 1);
    let nameless = one.token_with(JwtAlgorithm::EdDsa, r#"{"alg":"EdDSA"}"#, &payload);
    assert_eq!(both.verify(&nameless, NOW), Err(TokenError::Key), "which of two is a guess");
    let only = verifier.with_keys(Arc::new(parse(&set(&[jwk(&one, "1", "")])).unwrap()));
    assert!(only.verify(&nameless, NOW).is_ok(), "one needs no name");
    // The public key, found by its name, is no secret of HMAC.
    let forged = Signer::Hmac(one.point());
    for header in [r#"{"alg":"HS256","kid":"1"}"#, r#"{"alg":"EdDSA","kid":"1"}"#] {
        assert!(only.verify(&forged.token_with(JwtAlgorithm::Hs256, header, &payload), NOW).is_err());
    }
}

#[test]
fn j5_a_key_is_of_its_issuer_and_source() {
    let (ours, theirs) = (ed(), ed());
    let strict = Config { jwt_issuers: vec!["a".into()], ..config(KeySource::File("here".into())) };
    let verifier = Verifier::new(&strict).unwrap();
    let keys = Arc::new(parse(&set(&[jwk(&ours, "1", "")])).unwrap());
    let verifier = verifier.with_keys(keys);
    assert!(verifier.verify(&token(&ours, "1", "a"), NOW).is_ok());
    assert_eq!(verifier.verify(&token(&theirs, "1", "b"), NOW), Err(TokenError::Signature), "the same kid");
    assert_eq!(verifier.verify(&token(&theirs, "1", "a"), NOW), Err(TokenError::Signature));
    assert_eq!(verifier.verify(&token(&ours, "1", "b"), NOW), Err(TokenError::Issuer));
    // A set of another source is never looked into.
    let other = KeySet::parse(set(&[jwk(&ours, "1", "")]).as_bytes(), "there", JwtAlgorithm::EdDsa).unwrap();
    assert_eq!(
        verifier.with_keys(Arc::new(other)).verify(&token(&ours, "1", "a"), NOW),
        Err(TokenError::Key)
    );
    // A set may hold keys of several issuers under the same name: each is for its own alone.
    let mixed = set(&[jwk(&ours, "1", r#","issuer":"a""#), jwk(&theirs, "1", r#","issuer":"b""#)]);
    let verifier = Verifier::new(&config(KeySource::File("here".into()))).unwrap();
    let verifier = verifier.with_keys(Arc::new(parse(&mixed).unwrap()));
    for (signer, issuer, expected) in [
        (&ours, "a", Ok(())),
        (&theirs, "b", Ok(())),
        (&theirs, "a", Err(TokenError::Issuer)),
        (&ours, "b", Err(TokenError::Issuer)),
        (&ed(), "a", Err(TokenError::Signature)),
    ] {
        assert_eq!(verifier.verify(&token(signer, "1", issuer), NOW).map(|_| ()), expected, "{issuer}");
    }
}

#[test]
fn j19_no_two_names_of_keys_are_the_same() {
    // Parts that would run into each other if they were glued together with any separator.
    let parts =
        ["", "a", "aa", "a|a", "|a", "a:", ":a", "a\0", "\0a", "1", "11", "/", "a/1", "1/a", ",", "a,1"];
    let mut found: HashMap<KeyId, (usize, usize, usize, JwtAlgorithm)> = HashMap::new();
    for (issuer_at, issuer) in parts.iter().enumerate() {
        for (source_at, source) in parts.iter().enumerate() {
            for (kid_at, kid) in parts.iter().enumerate() {
                for algorithm in [JwtAlgorithm::Rs256, JwtAlgorithm::EdDsa] {
                    let id = KeyId {
                        issuer: (issuer_at > 0).then(|| (*issuer).into()),
                        source: (*source).into(),
                        kid: (kid_at > 0).then(|| (*kid).into()),
                        algorithm,
                    };
                    let place = (issuer_at, source_at, kid_at, algorithm);
                    assert_eq!(found.insert(id, place), None, "{place:?}");
                }
            }
        }
    }
    assert!(found.iter().all(|(id, place)| found[&id.clone()] == *place));
}

#[test]
fn a_file_is_read_at_the_start_and_again_when_it_changes() {
    let path = std::env::temp_dir().join(format!("realtime-keys-{}", std::process::id()));
    let remove = Removed(path.clone());
    let config = config(KeySource::File(path.clone()));
    let refused = fetch(&config).0.unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("REALTIME_JWT_JWKS={}: cannot be read", path.display())),
        "{refused}"
    );
    std::fs::write(&path, "{}").unwrap();
    assert!(fetch(&config).0.unwrap_err().to_string().contains("no JSON Web Key Set"));
    let (one, two) = (ed(), ed());
    let replace = |text: &str| {
        let next = path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    replace(&set(&[jwk(&one, "1", "")]));
    let (fetcher, fetched) = fetch(&config);
    let fetcher = fetcher.unwrap().unwrap();
    let verifier = Verifier::new(&config).unwrap();
    let first = verifier.with_keys(fetched.try_recv().expect("before start returns"));
    assert!(first.verify(&token(&one, "1", "a"), NOW).is_ok());
    replace("broken");
    replace(&set(&[jwk(&two, "1", "")]));
    let second = verifier.with_keys(fetched.recv_timeout(WITHIN).unwrap());
    assert!(second.verify(&token(&two, "1", "a"), NOW).is_ok());
    assert_eq!(second.verify(&token(&one, "1", "a"), NOW), Err(TokenError::Signature));
    drop(fetcher);
    assert_eq!(
        fetched.recv_timeout(WITHIN).err(),
        Some(mpsc::RecvTimeoutError::Disconnected),
        "it ends, and told nothing twice"
    );
    drop(remove);
}

#[test]
fn an_address_is_asked_again_and_the_last_good_keys_stay() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = url(&format!("http://{}/keys?sesame=open", listener.local_addr().unwrap()));
    let (one, two) = (ed(), ed());
    let answers = [
        http(200, &set(&[jwk(&one, "1", "")])),
        http(503, "later"),
        http(200, "no keys"),
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        http(200, &" ".repeat(1 << 20).replacen(' ', "{\"keys\":[]}", 1)),
        http(200, &set(&[jwk(&one, "1", "")])),
        http(200, &set(&[jwk(&two, "1", "")])),
    ];
    std::thread::scope(|scope| {
        let (fetcher, fetched) = fetch(&config(source));
        let fetcher = fetcher.unwrap();
        let server = scope
            .spawn(|| answers.each_ref().map(|answer| answer_once(listener.accept().unwrap().0, answer)));
        let (first, second) = (fetched.recv_timeout(WITHIN).unwrap(), fetched.recv_timeout(WITHIN).unwrap());
        assert_eq!((first.len(), second.len()), (1, 1));
        let requests = server.join().unwrap();
        drop(fetcher);
        assert!(
            requests.iter().all(|request| request.starts_with("GET /keys?sesame=open HTTP/1.1\r\n")),
            "{requests:?}"
        );
    });
}

#[test]
fn an_address_over_tls_must_show_a_certificate_of_the_configured_authority() {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/tls/");
    let file = |name: &str| PathBuf::from(format!("{pem}{name}"));
    let chain = vec![CertificateDer::from_pem_file(file("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = Arc::new(server.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = url(&format!("https://{}/", listener.local_addr().unwrap()));
    let answer = http(200, &set(&[jwk(&ed(), "1", "")]));
    std::thread::scope(|scope| {
        // The web's authorities did not sign this certificate: nothing is asked of who shows it.
        let (fetcher, fetched) = fetch(&config(source.clone()));
        let refused = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
        let asked = answer_once(rustls::StreamOwned::new(refused, listener.accept().unwrap().0), &answer);
        assert_eq!(asked, "");
        assert!(fetched.try_recv().is_err());
        drop(fetcher);
        let believing = Config { hook_ca_file: Some(file("ca.pem")), ..config(source) };
        let (fetcher, fetched) = fetch(&believing);
        let server = scope.spawn(|| {
            // The fetcher that was told to end may have called once more.
            loop {
                let shown = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
                let stream = rustls::StreamOwned::new(shown, listener.accept().unwrap().0);
                let request = answer_once(stream, &answer);
                if !request.is_empty() {
                    break request;
                }
            }
        });
        assert_eq!(fetched.recv_timeout(WITHIN).unwrap().len(), 1);
        drop(fetcher);
        assert!(server.join().unwrap().starts_with("GET / HTTP/1.1\r\n"));
    });
}

#[test]
fn plain_http_from_elsewhere_is_for_tests_alone() {
    let mut config = config(url("http://keys.invalid/"));
    assert!(matches!(fetch(&config).0, Err(AuthError::Source { .. })));
    config.app_env = AppEnv::Testing;
    assert!(fetch(&config).0.unwrap().is_some());
    let secret = Config { jwt_jwks: None, ..config };
    assert!(fetch(&secret).0.unwrap().is_none(), "nothing to fetch");
}

#[test]
fn j4_no_token_makes_the_server_ask_anybody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let config = tokens::config(JwtAlgorithm::Hs256, SECRET);
    let verifier = Verifier::new(&config).unwrap();
    let published = Verifier::new(&self::config(url("https://keys.invalid/"))).unwrap();
    for name in ["jku", "x5u", "kid", "iss"] {
        let header = format!(r#"{{"alg":"HS256","{name}":"http://{address}/"}}"#);
        let payload = format!(r#"{{"iss":"http://{address}/","exp":{}}}"#, NOW + 9);
        let forged = Signer::Hmac([7; 32].into()).token_with(JwtAlgorithm::Hs256, &header, &payload);
        assert!(verifier.verify(&forged, NOW).is_err());
        let forged = ed().token_with(JwtAlgorithm::EdDsa, &header.replace("HS256", "EdDSA"), &payload);
        assert_eq!(published.verify(&forged, NOW), Err(TokenError::Key));
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_an_address_hides_is_not_in_an_error() {
    let config = config(url("http://ann:pa55@keys.invalid/?sesame=open7"));
    let told = format!("{} {:?}", fetch(&config).0.unwrap_err(), config.jwt_jwks);
    assert!(["ann", "pa55", "open7"].iter().all(|secret| !told.contains(secret)), "{told}");
    assert!(Url::parse("http://[::1]:80/", &highper_realtime::config::Bounds::ANY).unwrap().is_loopback());
}

fn http(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Reads a request and answers it; an empty text if none came.
fn answer_once(mut stream: impl Read + Write, answer: &str) -> String {
    let (mut request, mut bytes) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return String::new(),
            Ok(read) => request.extend_from_slice(&bytes[..read]),
        }
    }
    // Who reads no further than the limit closes before the end.
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    String::from_utf8(request).unwrap()
}

/// A file that is removed when the test ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
