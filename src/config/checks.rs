//! Checks that need more than one variable, and those that ask whether a value is wise. Never changes a value.

use super::error::{ConfigError, Warning};
use super::load::Loaded;
use super::names;
use super::row::Status;
use super::value::{CpuPolicy, Host, KeySource, Secret, UrlPath, Value};

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
    findings.rates();
    findings.proxies();
    findings.backends();
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
        if !self.loaded.config.auth_enabled {
            return;
        }
        if names::field("auth_enabled").1.status == Status::Later {
            let expected =
                "false: this release cannot authenticate, and serving everyone is not what was asked for";
            self.refuse_unless_relaxed("auth_enabled", expected.to_owned());
        }
        if self.is_broken("jwt_secret") || self.is_broken("jwt_algorithm") || self.is_broken("jwt_jwks") {
            return;
        }
        if self.loaded.config.jwt_jwks.is_some() {
            self.published_keys();
        } else {
            self.own_key();
        }
    }

    /// Keys that somebody else publishes: over a way that nobody can change, and for tokens that are for us.
    fn published_keys(&mut self) {
        let config = &self.loaded.config;
        let is_open = config.jwt_jwks.as_ref().is_some_and(KeySource::is_open_to_others);
        let (issuers, audiences) = (config.jwt_issuers.is_empty(), config.jwt_audiences.is_empty());
        if config.jwt_secret.is_some() {
            self.advise("jwt_secret", "has no effect, REALTIME_JWT_JWKS comes first".to_owned());
        }
        if is_open {
            let expected = "https: whoever is on the way could put a key of their own there".to_owned();
            self.refuse_unless_relaxed("jwt_jwks", expected);
        }
        if issuers {
            let advice = "REALTIME_JWT_ISSUERS names nobody: every issuer with a key there is believed";
            self.advise("jwt_jwks", advice.to_owned());
        }
        if audiences {
            let advice =
                "REALTIME_JWT_AUDIENCES is empty: tokens that were made for other services are taken";
            self.advise("jwt_jwks", advice.to_owned());
        }
    }

    /// The key that the configuration holds. Its kind is bound to the algorithm: a public key is no secret.
    fn own_key(&mut self) {
        let config = &self.loaded.config;
        let bytes_min = config.jwt_algorithm.secret_bytes_min();
        match &config.jwt_secret {
            None if config.app_env.relaxed() => {
                self.advise("jwt_secret", "without a key nobody can authenticate".to_owned());
            }
            None => self.require("jwt_secret", "a key, because REALTIME_AUTH_ENABLED=true"),
            Some(secret) => match (bytes_min, secret.expose().contains(PEM)) {
                (Some(_), true) => {
                    let name = config.jwt_algorithm;
                    let expected = format!("a secret, not a key in PEM, which {name} would take for one");
                    self.refuse("jwt_secret", expected);
                }
                (Some(bytes_min), false) if is_weak(secret, bytes_min) => {
                    let expected = format!("at least {bytes_min} bytes that are in no documentation");
                    self.refuse_unless_relaxed("jwt_secret", expected);
                }
                (None, false) => {
                    let expected = format!("a public key in PEM for {}", config.jwt_algorithm);
                    self.refuse("jwt_secret", expected);
                }
                (Some(_), false) | (None, true) => {}
            },
        }
    }

    fn tokens(&mut self) {
        let config = &self.loaded.config;
        if !config.jwt_verify_signature {
            let expected =
                "true unless APP_ENV is testing or local: anyone can write an unsigned token".to_owned();
            self.refuse_unless_relaxed("jwt_verify_signature", expected);
        }
        for (field, secret) in [
            ("api_key", &config.api_key),
            ("cluster_secret", &config.cluster_secret),
            ("webhook_secret", &config.webhook_secret),
        ] {
            if secret.as_ref().is_some_and(|secret| is_weak(secret, SECRET_BYTES_MIN)) {
                let expected = format!("at least {SECRET_BYTES_MIN} bytes that are in no documentation");
                self.refuse_unless_relaxed(field, expected);
            }
        }
    }

    /// A rate that somebody has set and nobody is held to.
    fn rates(&mut self) {
        if self.loaded.config.rate_limit_enabled || self.is_broken("rate_limit_enabled") {
            return;
        }
        let plain = super::Config::default();
        for row in super::ROWS.iter().filter(|row| row.field.starts_with("rate_limit_")) {
            let is_changed = row.show(&self.loaded.config) != row.show(&plain);
            if self.loaded.origins.is_set(row.field) && is_changed {
                self.advise(row.field, "has no effect without REALTIME_RATE_LIMIT_ENABLED=true".to_owned());
            }
        }
    }

    fn proxies(&mut self) {
        let config = &self.loaded.config;
        // Who comes by a socket file is believed without a list.
        let is_by_file = matches!(config.host, Host::Unix(_));
        if is_by_file || !config.trusted_proxies.is_empty() || self.is_broken("trusted_proxies") {
            return;
        }
        for (field, on) in [("behind_proxy", config.behind_proxy), ("proxy_protocol", config.proxy_protocol)]
        {
            if on {
                let advice = "nobody is believed, REALTIME_TRUSTED_PROXIES names no network";
                self.advise(field, advice.to_owned());
            }
        }
    }

    fn backends(&mut self) {
        let config = &self.loaded.config;
        for (field, url) in [
            ("hook_connect", &config.hook_connect),
            ("hook_subscribe", &config.hook_subscribe),
            ("webhook_url", &config.webhook_url),
        ] {
            if url.as_ref().is_some_and(|url| !url.is_web()) {
                self.refuse(field, "a URL that begins with http:// or https://".to_owned());
            }
        }
        if config.webhook_url.is_some()
            && config.webhook_secret.is_none()
            && !self.is_broken("webhook_secret")
        {
            let advice = "anyone can make webhooks up, they are not signed without REALTIME_WEBHOOK_SECRET";
            self.advise("webhook_url", advice.to_owned());
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

/// Too short, one character over and over, or copied from a page.
fn is_weak(secret: &Secret, bytes_min: usize) -> bool {
    let secret = secret.expose();
    let first = secret.bytes().next();
    let plain: String =
        secret.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    secret.len() < bytes_min
        || secret.bytes().all(|byte| Some(byte) == first)
        || SAMPLE_SECRETS.iter().any(|sample| plain.contains(sample))
}

/// As HMAC with SHA-256 needs (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// What a key in PEM begins with (RFC 7468 §2).
const PEM: &str = "-----BEGIN ";

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
