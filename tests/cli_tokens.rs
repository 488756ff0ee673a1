//! `realtime token` makes tokens that the server takes, `realtime genconfig` a configuration that it starts with.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::HashSet;
use std::process::{Command, Output};
use std::time::Duration;

use highper_realtime::auth::{Claims, Verifier};
use highper_realtime::{Config, config::Sources};

const STRONG: &str = "k7Wq2-zPm9_Rt4vXb1Ns6Yc8Hd3Lf5Jg0";
const AUTH: [(&str, &str); 2] = [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", STRONG)];

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realtime"));
    let folder = env!("CARGO_TARGET_TMPDIR");
    command.args(args).env_clear().envs(env.iter().copied()).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the printed token claims, to a server with the same variables.
fn claims(args: &[&str], env: &[(&str, &str)]) -> Claims {
    let output = run(args, env);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    let config = Config::load(Sources::new().environment(env.iter().copied())).unwrap().config;
    let now = highper_shards::clock::unix_millis() / 1000;
    Verifier::new(&config).unwrap().verify(text(&output.stdout).trim_end(), now).unwrap()
}

#[test]
fn a_token_says_what_was_asked_for() {
    let plain = claims(&["token", "--user", "ann"], &AUTH);
    assert_eq!((&*plain.user, plain.channel, plain.permissions), ("ann", None, None));
    assert_eq!(plain.expires_at.unwrap() - plain.issued_at.unwrap(), 3600);
    let channel = claims(&["token", "--user", "ann", "--channel", "$team:1", "--ttl", "90"], &AUTH);
    assert_eq!(channel.channel.as_deref(), Some("$team:1"));
    assert_eq!(channel.expires_at.unwrap() - channel.issued_at.unwrap(), 90);
    let json = r#"{"channels":["news"],"permissions":{"publish":["chat:*"]},"info":{"n":1}}"#;
    let more = claims(&["token", "--user", "ann", "--ttl", "2d", "--claims", json], &AUTH);
    assert_eq!((&*more.channels[0], more.info.as_deref()), ("news", Some(r#"{"n":1}"#)));
    assert!(more.permissions.unwrap().publish.unwrap()[0].matches("chat:1"));
    assert_eq!(&*claims(&["token"], &AUTH).user, "", "nobody in particular");
    let strict = [&AUTH[..], &[("REALTIME_JWT_ISSUERS", "a,b"), ("REALTIME_JWT_AUDIENCES", "c")]].concat();
    let for_us = claims(&["token", "--user", "ann", "--claims", r#"{"iss":"b"}"#], &strict);
    assert_eq!((for_us.issuer.as_deref(), &*for_us.audiences), (Some("b"), &["c".into()][..]));
}

#[test]
fn a_token_that_no_server_takes_is_not_printed() {
    for (args, exit) in [
        (&["--claims", "[]"][..], 64),
        (&["--claims", "{"], 64),
        (&["--claims", r#"{"sub":"bob"}"#], 64),
        (&["--claims", r#"{"exp":1}"#], 64),
        (&["--claims", r#"{"permissions":{"publsih":[]}}"#], 64),
        (&["--claims", r#"{"nbf":99999999999}"#], 1),
        (&["--channel", "a b"], 64),
        (&["--ttl", "0"], 64),
        (&["--ttl", "soon"], 64),
        (&["--ttl", "11000d"], 64),
    ] {
        let output = run(&[&["token", "--user", "ann"], args].concat(), &AUTH);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
        assert!(!text(&output.stderr).contains(STRONG));
    }
    assert_eq!(run(&["token", "--user", "ann"], &[]).status.code(), Some(78));
    let public = [("REALTIME_JWT_ALGORITHM", "EdDSA"), ("REALTIME_JWT_SECRET", STRONG)];
    let output = run(&["token", "--user", "ann"], &public);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("an HS algorithm"), "{}", text(&output.stderr));
}

#[test]
fn a_generated_configuration_is_whole_and_fresh() {
    let generated = [(); 2].map(|()| text(&run(&["genconfig"], &[]).stdout));
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("genconfig-{}.env", std::process::id()));
    std::fs::write(&path, &generated[0]).unwrap();
    let file = path.to_str().unwrap();
    let checked = run(&["check-config", "--strict", "--env-file", file], &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let token = run(&["token", "--user", "ann", "--env-file", file], &[]);
    std::fs::remove_file(&path).unwrap();
    assert!(token.status.success(), "{}", text(&token.stderr));
    let config = Config::load(Sources::new().dotenv(".env", &generated[0])).unwrap().config;
    assert!(config.auth_enabled && config.jwt_leeway == Duration::from_secs(30));
    let secrets: Vec<&str> = generated
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.ends_with("_SECRET") || name.ends_with("_KEY"))
        .map(|(_, secret)| secret)
        .collect();
    assert!(secrets.iter().all(|secret| secret.len() == 64), "48 bytes in base64url");
    assert_eq!((secrets.len(), secrets.iter().collect::<HashSet<_>>().len()), (8, 8), "none twice");
}

#[test]
fn j12_a_weak_secret_stops_the_server_with_78_and_the_name_of_its_variable() {
    for secret in
        ["your-secret-key", "0123456789012345678901234567890", "changeme-changeme-changeme-changeme"]
    {
        let env = [("REALTIME_AUTH_ENABLED", "true"), ("REALTIME_JWT_SECRET", secret)];
        let output = run(&["serve"], &env);
        assert_eq!(output.status.code(), Some(78), "{secret}");
        let told = text(&output.stderr);
        assert!(told.starts_with("error: REALTIME_JWT_SECRET=(hidden)") && !told.contains(secret), "{told}");
    }
}
