//! What is printed from the table of variables is true and up to date: `.env.example`, `config docs`, the README.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::HashSet;
use std::path::Path;

use highper_realtime::config::{ACCEPTED_PREFIXES, AppEnv, Config, Loaded, ROWS, Sources, Status, print};

fn repository(file: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_committed_env_example_is_what_the_table_prints() {
    let committed = repository(".env.example").unwrap();
    assert!(committed == print::env_example(), "run: cargo run -- config env > .env.example");
}

#[test]
fn the_block_of_the_readme_is_what_the_table_prints() {
    let Some(readme) = repository("README.md") else { return };
    if let Some(start) = readme.find(print::README_START) {
        let length = readme[start..].find(print::README_END).unwrap() + print::README_END.len();
        let block = &readme[start..start + length];
        assert!(block == print::readme_block().trim_end(), "run: cargo run -- config readme");
    }
}

#[test]
fn the_env_example_uncommented_is_the_default_configuration() {
    let text: String = print::env_example()
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.split_once('=').is_some_and(|(name, _)| ROWS.iter().any(|row| row.name == name)))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(text.lines().count(), ROWS.len());
    let loaded = Config::load(Sources::new().dotenv(".env", &text)).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    assert_eq!(warnings(&loaded), Vec::<String>::new());
    let untouched = Config::load(Sources::new().dotenv(".env", &print::env_example())).unwrap();
    assert!(ROWS.iter().all(|row| !untouched.origins.is_set(row.field)), "as it comes, it sets nothing");
}

#[test]
fn the_documentation_names_every_variable_and_what_it_accepts() {
    let docs = print::docs();
    for row in ROWS {
        for name in row.names() {
            assert!(docs.contains(&format!("`{name}`")), "{name}");
        }
        assert!(docs.contains(row.doc.trim()), "{}", row.name);
        if let Status::Accepted(reason) = row.status {
            assert!(docs.contains(&format!("*Accepted, no effect: {reason}.*")), "{}", row.name);
        }
    }
    for (prefix, _) in ACCEPTED_PREFIXES {
        assert!(docs.contains(&format!("`{prefix}*`")), "{prefix}");
    }
    let widths: HashSet<_> = docs
        .lines()
        .filter(|line| line.starts_with("| `REALTIME_") && !line.contains("_*`"))
        .map(|line| line.replace("\\|", "").matches('|').count())
        .collect();
    assert_eq!(widths, HashSet::from([5]), "every row has four cells");
}

#[test]
fn rows_are_well_formed_and_no_name_means_two_things() {
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for row in ROWS {
        for name in row.names() {
            assert!(names.insert(name), "{name} stands twice");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
        let plain = row.name.strip_prefix("REALTIME_").unwrap_or(row.name).to_ascii_lowercase();
        let unitless = plain.strip_suffix("_mb").or(plain.strip_suffix("_ms")).unwrap_or(&plain);
        assert_eq!(row.field, unitless, "the field is the variable's name");
        assert!(row.doc.trim().ends_with('.') && row.doc.starts_with(' '), "{} needs a sentence", row.name);
        if groups.last() != Some(&row.group) {
            assert!(!groups.contains(&row.group), "group {} is torn apart", row.group);
            groups.push(row.group);
        }
    }
}

#[test]
fn printed_configuration_reads_back_as_itself() {
    let changes = [
        ("REALTIME_SPIN", "50us"),
        ("REALTIME_OUTBOX_BYTES", "5000"),
        ("REALTIME_CPU_LIST", "0-2"),
        ("REALTIME_HOST", "unix:/run/r.sock"),
        ("REALTIME_MEMORY_LIMIT_MB", "3G"),
        ("REALTIME_MAX_CONNECTIONS", "123"),
        ("WEBSOCKET_HEARTBEAT_INTERVAL", "29500ms"),
        ("REALTIME_REDIS_SENTINELS", "[::1]:1,b:2"),
    ];
    let loaded = Config::load(Sources::new().environment(changes)).unwrap();
    let printed = print::print_config(&loaded);
    let pairs: Vec<_> = printed
        .lines()
        .map(|line| line.split_once("  # ").unwrap().0.trim_end().split_once('=').unwrap())
        .collect();
    assert_eq!(pairs.len(), ROWS.len());
    let again = Config::load(Sources::new().environment(pairs)).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

/// Blocks of the README of the PHP library that this server takes over.
const SEED: [&str; 9] = [
    "REALTIME_ENABLED=true\nREALTIME_AUTO_START=true\n\n# Protocol configuration\nWEBSOCKET_ENABLED=true\n\
     WEBSOCKET_PATH=/ws\nSSE_ENABLED=true\nSSE_PATH=/sse\n\n# Broadcasting\nREALTIME_BROADCAST_DRIVER=redis\n\
     REALTIME_REDIS_HOST=localhost\nREALTIME_REDIS_PORT=6379\n\n# Security\nREALTIME_AUTH_ENABLED=true\n\
     REALTIME_JWT_SECRET=your-secret-key\nREALTIME_RATE_LIMIT_ENABLED=true\n",
    "REALTIME_ENABLED=true\nWEBSOCKET_ENABLED=true\nWEBTRANSPORT_ENABLED=true\n\
     WEBTRANSPORT_RELIABILITY=unreliable_unordered\nREALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE=300\n",
    "REALTIME_ENABLED=true\nWEBSOCKET_ENABLED=true\nWEBTRANSPORT_RELIABILITY=reliable_ordered\n\
     REALTIME_AUTH_ENABLED=true\nREALTIME_JWT_SECRET=ultra-secure-secret\nREALTIME_RATE_LIMIT_ENABLED=true\n",
    "REALTIME_ENABLED=true\nWEBSOCKET_ENABLED=true\nSSE_ENABLED=true\nREALTIME_BROADCAST_DRIVER=redis\n\
     REALTIME_AUTH_ENABLED=true\n",
    "MONITORING_SAMPLING_RATE=0.1      # 10% sampling\nMONITORING_SECURITY_ENABLED=true  # Security monitoring\n\
     PROMETHEUS_ENABLED=true           # Metrics export\nTRACING_SAMPLING_RATE=0.05        # 5% sampling\n\
     SERVICE_NAME=my-highper-app       # Service identification\nTRACING_JAEGER_ENABLED=true       # Jaeger export\n\
     REALTIME_AUTO_INSTRUMENT=true     # Auto-instrument protocols\n",
    "REALTIME_RATE_LIMIT_ENABLED=true\nREALTIME_RATE_LIMIT_CONNECTIONS=10\n\
     REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE=60\nREALTIME_RATE_LIMIT_BURST=10\n",
    "REALTIME_MAX_CONNECTIONS=50000\nREALTIME_CONNECTION_TIMEOUT=300\nREALTIME_BUFFER_SIZE=16384\n\
     REALTIME_BACKLOG_SIZE=2000\n\nREALTIME_MAX_MEMORY_USAGE=1G\nREALTIME_GC_INTERVAL=30\n\
     REALTIME_CLEANUP_INTERVAL=120\n",
    "REALTIME_BEHIND_PROXY=true\nREALTIME_PROXY_PROTOCOL=true\n\
     REALTIME_TRUSTED_PROXIES=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16\n",
    "APP_ENV=testing\nREALTIME_ENABLED=true\nREALTIME_HOST=127.0.0.1\nREALTIME_PORT=8080\nWEBSOCKET_ENABLED=true\n\
     SSE_ENABLED=true\nWEBTRANSPORT_ENABLED=true\nREALTIME_MAX_CONNECTIONS=1000\nREALTIME_CONNECTION_TIMEOUT=30\n",
];

#[test]
fn the_dotenv_files_of_the_php_library_load() {
    for text in SEED {
        let local = Sources::new().dotenv(".env", text).environment([("APP_ENV", "testing")]);
        let loaded = Config::load(local).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(loaded.config.app_env, AppEnv::Testing);
        assert!(loaded.warnings.iter().all(|warning| !warning.to_string().contains("not a variable")));
        // In production only authentication may stand in the way: its sample secrets guard nothing.
        if let Err(errors) = Config::load(Sources::new().dotenv(".env", text)) {
            let about_auth =
                |line: &str| line.starts_with("REALTIME_JWT_") || line.starts_with("REALTIME_AUTH_");
            assert!(errors.to_string().lines().all(about_auth), "{text}\n{errors}");
        }
    }
}

#[test]
fn combinations_that_are_not_wise_bring_advice() {
    let cases: [(&[(&str, &str)], &str); 10] = [
        (
            &[("WEBSOCKET_MAX_FRAME_SIZE", "20M")],
            "WEBSOCKET_MAX_FRAME_SIZE=20M (environment): no frame gets that long",
        ),
        (
            &[("WEBSOCKET_MAX_EMPTY_FRAGMENTS", "70000")],
            "WEBSOCKET_MAX_EMPTY_FRAGMENTS=70000 (environment): no message",
        ),
        (
            &[("REALTIME_CONNECTION_TIMEOUT", "29")],
            "REALTIME_CONNECTION_TIMEOUT=29s (environment): idle connections end",
        ),
        (
            &[("WEBSOCKET_HEARTBEAT_TIMEOUT", "31")],
            "WEBSOCKET_HEARTBEAT_TIMEOUT=31s (environment): the answer may take",
        ),
        (
            &[("REALTIME_CPU_LIST", "0"), ("REALTIME_CPU_POLICY", "none")],
            "REALTIME_CPU_LIST=0 (environment): has no effect",
        ),
        (
            &[("REALTIME_PROXY_PROTOCOL", "1")],
            "REALTIME_PROXY_PROTOCOL=true (environment): nobody is believed",
        ),
        (
            &[("REALTIME_RATE_LIMIT_BURST", "5")],
            "REALTIME_RATE_LIMIT_BURST=5 (environment): has no effect without REALTIME_RATE_LIMIT_ENABLED=true",
        ),
        (&[("REALTIME_BEHIND_PROXY", "1")], "REALTIME_BEHIND_PROXY=true (environment): nobody is believed"),
        (
            &[("REALTIME_AUTH_ENABLED", "1"), ("APP_ENV", "local")],
            "REALTIME_JWT_SECRET= (default): without a key nobody can authenticate",
        ),
        (
            &[("REALTIME_WEBHOOK_URL", "http://a/")],
            "REALTIME_WEBHOOK_URL=http://a/ (environment): anyone can make webhooks up",
        ),
    ];
    for (variables, expected) in cases {
        let loaded = Config::load(Sources::new().environment(variables.iter().copied())).unwrap();
        let found = warnings(&loaded);
        assert!(found.iter().any(|warning| warning.starts_with(expected)), "{expected} in {found:?}");
    }
    let edge = [("WEBSOCKET_MAX_FRAME_SIZE", "10M"), ("REALTIME_CONNECTION_TIMEOUT", "30")];
    assert_eq!(warnings(&Config::load(Sources::new().environment(edge)).unwrap()), Vec::<String>::new());
}

#[test]
fn two_things_at_one_path_are_refused() {
    let cases = [
        (
            "WEBSOCKET_PATH",
            "/sse",
            "SSE_PATH=/sse (default): expected a path other than that of WEBSOCKET_PATH",
        ),
        (
            "REALTIME_ECHO_PATH",
            "/ws",
            "REALTIME_ECHO_PATH=/ws (environment): expected a path other than that of",
        ),
        ("WEBSOCKET_PATH", "/", "WEBSOCKET_PATH=/ (environment): expected a path other than /, /health/live"),
    ];
    for (name, value, expected) in cases {
        let errors = Config::load(Sources::new().environment([(name, value)])).unwrap_err().to_string();
        assert!(errors.starts_with(expected) && errors.lines().count() == 1, "{errors}");
    }
    let off = [("WEBSOCKET_PATH", "/sse"), ("SSE_ENABLED", "false")];
    assert!(Config::load(Sources::new().environment(off)).is_ok(), "what is off takes no path");
}
