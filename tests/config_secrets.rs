//! A secret is taken from a variable or a file and is never shown; a weak one does not guard a real server.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::PathBuf;

use highper_realtime::config::{Config, ConfigErrors, Loaded, ROWS, Sources, print};

const STRONG: &str = "k7Wq2-zPm9_Rt4vXb1Ns6Yc8Hd3Lf5Jg0";

fn load(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    Config::load(Sources::new().environment(variables.iter().copied()))
}

fn error_lines(sources: Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().iter().map(ToString::to_string).collect()
}

/// A file that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("realtime-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn r8_no_secret_appears_in_printed_configuration_debug_or_warnings() {
    for row in ROWS.iter().filter(|row| row.secret) {
        let loaded = load(&[(row.name, STRONG)]).unwrap();
        let printed = [print::print_config(&loaded), format!("{loaded:?}"), format!("{:?}", loaded.config)];
        for text in printed.into_iter().chain(loaded.warnings.iter().map(ToString::to_string)) {
            assert!(!text.contains(STRONG), "{} shows its secret", row.name);
        }
        assert!(print::print_config(&loaded).contains(&format!("{}=(hidden)", row.name)));
    }
}

#[test]
fn no_secret_appears_in_an_error() {
    for row in ROWS.iter().filter(|row| row.secret) {
        let errors = load(&[(row.name, &format!("{STRONG}\0"))]).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains(STRONG), "{}", row.name);
        let sources = Sources::new().flag("--set", row.name, STRONG);
        assert!(!format!("{sources:?}").contains(STRONG));
        let errors = Config::load(sources).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains(STRONG), "{}", row.name);
    }
}

#[test]
fn user_password_and_query_of_a_url_are_hidden_everywhere() {
    let url = "rediss://alice:pa55@w0rd@cache:6379/1?sesame=open7";
    let loaded =
        load(&[("REALTIME_REDIS_URL", url), ("REALTIME_NATS_SERVERS", "nats://me:hush@a:1,nats://b:2")]);
    let loaded = loaded.unwrap();
    let text = format!("{}{loaded:?}{:?}", print::print_config(&loaded), loaded.warnings);
    for secret in ["alice", "pa55", "w0rd", "sesame", "open7", "hush"] {
        assert!(!text.contains(secret), "{secret} is shown");
    }
    assert!(text.contains("rediss://(hidden)@cache:6379/1?(hidden)"));
    assert!(text.contains("nats://(hidden)@a:1,nats://b:2"));
    assert_eq!(loaded.config.redis_url.unwrap().expose(), url);
    for broken in ["redis://me:hush@:x", "me:hush@host", "nats://me:hu,sh@a b://c", "nats://a/?hush\u{e9}"] {
        let errors = load(&[("REALTIME_NATS_SERVERS", broken)]).unwrap_err();
        assert!(!format!("{errors:?}{errors}").contains("hu"), "{errors}");
    }
}

#[test]
fn every_secret_can_stand_in_a_file() {
    let file = Scratch::new("secret", format!("{STRONG}\r\n").as_bytes());
    for row in ROWS.iter().filter(|row| row.secret) {
        let name = format!("{}_FILE", row.name);
        let loaded = load(&[(&name, file.path())]).unwrap();
        assert_eq!(loaded.origins.of(row).to_string(), format!("environment as {name}"));
        assert_eq!(row.show(&loaded.config), "(hidden)");
    }
    let loaded = load(&[("REALTIME_JWT_SECRET_FILE", file.path())]).unwrap();
    assert_eq!(loaded.config.jwt_secret.unwrap().expose(), STRONG, "without the line break");
    let by_flag = Sources::new().flag("--set", "REALTIME_JWT_SECRET_FILE", file.path());
    assert!(Config::load(by_flag).is_ok(), "the path of a secret is no secret");
}

#[test]
fn a_secret_and_its_file_together_are_refused_in_one_source_and_layered_over_two() {
    let file = Scratch::new("twice", STRONG.as_bytes());
    let both = [("REALTIME_API_KEY", "x"), ("REALTIME_API_KEY_FILE", file.path())];
    let errors = error_lines(Sources::new().environment(both));
    assert!(
        errors[0].starts_with("REALTIME_API_KEY and its _FILE twin are both set (environment"),
        "{errors:?}"
    );
    let layered = Sources::new()
        .dotenv(".env", "REALTIME_API_KEY=from-dotenv")
        .environment([("REALTIME_API_KEY_FILE", file.path())]);
    assert_eq!(Config::load(layered).unwrap().config.api_key.unwrap().expose(), STRONG);
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_a_secret_put_there_by_mistake_is_not() {
    let errors = error_lines(Sources::new().environment([("REALTIME_API_KEY_FILE", "/nonexistent/key")]));
    assert!(errors[0].starts_with("REALTIME_API_KEY_FILE=/nonexistent/key: cannot be read: "), "{errors:?}");
    let errors = error_lines(Sources::new().environment([("REALTIME_API_KEY_FILE", STRONG)]));
    assert!(errors[0].starts_with("REALTIME_API_KEY_FILE=(hidden): cannot be read: "), "{errors:?}");
    let huge = Scratch::new("huge", &vec![b'x'; (1 << 20) + 1]);
    let errors = error_lines(Sources::new().environment([("REALTIME_API_KEY_FILE", huge.path())]));
    assert!(errors[0].contains("larger than"), "{errors:?}");
    let errors = error_lines(Sources::new().environment([("REALTIME_API_KEY_FILE", "/dev/zero")]));
    assert_eq!(errors.len(), 1, "a device does not fill the memory");
}

#[test]
fn r8_a_secret_on_the_command_line_is_refused_with_what_to_use() {
    let errors = error_lines(Sources::new().flag("--set", "jwt_secret", STRONG));
    assert!(errors[0].starts_with("REALTIME_JWT_SECRET (--set): "), "{errors:?}");
    assert!(errors[0].ends_with("use REALTIME_JWT_SECRET_FILE"), "{errors:?}");
    let errors = error_lines(Sources::new().flag("--set", "redis_url", "redis://:hush@host"));
    assert!(errors[0].starts_with("REALTIME_REDIS_URL (--set)") && !errors[0].contains("hush"), "{errors:?}");
    assert!(Config::load(Sources::new().flag("--set", "redis_url", "redis://host")).is_ok());
}

#[test]
fn a_weak_secret_is_refused_unless_testing_or_local() {
    let weak = [
        "your-secret-key",
        "ultra-secure-secret",
        "0123456789012345678901234567890",
        "Your-Secret-Key-0123456789-0123456789",
        "change_me_change_me_change_me_change_me",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    for secret in weak {
        for env in ["production", "staging"] {
            let variables =
                [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", secret), ("APP_ENV", env)];
            let errors = error_lines(Sources::new().environment(variables));
            let found = errors.iter().find(|error| error.starts_with("REALTIME_JWT_SECRET=(hidden)"));
            assert!(found.is_some_and(|error| !error.contains(secret)), "{secret} in {env}: {errors:?}");
        }
        for env in ["testing", "local"] {
            let variables =
                [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", secret), ("APP_ENV", env)];
            let loaded = load(&variables).unwrap();
            let told = loaded.warnings.iter().any(|warning| {
                let text = warning.to_string();
                text.starts_with("REALTIME_JWT_SECRET=(hidden)")
                    && text.contains("expected at least 32 bytes")
            });
            assert!(told, "{secret} in {env}: {:?}", loaded.warnings);
        }
    }
    let unused = load(&[("REALTIME_JWT_SECRET", "your-secret-key")]);
    assert!(unused.is_ok(), "a secret that guards nothing may be anything");
}

#[test]
fn a_strong_secret_of_exactly_the_least_length_is_taken() {
    let secret = &STRONG[..32];
    for name in ["REALTIME_API_KEY", "REALTIME_CLUSTER_SECRET", "REALTIME_WEBHOOK_SECRET"] {
        assert!(load(&[(name, secret)]).is_ok(), "{name}");
        assert!(load(&[(name, &secret[..31])]).is_err(), "{name}");
    }
    let variables = [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", secret)];
    let errors = load(&variables).err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(!errors.contains("REALTIME_JWT_SECRET"), "{errors}");
}

#[test]
fn authentication_without_a_key_is_refused() {
    let errors = error_lines(Sources::new().environment([("REALTIME_AUTH_ENABLED", "true")]));
    assert!(
        errors.iter().any(|error| error.starts_with("REALTIME_JWT_SECRET is not set: expected a key")),
        "{errors:?}"
    );
}

#[test]
fn authentication_that_a_release_does_not_have_is_refused_rather_than_left_out() {
    let auth = ROWS.iter().find(|row| row.field == "auth_enabled").unwrap();
    let variables = [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", STRONG)];
    let refused =
        load(&variables).is_err_and(|errors| errors.to_string().starts_with("REALTIME_AUTH_ENABLED=true"));
    assert_eq!(refused, auth.status == highper_realtime::config::Status::Later);
}

#[test]
fn j12_a_secret_is_as_long_as_the_hash_of_its_algorithm() {
    let long = format!("{STRONG}{STRONG}");
    for (algorithm, bytes_min) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let load = |secret: &str| {
            load(&[
                ("REALTIME_AUTH_ENABLED", "true"),
                ("REALTIME_JWT_ALGORITHM", algorithm),
                ("REALTIME_JWT_SECRET", secret),
            ])
        };
        assert!(load(&long[..bytes_min]).is_ok(), "{algorithm}");
        let told = load(&long[..bytes_min - 1]).unwrap_err().to_string();
        let expected = format!("(hidden) (environment): expected at least {bytes_min} bytes");
        assert!(told.contains("REALTIME_JWT_SECRET=") && told.contains(&expected), "{told}");
    }
}

#[test]
fn j2_a_key_in_pem_is_no_secret_and_a_secret_no_public_key_not_even_in_tests() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----";
    for env in ["production", "testing", "local"] {
        for (algorithm, secret, expected) in [
            ("HS256", pem, "expected a secret, not a key in PEM, which HS256 would take for one"),
            ("HS512", pem, "expected a secret, not a key in PEM, which HS512 would take for one"),
            ("EdDSA", STRONG, "expected a public key in PEM for EdDSA"),
            ("RS256", STRONG, "expected a public key in PEM for RS256"),
        ] {
            let variables = [
                ("APP_ENV", env),
                ("REALTIME_AUTH_ENABLED", "true"),
                ("REALTIME_JWT_ALGORITHM", algorithm),
                ("REALTIME_JWT_SECRET", secret),
            ];
            let told = load(&variables).unwrap_err().to_string();
            assert!(told.starts_with("REALTIME_JWT_SECRET=(hidden) (environment): "), "{told}");
            assert!(told.ends_with(expected), "{told}");
        }
    }
}

#[test]
fn j7_published_keys_need_no_secret_but_https_and_a_word_on_issuer_and_audience() {
    let warnings = |variables: &[(&'static str, &'static str)]| {
        let variables =
            [&[("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_ALGORITHM", "RS256")], variables];
        let loaded = load(&variables.concat());
        loaded.map(|loaded| loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let source = ("REALTIME_JWT_JWKS", "https://id.example/keys");
    let (issuer, audience) =
        (("REALTIME_JWT_ISSUERS", "https://id.example"), ("REALTIME_JWT_AUDIENCES", "realtime"));
    assert_eq!(warnings(&[source, issuer, audience]).unwrap(), [""; 0]);
    let told = warnings(&[source, audience]).unwrap();
    assert!(told.len() == 1 && told[0].contains("REALTIME_JWT_ISSUERS names nobody"), "{told:?}");
    let told = warnings(&[source, issuer]).unwrap();
    assert!(told.len() == 1 && told[0].contains("REALTIME_JWT_AUDIENCES is empty"), "{told:?}");
    let told = warnings(&[source, issuer, audience, ("REALTIME_JWT_SECRET", STRONG)]).unwrap();
    assert!(told.len() == 1 && told[0].starts_with("REALTIME_JWT_SECRET=(hidden)"), "{told:?}");
    for (text, fits) in [
        ("/etc/keys.json", true),
        ("keys.json", true),
        ("http://127.0.0.1:9/keys", true),
        ("http://[::1]/keys", true),
        ("http://localhost/keys", true),
        ("http://id.example/keys", false),
        ("http://127.0.0.1.id.example/keys", false),
        ("http://localhost@id.example/keys", false),
        ("ftp://id.example/keys", false),
        ("https://", false),
    ] {
        let loaded = warnings(&[("REALTIME_JWT_JWKS", text), issuer, audience]);
        assert_eq!(loaded.is_ok(), fits, "{text}: {loaded:?}");
    }
    let testing = [("REALTIME_JWT_JWKS", "http://id.example/keys"), issuer, audience, ("APP_ENV", "testing")];
    assert_eq!(warnings(&testing).unwrap().len(), 1, "taken, with a word");
}

#[test]
fn unsigned_tokens_are_refused_unless_testing_or_local() {
    let unsigned = ("REALTIME_JWT_VERIFY_SIGNATURE", "false");
    for env in ["production", "prod", "staging"] {
        let errors = error_lines(Sources::new().environment([unsigned, ("APP_ENV", env)]));
        assert!(
            errors[0].starts_with("REALTIME_JWT_VERIFY_SIGNATURE=false (environment): expected true"),
            "{env}"
        );
    }
    for env in ["testing", "local"] {
        assert!(load(&[unsigned, ("APP_ENV", env)]).is_ok(), "{env}");
    }
}
