//! Every variable has its default, takes a good value, refuses a bad one by name, value and expectation.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::net::IpAddr;
use std::time::Duration;

use highper_realtime::config::{
    AppEnv, ByteCap, Cap, Config, ConfigErrors, CpuPolicy, DriverKind, Host, JwtAlgorithm, Loaded, LogLevel,
    ROWS, Row, Shards, Sources, Status, Unit,
};

fn load(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    Config::load(Sources::new().environment(variables.iter().copied()))
}

fn config(variables: &[(&str, &str)]) -> Config {
    load(variables).unwrap().config
}

fn errors(variables: &[(&str, &str)]) -> Vec<String> {
    load(variables).unwrap_err().iter().map(ToString::to_string).collect()
}

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.names().any(|known| known == name)).unwrap()
}

/// A good value other than the default, and how the value prints. By what the row accepts, so that a new row of
/// a known type needs no line here.
fn good(row: &Row) -> (String, String) {
    let same = |text: &str| (text.to_owned(), text.to_owned());
    let (min, max) = (row.bounds.min, row.bounds.max);
    let number = if row.bounds.power_of_two { max / 2 } else { min + 1 };
    let expects = row.expects();
    match row.name {
        "APP_ENV" => return same("testing"),
        "REALTIME_CPU_LIST" => return ("3,0-1".to_owned(), "0,1,3".to_owned()),
        "REALTIME_SHARDS" => return same("3"),
        "REALTIME_TRUSTED_PROXIES" => return same("10.0.0.0/8,fd00::/8"),
        "REALTIME_REDIS_SENTINELS" => return same("one:26379,[::1]:26380"),
        "HTTP3_FALLBACK_PROTOCOLS" => return same("http/1.1"),
        "REALTIME_CPU_POLICY" => return same("none"),
        "WEBSOCKET_COMPRESSION_LEVEL" => return same("6"),
        "REALTIME_MEMORY_LIMIT_MB" => return ("64".to_owned(), "64M".to_owned()),
        "MONITORING_HIGH_MEMORY_MB" => return ("64".to_owned(), "64M".to_owned()),
        _ => {}
    }
    if row.secret {
        return ("0123456789abcdefghijklmnopqrstuvwxyz".to_owned(), "(hidden)".to_owned());
    }
    if let Some(words) = expects.strip_prefix("one of ") {
        let last = words.rsplit(", ").next().unwrap();
        return same(last);
    }
    match row.bounds.unit {
        Unit::Seconds => return (format!("{number}"), format!("{number}s")),
        Unit::Millis => return (format!("{}", 2 + min), format!("{}ms", 2 + min)),
        Unit::Micros => return (format!("{number}us"), format!("{number}us")),
        Unit::Bytes => return (format!("{}", min + 1), format!("{}B", min + 1)),
        Unit::Mebibytes | Unit::Count => {}
    }
    let by_start: [(&str, &str); 14] = [
        ("true or false", if row.default == "true" { "false" } else { "true" }),
        ("a number from 0 to 1", "0.5"),
        ("an IP address, a host name", "192.0.2.1"),
        ("a path that starts with /", "/other"),
        ("a list with commas between, each * or", "https://example.com,https://*.example.org:8443"),
        ("a list with commas between, each a word", "GET,PUT"),
        ("a list with commas between, each a country", "DE,AT"),
        ("a list with commas between, each one of", "join"),
        ("a list with commas between, each text", "one,two"),
        ("a list with commas between, each a URL", "nats://one:4222,tls://two:4222"),
        ("a URL", "https://example.com:4318/v1"),
        ("text", "some text"),
        ("a word", "word"),
        ("the path of a file", "/etc/some.pem"),
    ];
    if let Some((_, value)) = by_start.iter().find(|(start, _)| expects.starts_with(start)) {
        return same(value);
    }
    assert!(expects.contains("a whole number"), "{}: no good value known for {expects:?}", row.name);
    same(&number.to_string())
}

/// A value the row refuses.
fn bad(row: &Row) -> &'static str {
    let expects = row.expects();
    match expects {
        _ if row.secret => "nul\0",
        _ if expects.contains("text") || expects.starts_with("the path of a file") => "bell\u{7}bell",
        _ => "not/ a (value)!",
    }
}

/// Variables that must be set together to be valid.
fn companions(row: &Row) -> &'static [(&'static str, &'static str)] {
    match row.name {
        "REALTIME_TLS_CERT" => &[("REALTIME_TLS_KEY", "/etc/key.pem")],
        "REALTIME_TLS_KEY" => &[("REALTIME_TLS_CERT", "/etc/cert.pem")],
        "REALTIME_AUTH_ENABLED" | "REALTIME_JWT_VERIFY_SIGNATURE" => &[("APP_ENV", "testing")],
        _ => &[],
    }
}

#[test]
fn without_any_source_every_variable_has_its_default() {
    let loaded = Config::load(Sources::new()).unwrap();
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    for row in ROWS {
        assert_eq!(loaded.origins.of(row).to_string(), "default", "{}", row.name);
    }
    assert_eq!(loaded.warnings, [], "defaults warn of nothing");
}

#[test]
fn every_default_is_a_value_its_variable_takes() {
    for row in ROWS.iter().filter(|row| !row.default.is_empty()) {
        let loaded = load(&[(row.name, row.default)]).unwrap_or_else(|error| panic!("{}: {error}", row.name));
        assert_eq!(row.show(&loaded.config), row.show(&Config::default()), "{}", row.name);
        assert_eq!(loaded.warnings, [], "{} set to its default warns of nothing", row.name);
    }
}

#[test]
fn every_variable_takes_a_good_value_under_each_of_its_names() {
    for row in ROWS {
        for name in row.names() {
            let (value, shown) = good(row);
            let (value, shown) = if name == "REALTIME_MAX_MEMORY_USAGE" {
                ("1G".to_owned(), "1G".to_owned())
            } else {
                (value, shown)
            };
            let mut variables = companions(row).to_vec();
            variables.push((name, &value));
            let loaded = load(&variables).unwrap_or_else(|error| panic!("{name}={value}: {error}"));
            assert_eq!(row.show(&loaded.config), shown, "{name}={value}");
            let only_word = row.expects() == format!("one of {}", row.default);
            let changed = row.show(&Config::default()) != shown;
            assert!(changed || only_word, "{name}: the test must change something");
            let expected =
                if name == row.name { "environment".into() } else { format!("environment as {name}") };
            assert_eq!(loaded.origins.of(row).to_string(), expected);
        }
    }
}

#[test]
fn every_variable_refuses_a_bad_value_by_name_value_and_expectation() {
    for row in ROWS {
        let value = bad(row);
        match row.status {
            Status::Accepted(reason) => {
                let loaded = load(&[(row.name, value)]).unwrap();
                assert_eq!(row.show(&loaded.config), row.show(&Config::default()), "{}", row.name);
                let texts = row.expects().starts_with("text");
                assert!(texts || loaded.warnings[0].to_string().contains(reason), "{}", row.name);
            }
            Status::Active | Status::Later => {
                let shown = if row.secret { "(hidden)" } else { value };
                let expected = format!("{}={shown} (environment): expected {}", row.name, row.expects());
                assert_eq!(errors(&[(row.name, value)]), [expected]);
            }
        }
    }
}

#[test]
fn ranges_hold_at_their_edges_and_not_beyond() {
    for row in ROWS.iter().filter(|row| row.status == Status::Active && row.bounds.max < u64::MAX) {
        let max = row.bounds.max;
        let step = if row.bounds.power_of_two { 2 * max } else { max + 1 };
        assert!(load(&[(row.name, &max.to_string())]).is_ok(), "{}={max}", row.name);
        assert_eq!(errors(&[(row.name, &step.to_string())]).len(), 1, "{}={step}", row.name);
        if row.bounds.min > 0 {
            let min = row.bounds.min;
            assert!(load(&[(row.name, &min.to_string())]).is_ok(), "{}={min}", row.name);
            assert_eq!(errors(&[(row.name, &(min - 1).to_string())]).len(), 1, "{}={}", row.name, min - 1);
        }
    }
}

#[test]
fn durations_take_units_and_a_plain_number_keeps_the_documented_one() {
    let timeout = |value| config(&[("REALTIME_CONNECTION_TIMEOUT", value)]).connection_timeout;
    assert_eq!(timeout("30"), Duration::from_secs(30));
    assert_eq!(timeout("30s"), Duration::from_secs(30));
    assert_eq!(timeout("1500ms"), Duration::from_millis(1500));
    assert_eq!(timeout("5m"), Duration::from_secs(300));
    assert_eq!(timeout("2 h"), Duration::from_secs(7200));
    assert_eq!(timeout("1d"), Duration::from_secs(86_400));
    let retry = |value| config(&[("SSE_RETRY_INTERVAL", value)]).sse_retry_interval;
    assert_eq!(retry("3000"), Duration::from_secs(3));
    assert_eq!(retry("3s"), Duration::from_secs(3));
    assert_eq!(config(&[("REALTIME_SPIN", "50")]).spin, Duration::from_micros(50));
    assert_eq!(
        config(&[("MONITORING_SLOW_REQUEST_MS", "250")]).monitoring_slow_request,
        Duration::from_millis(250)
    );
    for wrong in ["30x", "s", "-1", "+1", "1.5s", "1e3", "99999999999999999999", "18446744073709551615", "0"]
    {
        assert_eq!(errors(&[("REALTIME_CONNECTION_TIMEOUT", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn sizes_take_units_and_a_plain_number_keeps_the_documented_one() {
    let size = |value| config(&[("WEBSOCKET_MAX_MESSAGE_SIZE", value), ("WEBSOCKET_MAX_FRAME_SIZE", "125")]);
    for (text, bytes) in
        [("16384", 16_384), ("16k", 16_384), ("16KiB", 16_384), ("1M", 1 << 20), ("1G", 1 << 30)]
    {
        assert_eq!(size(text).websocket_max_message_size.get(), bytes, "{text}");
    }
    let limit = |name, value| config(&[(name, value)]).memory_limit.get();
    assert_eq!(limit("REALTIME_MEMORY_LIMIT_MB", "512"), Some(512 << 20));
    assert_eq!(limit("REALTIME_MEMORY_LIMIT_MB", "1G"), Some(1 << 30));
    assert_eq!(limit("REALTIME_MAX_MEMORY_USAGE", "1G"), Some(1 << 30));
    assert_eq!(limit("REALTIME_MAX_MEMORY_USAGE", "1073741824"), Some(1 << 30), "no _MB in the name: bytes");
    assert_eq!(config(&[("REALTIME_MEMORY_LIMIT_MB", "0")]).memory_limit, ByteCap::Auto);
    for wrong in ["16x", "k", "-1", "1.5M", "99999999T"] {
        assert_eq!(errors(&[("WEBSOCKET_MAX_MESSAGE_SIZE", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn booleans_have_four_spellings_in_any_case() {
    for (yes, no) in
        [("true", "false"), ("1", "0"), ("yes", "no"), ("on", "off"), ("TRUE", "False"), ("Yes", "OFF")]
    {
        assert!(config(&[("REALTIME_CLIENT_BROADCAST", yes)]).client_broadcast, "{yes}");
        assert!(!config(&[("REALTIME_CLIENT_PUBLISH", no)]).client_publish, "{no}");
    }
}

#[test]
fn hosts_are_addresses_names_or_unix_sockets() {
    let host = |value| config(&[("REALTIME_HOST", value)]).host;
    assert_eq!(host("127.0.0.1"), Host::Ip([127, 0, 0, 1].into()));
    assert_eq!(host("::"), Host::Ip(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)));
    assert_eq!(host("[::1]"), Host::Ip(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)));
    assert_eq!(host("my_host.example.com"), Host::Name("my_host.example.com".into()));
    assert_eq!(host("unix:/run/realtime.sock"), Host::Unix("/run/realtime.sock".into()));
    let long = format!("unix:/{}", "x".repeat(107));
    for wrong in ["300.1.1.1", "1.2.3", "-x", "a..b", "unix:relative", "unix:", "a b", "host:80", &long] {
        assert_eq!(errors(&[("REALTIME_HOST", wrong)]).len(), 1, "{wrong}");
    }
    assert!(load(&[("REALTIME_HOST", &long[..long.len() - 1])]).is_ok(), "107 bytes fit");
}

#[test]
fn networks_contain_their_addresses_and_no_bits_beyond_the_prefix() {
    let proxies =
        config(&[("REALTIME_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7 fd00::/8,0.0.0.0/0")]).trusted_proxies;
    let inside = |index: usize, address: &str| proxies[index].contains(address.parse().unwrap());
    assert!(inside(0, "10.255.0.1") && inside(0, "::ffff:10.0.0.1") && !inside(0, "11.0.0.0"));
    assert!(inside(1, "192.0.2.7") && !inside(1, "192.0.2.6"));
    assert!(inside(2, "fdff::1") && !inside(2, "fe00::") && !inside(2, "10.0.0.1"));
    assert!(inside(3, "203.0.113.9") && !inside(3, "fd00::1"));
    for wrong in ["10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "/8", "ten"] {
        assert_eq!(errors(&[("REALTIME_TRUSTED_PROXIES", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn whoever_believes_proxies_is_told_to_name_them() {
    for name in ["REALTIME_BEHIND_PROXY", "REALTIME_PROXY_PROTOCOL"] {
        let warnings = |more: &[(&str, &str)]| load(&[&[(name, "true")], more].concat()).unwrap().warnings;
        let alone = warnings(&[]);
        assert_eq!(alone.len(), 1, "{alone:?}");
        let text = alone[0].to_string();
        assert!(text.contains(name) && text.contains("REALTIME_TRUSTED_PROXIES"), "{text}");
        assert_eq!(warnings(&[("REALTIME_TRUSTED_PROXIES", "10.0.0.0/8")]), []);
        assert_eq!(warnings(&[("REALTIME_HOST", "unix:/run/realtime.sock")]), [], "a socket file names them");
    }
}

#[test]
fn shards_cores_and_ceilings_can_be_left_to_the_server() {
    for auto in ["auto", "AUTO", "0"] {
        assert_eq!(config(&[("REALTIME_SHARDS", auto)]).shards, Shards::Auto);
        assert_eq!(config(&[("REALTIME_MAX_CONNECTIONS", auto)]).max_connections, Cap::Auto);
    }
    assert_eq!(
        config(&[("REALTIME_WORKER_PROCESSES", "256")]).shards,
        Shards::Count(256.try_into().unwrap())
    );
    assert_eq!(config(&[("REALTIME_MAX_CONNECTIONS", "50000")]).max_connections.get(), Some(50_000));
    assert_eq!(errors(&[("REALTIME_SHARDS", "1025")]).len(), 1);
    assert_eq!(config(&[("REALTIME_CPU_LIST", "6,0-2,1")]).cpu_list.cores(), [0, 1, 2, 6]);
    for wrong in ["2-1", "a", "0-", "8192", "1;2"] {
        assert_eq!(errors(&[("REALTIME_CPU_LIST", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn words_are_taken_in_any_case_and_the_error_lists_them() {
    assert_eq!(config(&[("REALTIME_IO_DRIVER", "io_uring")]).io_driver, DriverKind::Uring);
    assert_eq!(config(&[("REALTIME_JWT_ALGORITHM", "EdDSA")]).jwt_algorithm, JwtAlgorithm::EdDsa);
    assert_eq!(config(&[("REALTIME_LOG_LEVEL", "WARNING")]).log_level, LogLevel::Warn);
    assert_eq!(config(&[("APP_ENV", "staging")]).app_env, AppEnv::Other("staging".into()));
    let error = errors(&[("REALTIME_IO_DRIVER", "kqueue")]);
    assert_eq!(error, ["REALTIME_IO_DRIVER=kqueue (environment): expected one of auto, uring, epoll"]);
    assert_eq!(errors(&[("REALTIME_JWT_ALGORITHM", "none")]).len(), 1, "unsigned tokens are no algorithm");
}

#[test]
fn paths_origins_and_urls_are_parsed() {
    for wrong in ["ws", "/a b", "/a?b", "/a#b", "/%41", "/a/../b", "/./a", "/é"] {
        assert_eq!(errors(&[("WEBSOCKET_PATH", wrong)]).len(), 1, "{wrong}");
    }
    assert_eq!(config(&[("REALTIME_ECHO_PATH", "/echo")]).echo_path.unwrap().as_str(), "/echo");
    let origins =
        config(&[("REALTIME_CORS_ORIGINS", "https://Example.com https://*.example.org:8443")]).cors_origins;
    assert_eq!(origins[0].as_str(), "https://example.com");
    assert!(config(&[]).cors_origins[0].is_any());
    for wrong in ["example.com", "https://", "https://a/b", "https://a:0", "https://a:99999", "https://*"] {
        assert_eq!(errors(&[("REALTIME_CORS_ORIGINS", wrong)]).len(), 1, "{wrong}");
    }
    for wrong in ["redis", "redis://", "://host", "redis://host:port", "redis://ho st"] {
        assert_eq!(errors(&[("REALTIME_REDIS_URL", wrong)]).len(), 1, "{wrong}");
    }
    assert!(load(&[("REALTIME_REDIS_URL", "rediss://[::1]:6379/1")]).is_ok());
}

#[test]
fn all_errors_come_at_once() {
    let found = errors(&[
        ("REALTIME_PORT", "70000"),
        ("REALTIME_IO_DRIVER", "iocp"),
        ("WEBSOCKET_MAX_FRAME_SIZE", "big"),
        ("REALTIME_RING_ENTRIES", "1000"),
        ("REALTIME_JWT_VERIFY_SIGNATURE", "false"),
        ("REALTIME_TLS_CERT", "/etc/cert.pem"),
    ]);
    let names = ["REALTIME_PORT", "WEBSOCKET_MAX_FRAME_SIZE", "REALTIME_RING_ENTRIES", "REALTIME_IO_DRIVER"];
    for name in names.into_iter().chain(["REALTIME_JWT_VERIFY_SIGNATURE", "REALTIME_TLS_KEY"]) {
        assert!(found.iter().any(|error| error.starts_with(name)), "{name} in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn debug_means_log_level_debug_unless_that_was_set() {
    assert_eq!(config(&[("REALTIME_DEBUG", "true")]).log_level, LogLevel::Debug);
    assert_eq!(
        config(&[("REALTIME_DEBUG", "true"), ("REALTIME_LOG_LEVEL", "info")]).log_level,
        LogLevel::Info
    );
    let loaded = load(&[("REALTIME_DEBUG", "true")]).unwrap();
    assert_eq!(loaded.origins.of(row("REALTIME_LOG_LEVEL")).to_string(), "environment as REALTIME_DEBUG");
}

#[test]
fn the_cpu_policy_list_needs_a_list() {
    let both = [("REALTIME_CPU_POLICY", "list"), ("REALTIME_CPU_LIST", "0")];
    assert_eq!(config(&both).cpu_policy, CpuPolicy::List);
    assert!(errors(&both[..1])[0].contains("expected REALTIME_CPU_LIST"));
    let broken = errors(&[("REALTIME_CPU_POLICY", "list"), ("REALTIME_CPU_LIST", "x")]);
    assert_eq!(broken.len(), 1, "what depends on a broken value is not judged: {broken:?}");
}

#[test]
fn a_backend_is_reached_by_http() {
    for name in ["REALTIME_HOOK_CONNECT", "REALTIME_HOOK_SUBSCRIBE", "REALTIME_WEBHOOK_URL"] {
        let load = |url| Config::load(Sources::new().environment([(name, url)]));
        let told = load("ftp://me:hush@backend/").unwrap_err().to_string();
        let expected = "(hidden)@backend/ (environment): expected a URL that begins with http:// or https://";
        assert!(told.contains(expected) && !told.contains("hush"), "{told}");
        assert!(load("HTTPS://backend/a?b=c").is_ok() && load("http://backend").is_ok(), "{name}");
    }
}
