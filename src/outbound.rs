//! Requests that this server sends: one agent with fixed rules, and answers of bounded size. Never called on a data
//! shard: it blocks its thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::http::HeaderValue;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::{Config, Secret, Url};

/// Why a request has no answer. Never holds a URL: it may be secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// REALTIME_HOOK_CA_FILE cannot be read.
    #[error("REALTIME_HOOK_CA_FILE={}: {source}", path.display())]
    CaFile {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// REALTIME_HOOK_CA_FILE holds no certificate, or something that is none.
    #[error("REALTIME_HOOK_CA_FILE={}: expected certificates as PEM, {what}", path.display())]
    Certificates {
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The answer did not come in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is longer than who asked reads.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// There was no exchange, or it broke.
    #[error("{0}")]
    Failed(String),
}

impl From<ureq::Error> for OutboundError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Timeout,
            ureq::Error::BadUri(_) => Self::Failed("the URL is none to ask".to_owned()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// An agent whose exchanges take `timeout` at most, from looking up the name to the last byte of the answer. It
/// believes the web's certificates or those of REALTIME_HOOK_CA_FILE, follows no redirect, asks no proxy, and takes
/// every status for an answer.
///
/// # Errors
/// REALTIME_HOOK_CA_FILE cannot be read or holds no certificates.
pub fn agent(config: &Config, timeout: Duration) -> Result<Agent, OutboundError> {
    let roots = match &config.hook_ca_file {
        Some(path) => roots(path)?,
        None => RootCerts::WebPki,
    };
    // Given here, so that an embedder may have another provider as the default of its process.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
    let rules = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("highper-realtime/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_connections(IDLE_MAX)
        .max_idle_connections_per_host(IDLE_MAX)
        .max_idle_age(IDLE_AGE_MAX);
    Ok(rules.build().into())
}

/// Reads the body of an answer, `bytes_max` bytes at most.
///
/// # Errors
/// It is longer, or did not come whole and in time.
pub(crate) fn read(
    response: ureq::http::Response<ureq::Body>,
    bytes_max: usize,
) -> Result<Vec<u8>, OutboundError> {
    match response.into_body().into_with_config().limit(bytes_max as u64).read_to_vec() {
        Ok(body) => Ok(body),
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(OutboundError::TooLong(bytes_max)),
        Err(error) => Err(error.into()),
    }
}

/// Where JSON is posted to. Cloning shares its connections.
#[derive(Clone)]
pub(crate) struct Backend {
    agent: Agent,
    url: Secret,
    /// Basic, of the user and password that the URL holds.
    authorization: Option<Secret>,
}

impl Backend {
    /// A backend at a URL.
    pub(crate) fn new(agent: Agent, url: &Url) -> Self {
        let (url, credentials) = split_credentials(url.expose());
        let basic = |credentials| Secret::new(&format!("Basic {}", STANDARD.encode(decoded(credentials))));
        Self { agent, url: Secret::new(&url), authorization: credentials.map(basic) }
    }

    /// Posts a body and waits for the answer: its status and its body. Fields that belong to the exchange itself,
    /// and those that are no fields of HTTP, are left out.
    ///
    /// # Errors
    /// There was no whole answer within `timeout`, or its body is over `bytes_max`.
    pub(crate) fn post(
        &self,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), OutboundError> {
        let request = self.agent.post(self.url.expose()).header("Content-Type", "application/json");
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization.expose()),
            None => request,
        };
        let passed = headers.iter().filter(|(name, _)| self.passes(name));
        let request = passed.fold(request, |request, (name, value)| {
            // What a client sent must not be able to break the exchange: a breaker would count it.
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) => request.header(*name, value),
                Err(_) => request,
            }
        });
        let exchange = || {
            let response = request.config().timeout_global(Some(timeout)).build().send(body)?;
            Ok((response.status().as_u16(), read(response, bytes_max)?))
        };
        // The thread of a hook must outlive whatever an answer does to the code that reads it.
        let outcome = catch_unwind(AssertUnwindSafe(exchange));
        outcome.unwrap_or_else(|_| Err(OutboundError::Failed("the exchange panicked".to_owned())))
    }

    fn passes(&self, name: &str) -> bool {
        let is_ours = EXCHANGE_FIELDS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        let is_taken = self.authorization.is_some() && name.eq_ignore_ascii_case("authorization");
        !is_ours && !is_taken
    }
}

/// A URL without its user and password, and these.
fn split_credentials(url: &str) -> (String, Option<&str>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rsplit_once('@') {
        Some((credentials, host)) => (format!("{scheme}://{host}{}", &rest[authority..]), Some(credentials)),
        None => (url.to_owned(), None),
    }
}

/// Bytes of a text with percent-encoding (RFC 3986 §2.1); what is no encoding stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        let byte =
            code.filter(|code| !code.starts_with('+')).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// The certificates of a file, each looked at: one that is none would be passed over without a word.
fn roots(path: &Path) -> Result<RootCerts, OutboundError> {
    let bytes =
        std::fs::read(path).map_err(|source| OutboundError::CaFile { path: path.to_owned(), source })?;
    let bad = |what: String| OutboundError::Certificates { path: path.to_owned(), what };
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    let mut judge = RootCertStore::empty();
    for item in parse_pem(&bytes) {
        let PemItem::Certificate(certificate) = item.map_err(|error| bad(error.to_string()))? else {
            continue;
        };
        judge.add(certificate.der().to_vec().into()).map_err(|error| bad(error.to_string()))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(bad("there is none".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// Fields of the exchange with the backend, which a client's must not replace (RFC 9110 §7.6.1 and its kin).
const EXCHANGE_FIELDS: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connections kept open to be used again.
const IDLE_MAX: usize = 64;

/// Shorter than what common servers keep an idle connection (Node.js: 5 s), so that none closes what is just used.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_leave_the_url() {
        let split = |url| split_credentials(url);
        assert_eq!(split("http://h/p@q"), ("http://h/p@q".to_owned(), None));
        assert_eq!(split("http://u:p@h:1/x?a=b@c"), ("http://h:1/x?a=b@c".to_owned(), Some("u:p")));
        assert_eq!(split("https://u:a@b@h"), ("https://h".to_owned(), Some("u:a@b")));
        assert_eq!(decoded("u:p%40q%zz%4"), b"u:p@q%zz%4");
    }

    #[test]
    fn a_file_of_certificates_holds_certificates_only() {
        let folder = std::env::temp_dir().join(format!("realtime-outbound-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let tell = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let config = Config { hook_ca_file: Some(path), ..Config::default() };
            agent(&config, Duration::from_secs(1)).unwrap_err().to_string()
        };
        assert!(tell("empty", "").ends_with("expected certificates as PEM, there is none"));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(tell("junk", junk).contains("expected certificates as PEM"));
        let config = Config { hook_ca_file: Some(folder.join("missing")), ..Config::default() };
        assert!(matches!(agent(&config, Duration::from_secs(1)), Err(OutboundError::CaFile { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
