//! The one way to call other servers over HTTP and HTTPS: who is believed, how long an answer may take, what is never
//! done. Blocks the thread that calls, so no shard does. Never decides whom to call.
//!
//! Redirects are not followed (whoever answers cannot send us elsewhere), proxies of the environment are not used,
//! TLS is 1.2 or 1.3 by aws-lc. A status such as 404 is an answer, not an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::config::Config;

/// Why nobody can be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// REALTIME_HOOK_CA_FILE cannot be read.
    #[error("REALTIME_HOOK_CA_FILE={path}: cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// REALTIME_HOOK_CA_FILE holds no certificate, or one that is broken.
    #[error("REALTIME_HOOK_CA_FILE={path}: {what}; expected certificates in PEM", path = .path.display())]
    NoCertificate {
        /// As configured.
        path: PathBuf,
        /// What was found instead.
        what: &'static str,
    },
}

/// An agent that answers within `timeout` or fails: everything from the name's resolution to the last byte of the
/// body counts. Clones share its connections; as many stay open to a host as REALTIME_HOOK_CONCURRENCY asks at once.
///
/// Whoever reads a body sets a limit of its own (`body_mut().with_config().limit(…)`).
///
/// # Errors
/// REALTIME_HOOK_CA_FILE cannot be used.
pub fn agent(config: &Config, timeout: Duration) -> Result<ureq::Agent, OutboundError> {
    let roots = match &config.hook_ca_file {
        None => RootCerts::WebPki,
        Some(path) => RootCerts::new_with_certs(&certificates(path)?),
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(roots)
        .build();
    let idle_max = usize::from(config.hook_concurrency);
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_idle_connections(idle_max)
        .max_idle_connections_per_host(idle_max)
        .user_agent(concat!("highper-realtime/", env!("CARGO_PKG_VERSION")));
    Ok(agent.build().new_agent())
}

/// The certificates of a file, all of them sound: one that is left out in silence is an outage later.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, OutboundError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CA_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|source| OutboundError::Unreadable { path: path.to_owned(), source })?;
    let refuse = |what| Err(OutboundError::NoCertificate { path: path.to_owned(), what });
    if text.len() as u64 > CA_BYTES_MAX {
        return refuse("larger than 4 MiB");
    }
    let mut store = RootCertStore::empty();
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => {
                if store.add(CertificateDer::from(certificate.der())).is_err() {
                    return refuse("a certificate that is none");
                }
                found.push(certificate);
            }
            // What else stands in the file, such as a key, is no business of ours; the enum is not ours either.
            Ok(_) => {}
            Err(_) => return refuse("no PEM"),
        }
    }
    if found.is_empty() { refuse("no certificate") } else { Ok(found) }
}

/// A bundle of the whole web is about 250 KiB.
const CA_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_the_name_of_its_variable() {
        let path = std::env::temp_dir().join(format!("realtime-outbound-{}", std::process::id()));
        let config = Config { hook_ca_file: Some(path.clone()), ..Config::default() };
        let told =
            |config: &Config| agent(config, Duration::from_secs(1)).err().map(|error| error.to_string());
        let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for (text, what) in [("", "no certificate"), ("hello", "no certificate"), (broken, "that is none")] {
            std::fs::write(&path, text).unwrap();
            let told = told(&config).unwrap();
            assert!(told.starts_with("REALTIME_HOOK_CA_FILE=") && told.contains(what), "{told}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(told(&config).unwrap().contains("cannot be read"));
        assert_eq!(told(&Config::default()), None);
    }
}
