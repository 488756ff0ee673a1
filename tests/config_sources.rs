//! Which source wins, which spelling wins, what an empty value means, and what an unknown name brings.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use highper_realtime::config::{Config, Loaded, ROWS, Row, Sources};

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn error_lines(sources: Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().iter().map(ToString::to_string).collect()
}

/// Sources of which those in `mask` set the port, each to its own number.
fn layered(mask: u8) -> Sources {
    let mut sources = Sources::new();
    if mask & 1 != 0 {
        sources = sources.file("realtime.toml", "# first\nport = 1001\n");
    }
    if mask & 2 != 0 {
        sources = sources.dotenv(".env", "REALTIME_PORT=1002\n");
    }
    if mask & 4 != 0 {
        sources = sources.environment([("REALTIME_PORT", "1003")]);
    }
    if mask & 8 != 0 {
        sources = sources.flag("--port", "REALTIME_PORT", "1004");
    }
    sources
}

#[test]
fn the_strongest_source_wins_in_every_combination() {
    for mask in 0..16_u8 {
        let loaded = Config::load(layered(mask)).unwrap();
        let (port, origin) = match 8 - mask.leading_zeros() {
            0 => (8080, "default"),
            1 => (1001, "realtime.toml:2"),
            2 => (1002, ".env"),
            3 => (1003, "environment"),
            _ => (1004, "--port"),
        };
        assert_eq!(loaded.config.port, port, "mask {mask:04b}");
        assert_eq!(loaded.origins.of(row("REALTIME_PORT")).to_string(), origin, "mask {mask:04b}");
        assert_eq!(warnings(&loaded), Vec::<String>::new());
    }
}

#[test]
fn a_bad_value_that_a_stronger_source_replaces_is_no_error() {
    let sources = Sources::new().dotenv(".env", "REALTIME_PORT=x").environment([("REALTIME_PORT", "9000")]);
    assert_eq!(Config::load(sources).unwrap().config.port, 9000);
}

#[test]
fn an_empty_value_is_no_value() {
    let sources = Sources::new()
        .file("f.toml", "port = 7000\nwebsocket_path = ''\n")
        .dotenv(".env", "REALTIME_PORT=\nREALTIME_ECHO_PATH=\"  \"\n")
        .environment([("REALTIME_PORT", ""), ("REALTIME_JWT_SECRET", ""), ("REALTIME_SHARDS", " ")])
        .flag("--port", "REALTIME_PORT", "");
    let loaded = Config::load(sources).unwrap();
    assert_eq!(loaded.config.port, 7000);
    assert!(loaded.config.echo_path.is_none() && loaded.config.jwt_secret.is_none());
    assert!(!loaded.origins.is_set("websocket_path") && !loaded.origins.is_set("shards"));
}

#[test]
fn of_two_spellings_in_one_source_the_first_name_wins_with_a_warning() {
    for order in
        [["REALTIME_SHARDS", "REALTIME_WORKER_PROCESSES"], ["REALTIME_WORKER_PROCESSES", "REALTIME_SHARDS"]]
    {
        let values = order.map(|name| (name, if name == "REALTIME_SHARDS" { "2" } else { "4" }));
        let loaded = Config::load(Sources::new().environment(values)).unwrap();
        assert_eq!(row("REALTIME_SHARDS").show(&loaded.config), "2");
        let expected = "REALTIME_SHARDS has two values: the one of environment as REALTIME_SHARDS counts, \
                        the one of environment as REALTIME_WORKER_PROCESSES does not";
        assert_eq!(warnings(&loaded), [expected]);
    }
    let same = [("REALTIME_SHARDS", "2"), ("REALTIME_WORKER_PROCESSES", "2")];
    assert_eq!(warnings(&Config::load(Sources::new().environment(same)).unwrap()), Vec::<String>::new());
}

#[test]
fn of_two_spellings_in_two_sources_the_stronger_source_wins() {
    let sources =
        Sources::new().dotenv(".env", "REALTIME_SHARDS=2").environment([("REALTIME_WORKER_PROCESSES", "4")]);
    let loaded = Config::load(sources).unwrap();
    assert_eq!(row("REALTIME_SHARDS").show(&loaded.config), "4");
    assert_eq!(warnings(&loaded), Vec::<String>::new());
}

#[test]
fn the_last_line_of_a_dotenv_wins_as_appending_suggests() {
    let text = "REALTIME_PORT=1\nexport REALTIME_HOST=\"127.0.0.1\" # here\nREALTIME_PORT=2\n";
    let loaded = Config::load(Sources::new().dotenv(".env", text)).unwrap();
    assert_eq!((loaded.config.port, row("REALTIME_HOST").show(&loaded.config)), (2, "127.0.0.1".to_owned()));
}

#[test]
fn a_broken_dotenv_line_is_told_by_number_without_its_text() {
    let text = "REALTIME_PORT=1\n\nREALTIME_JWT_SECRET hunter2hunter2\nREALTIME_SHARDS=x\n";
    let errors = error_lines(Sources::new().dotenv("my.env", text));
    assert_eq!(errors[0], "my.env:3: expected NAME=value, in quotes if it holds blanks, # or $");
    assert!(errors[1].starts_with("REALTIME_SHARDS=x (my.env): expected "), "the rest is read: {errors:?}");
    assert_eq!(errors.len(), 2);
}

#[test]
fn the_configuration_file_takes_names_and_field_names_and_all_kinds_of_values() {
    let text = "\u{feff}# comment\r\nREALTIME_HOST = \"unix:/run/\\u0061.sock\" # trailing\r\n\
        port = 9_000\nmax_connections = 'auto'\nwebsocket_compression = false\n\
        monitoring_sampling_rate = 0.5\ncors_origins = [\n  'https://a.example', # one\n  \"https://b.example\",\n]\n\
        SSE_PATH='/events'\nmemory_limit = 64\n\nREALTIME_REDIS_PREFIX = \"a\\tb\"\n";
    let errors = error_lines(Sources::new().file("f.toml", text));
    assert_eq!(errors, ["REALTIME_REDIS_PREFIX=a\tb (f.toml:14): expected text without control characters"]);
    let text = text.replace("\\tb", "b");
    let config = Config::load(Sources::new().file("f.toml", &text)).unwrap().config;
    assert_eq!(row("REALTIME_HOST").show(&config), "unix:/run/a.sock");
    assert_eq!((config.port, config.websocket_compression, config.cors_origins.len()), (9000, false, 2));
    assert_eq!(config.monitoring_sampling_rate.get(), 0.5);
    assert_eq!((config.sse_path.as_str(), config.memory_limit.get()), ("/events", Some(64 << 20)));
}

#[test]
fn faults_of_the_configuration_file_are_told_by_line_all_at_once() {
    let text = "port 80\nhost = unquoted\nshards = \"open\nspin = 1 2\nport = 3\nport = 4\nPORT = 5\n\
        echo_path = \"\\x\"\n= 5\nmax_connections = [1 2]\nring_entries = 1__0\nbacklog_size = 2026-01-01\n\
        debug = {}\n[server]\nport = 1\n[namespaces]\n\"a:\" = 1\n";
    let errors = error_lines(Sources::new().file("f.toml", text));
    let lines: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    let expected = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17].map(|line| format!("f.toml:{line}"));
    assert_eq!(lines, expected, "{errors:#?}");
}

#[test]
fn a_fault_of_the_configuration_file_shows_nothing_of_its_line() {
    let lines = [
        "jwt_secret hunter2",
        "jwt_secret = hunter2",
        "jwt_secret = \"hunter2",
        "jwt_secret = 'hunter2' hunter2",
        "jwt_secret = \"\\hunter2\"",
        "jwt_secret = [ \"hunter2\"",
        "hunter2",
        "[hunter2",
        "jwt_secret = 1hunter2",
        "jwt_secret = 'a'\njwt_secret = 'hunter2'",
        "[namespaces.\"a:\"]\njwt_secret = 'hunter2'",
    ];
    for line in lines {
        let errors = error_lines(Sources::new().file("f.toml", line));
        assert!(!errors.is_empty() && !errors.concat().contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn an_unknown_name_with_our_prefix_brings_a_warning_and_the_nearest_name() {
    let loaded = Config::load(
        Sources::new()
            .environment([
                ("REALTIME_PROT", "1"),
                ("WEBSOCKET_MAX_FRAMESIZE", "1"),
                ("REALTIME_JWT_SECRETFILE", "1"),
                ("REALTIME_SOMETHING_ELSE_ENTIRELY", "1"),
                ("PROMETHEUS_MULTIPROC_DIR", "/tmp"),
                ("TRACING_ENABLE", "1"),
                ("PATH", "/bin"),
                ("REALTIME_LARAVEL_AUTO", "1"),
                ("REALTIME_SYMFONY_BUNDLE", "1"),
                ("REALTIME_CONFIG", "already read"),
            ])
            .file("f.toml", "colour = 'blue'\n")
            .dotenv(".env", "DATABASE_URL=x\nSSE_PATHS=/x\n"),
    );
    let expected = [
        "colour (f.toml:1) is not a variable",
        "SSE_PATHS (.env) is not a variable; did you mean SSE_PATH?",
        "REALTIME_PROT (environment) is not a variable; did you mean REALTIME_PORT?",
        "WEBSOCKET_MAX_FRAMESIZE (environment) is not a variable; did you mean WEBSOCKET_MAX_FRAME_SIZE?",
        "REALTIME_JWT_SECRETFILE (environment) is not a variable; did you mean REALTIME_JWT_SECRET_FILE?",
        "REALTIME_SOMETHING_ELSE_ENTIRELY (environment) is not a variable",
        "TRACING_ENABLE (environment) is not a variable; did you mean TRACING_ENABLED?",
    ];
    assert_eq!(warnings(&loaded.unwrap()), expected);
}

#[test]
fn an_unknown_name_on_the_command_line_is_an_error() {
    let errors = error_lines(Sources::new().flag("--set", "prot", "1").flag("--set", "port", "2"));
    assert_eq!(errors, ["prot (--set) is not a variable; did you mean REALTIME_PORT?"]);
}

#[test]
fn the_last_of_two_flags_for_one_variable_wins() {
    let sources = Sources::new().flag("--set", "port", "1").flag("--port", "REALTIME_PORT", "2");
    assert_eq!(Config::load(sources).unwrap().config.port, 2);
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_of_our_name_are_ignored() {
    let loaded = Config::load(Sources::new().environment([
        ("REALTIME_PORT", "tcp://10.0.0.1:80"),
        ("REALTIME_SERVICE_HOST", "10.0.0.1"),
        ("REALTIME_SERVICE_PORT", "80"),
        ("REALTIME_SERVICE_PORT_HTTP", "80"),
        ("REALTIME_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("REALTIME_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("REALTIME_PORT_443_UDP_PROTO", "udp"),
        ("REALTIME_REDIS_PORT", "tcp://10.0.0.2:6379"),
    ]))
    .unwrap();
    assert_eq!((loaded.config.port, loaded.config.redis_port), (8080, 6379));
    let warnings = warnings(&loaded);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.contains("enableServiceLinks")));
}

#[test]
fn text_that_is_not_utf8_is_an_error_only_under_our_names() {
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let foreign = Sources::new().environment([(OsString::from("OTHER"), bytes()), (bytes(), "x".into())]);
    assert!(Config::load(foreign).is_ok());
    let errors = error_lines(Sources::new().environment([(OsString::from("REALTIME_PORT"), bytes())]));
    assert_eq!(errors, ["REALTIME_PORT=(not UTF-8) (environment): expected a whole number from 0 to 65535"]);
}
