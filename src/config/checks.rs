//! Checks that need more than one variable, and those that ask whether a value is wise. Never changes a value.

use super::error::{ConfigError, Warning};
use super::load::Loaded;
use super::names;
use super::row::Status;
use super::value::{CpuPolicy, JwtAlgorithm, Secret, UrlPath, Value};

/// Runs every check. What depends on a `broken` row is not judged.
pub(super) fn run(loaded: &mut Loaded, broken: &[bool], errors: &mut Vec<ConfigError>) {
    let mut findings = Findings { loaded, broken, errors, warnings: Vec::new() };
    findings.later_features();
    findings.paths();
    findings.websocket();
    findings.presence();
    findings.cores();
    findings.authentication();
    findings.tokens();
    findings.proxies();
    findings.countries();
    findings.certificate();
    let warnings = findings.warnings;
    loaded.warnings.extend(warnings);
}

struct Findings<'a> {
    loaded: &'a Loaded,
    broken: &'a [bool],
    errors: &'a mut Vec<ConfigError>,
    warnings: Vec<Warning>,
}

impl Findings<'_> {
    fn later_features(&mut self) {
        for row in super::ROWS.iter().filter(|row| row.status == Status::Later) {
            let value = row.show(&self.loaded.config);
            let changed = self.loaded.origins.is_set(row.field) && !self.is_broken(row.field);
            if changed && value != row.show(&super::Config::default()) {
                let origin = self.loaded.origins.of(row).clone();
                self.warnings.push(Warning::Later { name: row.name, value, origin });
            }
        }
    }

    /// One path cannot mean two things.
    fn paths(&mut self) {
        let config = &self.loaded.config;
        let paths: [(&str, Option<&UrlPath>); 6] = [
            ("websocket_path", config.websocket_enabled.then_some(&config.websocket_path)),
            ("echo_path", config.echo_path.as_ref()),
            ("sse_path", config.sse_enabled.then_some(&config.sse_path)),
            ("webtransport_path", config.webtransport_enabled.then_some(&config.webtransport_path)),
            ("health_check_path", config.health_check_enabled.then_some(&config.health_check_path)),
            ("prometheus_endpoint", config.prometheus_enabled.then_some(&config.prometheus_endpoint)),
        ];
        for (index, (field, path)) in paths.iter().enumerate() {
            let other = paths[..index].iter().find(|(_, other)| path.is_some() && other == path);
            if let Some((other, _)) = other {
                self.refuse(field, format!("a path other than that of {}", names::field(other).1.name));
            }
        }
        for (field, path) in paths {
            if path.is_some_and(|path| RESERVED_PATHS.contains(&path.as_str())) {
                self.refuse(field, format!("a path other than {}", RESERVED_PATHS.join(", ")));
            }
        }
    }

    fn websocket(&mut self) {
        let config = &self.loaded.config;
        if config.websocket_max_frame_size > config.websocket_max_message_size {
            let limit = config.websocket_max_message_size.show();
            let advice = format!("no frame gets that long, WEBSOCKET_MAX_MESSAGE_SIZE={limit} comes first");
            self.advise("websocket_max_frame_size", advice);
        }
        if config.websocket_max_empty_fragments > config.websocket_max_fragments {
            let advice = "no message gets that far, WEBSOCKET_MAX_FRAGMENTS comes first";
            self.advise("websocket_max_empty_fragments", advice.to_owned());
        }
        let (timeout, interval) = (config.connection_timeout, config.websocket_heartbeat_interval);
        if config.websocket_heartbeat_enabled && timeout < interval {
            let advice = format!(
                "idle connections end before their first ping, WEBSOCKET_HEARTBEAT_INTERVAL={}",
                interval.show()
            );
            self.advise("connection_timeout", advice);
        }
        if config.websocket_heartbeat_enabled && config.websocket_heartbeat_timeout > interval {
            let advice =
                format!("the answer may take longer than WEBSOCKET_HEARTBEAT_INTERVAL={}", interval.show());
            self.advise("websocket_heartbeat_timeout", advice);
        }
    }

    fn presence(&mut self) {
        let config = &self.loaded.config;
        let told = config.namespaces.iter().any(|(_, rules)| rules.member_events);
        if config.member_events && !config.presence && !told {
            let advice =
                "nobody is told anything, REALTIME_PRESENCE and every namespace are without presence";
            self.advise("member_events", advice.to_owned());
        }
    }

    fn cores(&mut self) {
        let config = &self.loaded.config;
        match config.cpu_policy {
            CpuPolicy::List if config.cpu_list.is_empty() && !self.is_broken("cpu_list") => {
                self.refuse("cpu_policy", "REALTIME_CPU_LIST to name the cores".to_owned());
            }
            CpuPolicy::None if !config.cpu_list.is_empty() => {
                self.advise("cpu_list", "has no effect with REALTIME_CPU_POLICY=none".to_owned());
            }
            CpuPolicy::Auto | CpuPolicy::None | CpuPolicy::List => {}
        }
    }

    fn authentication(&mut self) {
        let config = &self.loaded.config;
        if !config.auth_enabled {
            return;
        }
        if names::field("auth_enabled").1.status == Status::Later {
            let expected =
                "false: this release cannot authenticate, and serving everyone is not what was asked for";
            self.refuse_unless_relaxed("auth_enabled", expected.to_owned());
        }
        if self.is_broken("jwt_secret") || self.is_broken("jwt_algorithm") {
            return;
        }
        let by_secret = match config.jwt_algorithm {
            JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => true,
            JwtAlgorithm::Rs256
            | JwtAlgorithm::Rs384
            | JwtAlgorithm::Rs512
            | JwtAlgorithm::Ps256
            | JwtAlgorithm::Ps384
            | JwtAlgorithm::Ps512
            | JwtAlgorithm::Es256
            | JwtAlgorithm::Es384
            | JwtAlgorithm::EdDsa => false,
        };
        match &config.jwt_secret {
            None if config.app_env.relaxed() => {
                self.advise("jwt_secret", "without a key nobody can authenticate".to_owned());
            }
            None => self.require("jwt_secret", "a key, because REALTIME_AUTH_ENABLED=true"),
            Some(secret) if by_secret && is_weak(secret) => {
                let expected = format!("at least {SECRET_BYTES_MIN} bytes that are in no documentation");
                self.refuse_unless_relaxed("jwt_secret", expected);
            }
            Some(_) => {}
        }
    }

    fn tokens(&mut self) {
        let config = &self.loaded.config;
        if !config.jwt_verify_signature {
            let expected =
                "true unless APP_ENV is testing or local: anyone can write an unsigned token".to_owned();
            self.refuse_unless_relaxed("jwt_verify_signature", expected);
        }
        for (field, secret) in [("api_key", &config.api_key), ("cluster_secret", &config.cluster_secret)] {
            if secret.as_ref().is_some_and(is_weak) {
                let expected = format!("at least {SECRET_BYTES_MIN} bytes that are in no documentation");
                self.refuse_unless_relaxed(field, expected);
            }
        }
    }

    fn proxies(&mut self) {
        let config = &self.loaded.config;
        if !config.trusted_proxies.is_empty() || self.is_broken("trusted_proxies") {
            return;
        }
        for (field, on) in [("behind_proxy", config.behind_proxy), ("proxy_protocol", config.proxy_protocol)]
        {
            if on {
                let advice = "anyone can claim any address, REALTIME_TRUSTED_PROXIES names nobody";
                self.advise(field, advice.to_owned());
            }
        }
    }

    fn countries(&mut self) {
        let config = &self.loaded.config;
        if config.monitoring_security_geo_database.is_some()
            || self.is_broken("monitoring_security_geo_database")
        {
            return;
        }
        let lists = [
            ("monitoring_security_countries_allowed", &config.monitoring_security_countries_allowed),
            ("monitoring_security_countries_denied", &config.monitoring_security_countries_denied),
        ];
        for (field, _) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            self.advise(field, "has no effect without MONITORING_SECURITY_GEO_DATABASE".to_owned());
        }
    }

    fn certificate(&mut self) {
        let config = &self.loaded.config;
        match (&config.tls_cert, &config.tls_key) {
            (Some(_), None) if !self.is_broken("tls_key") => {
                self.require("tls_key", "the key of REALTIME_TLS_CERT");
            }
            (None, Some(_)) if !self.is_broken("tls_cert") => {
                self.require("tls_cert", "the certificate of REALTIME_TLS_KEY");
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }

    fn is_broken(&self, field: &str) -> bool {
        self.broken[names::field(field).0]
    }

    fn refuse(&mut self, field: &str, expected: String) {
        let (index, row) = names::field(field);
        if !self.broken[index] {
            let (value, origin) = (row.show(&self.loaded.config), self.loaded.origins.of(row).clone());
            self.errors.push(ConfigError::Value { name: row.name, value, origin, expected });
        }
    }

    fn require(&mut self, field: &str, expected: &'static str) {
        let name = names::field(field).1.name;
        self.errors.push(ConfigError::Missing { name, expected: expected.to_owned() });
    }

    fn advise(&mut self, field: &str, advice: String) {
        let (index, row) = names::field(field);
        if !self.broken[index] {
            let (value, origin) = (row.show(&self.loaded.config), self.loaded.origins.of(row).clone());
            self.warnings.push(Warning::Advice { name: row.name, value, origin, advice });
        }
    }

    fn refuse_unless_relaxed(&mut self, field: &str, expected: String) {
        if self.loaded.config.app_env.relaxed() {
            self.advise(field, format!("expected {expected}; taken because of APP_ENV"));
        } else {
            self.refuse(field, expected);
        }
    }
}

/// Too short for HMAC with SHA-256 (RFC 7518 §3.2), one character over and over, or copied from a page.
fn is_weak(secret: &Secret) -> bool {
    let secret = secret.expose();
    let first = secret.bytes().next();
    let plain: String =
        secret.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    secret.len() < SECRET_BYTES_MIN
        || secret.bytes().all(|byte| Some(byte) == first)
        || SAMPLE_SECRETS.iter().any(|sample| plain.contains(sample))
}

const SECRET_BYTES_MIN: usize = 32;

/// Pieces of secrets that documentation shows, letters and digits only.
const SAMPLE_SECRETS: [&str; 9] = [
    "yoursecretkey",
    "ultrasecuresecret",
    "your256bitsecret",
    "yoursupersecret",
    "yourjwtsecret",
    "changeme",
    "changethis",
    "replaceme",
    "secretkeyhere",
];

/// Served by the server itself.
const RESERVED_PATHS: [&str; 3] = ["/", "/health/live", "/health/ready"];
