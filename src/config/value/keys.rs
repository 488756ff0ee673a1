//! Where the keys of tokens come from, and what their algorithms need. Never reads a key.

use std::path::PathBuf;

use super::{Bounds, JwtAlgorithm, Url, Value};

/// Where a set of keys is published (RFC 7517 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// At an address, http or https.
    Url(Url),
    /// In a file.
    File(PathBuf),
}

impl JwtAlgorithm {
    /// Bytes that a secret needs at least (RFC 7518 §3.2: as many as the hash has); `None` if the algorithm has a
    /// public and a private key.
    pub fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256
            | Self::Rs384
            | Self::Rs512
            | Self::Ps256
            | Self::Ps384
            | Self::Ps512
            | Self::Es256
            | Self::Es384
            | Self::EdDsa => None,
        }
    }
}

impl KeySource {
    /// Whether what comes from there could have been changed on the way: plain HTTP from another host.
    pub fn is_open_to_others(&self) -> bool {
        match self {
            Self::Url(url) => !url.has_scheme("https") && !url.is_loopback(),
            Self::File(_) => false,
        }
    }
}

impl Value for KeySource {
    fn expects(_: &Bounds) -> String {
        "the path of a file or https://host/path".to_owned()
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        if raw.contains("://") {
            let url = Url::parse(raw, bounds).filter(|url| url.has_scheme("https") || url.has_scheme("http"));
            return url.map(Self::Url);
        }
        PathBuf::parse(raw, bounds).map(Self::File)
    }

    fn show(&self) -> String {
        match self {
            Self::Url(url) => url.show(),
            Self::File(path) => path.show(),
        }
    }

    fn redacted(raw: &str) -> String {
        if raw.contains("://") { Url::redacted(raw) } else { raw.to_owned() }
    }

    fn exposes(raw: &str) -> bool {
        raw.contains("://") && Url::exposes(raw)
    }
}
