//! Addresses, paths, networks, origins and URLs. Never resolves a name and never opens a socket.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::secret::HIDDEN;
use super::{Bounds, Value, digits};

/// Where to listen or whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name to be resolved.
    Name(Box<str>),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Address or name.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// The path of a request: starts with `/`, no query, nothing that needs escaping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlPath(Box<str>);

/// A network: an address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// An origin (RFC 6454) that may ask: `*`, `https://example.com:8443` or `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(Box<str>);

/// A URL. Its user, password and query are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Box<str>);

impl Host {
    /// The host that a text names, if it names one.
    pub fn parse_text(raw: &str) -> Option<Self> {
        Self::parse(raw, &Bounds::ANY)
    }
}

impl UrlPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Cidr {
    /// Whether the address lies in the network. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl OriginPattern {
    /// Whether it allows what a browser sent as `Origin`: scheme, host and port, byte by byte; `*.` stands for one
    /// label or more.
    pub fn matches(&self, origin: &str) -> bool {
        let Some((scheme, rest)) = self.0.split_once("://*.") else {
            return self.is_any() || *self.0 == *origin;
        };
        let host = origin.strip_prefix(scheme).and_then(|origin| origin.strip_prefix("://"));
        let labels =
            host.and_then(|host| host.strip_suffix(rest)).and_then(|labels| labels.strip_suffix('.'));
        let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        labels.is_some_and(|labels| !labels.is_empty() && labels.bytes().all(is_label))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every origin may ask.
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }
}

impl Url {
    /// The URL with everything in it, for the one who connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it begins with this scheme.
    pub fn has_scheme(&self, name: &str) -> bool {
        self.0.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(name))
    }

    /// Whether its host is this machine, by `localhost` or by an address of the loopback.
    pub fn is_loopback(&self) -> bool {
        let host = Self::authority(&self.0).and_then(split_port).map(|(host, _)| host);
        host.is_some_and(|host| {
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
            let address = bare.parse::<IpAddr>();
            address.map_or(host.eq_ignore_ascii_case("localhost"), |address| {
                address.to_canonical().is_loopback()
            })
        })
    }

    /// Host and port of a URL, without the user and password before them.
    fn authority(raw: &str) -> Option<&str> {
        let (_, rest) = raw.split_once("://")?;
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }

    /// Whether it is one of the web, http or https.
    pub fn is_web(&self) -> bool {
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::redacted(&self.0))
    }
}

impl Value for Host {
    fn expects(_: &Bounds) -> String {
        "an IP address, a host name or unix:/absolute/path of at most 107 bytes".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        if let Some(path) = raw.strip_prefix("unix:") {
            let sound =
                Path::new(path).is_absolute() && path.len() <= SOCKET_PATH_MAX && !path.contains('\0');
            return sound.then(|| Self::Unix(path.into()));
        }
        let bare = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
        if let Ok(address) = bare.parse() {
            return Some(Self::Ip(address));
        }
        is_host_name(raw).then(|| Self::Name(raw.into()))
    }

    fn show(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Name(name) => name.to_string(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Value for HostPort {
    fn expects(_: &Bounds) -> String {
        "host:port".to_owned()
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        let (host, port) = raw.rsplit_once(':')?;
        let port = u16::try_from(digits(port)?).ok().filter(|port| *port != 0)?;
        // An IPv6 address needs brackets here, or its last group would be taken for the port.
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        (!bare_v6).then(|| Host::parse(host, bounds).map(|host| Self { host, port }))?
    }

    fn show(&self) -> String {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Host::Ip(IpAddr::V4(_)) | Host::Name(_) | Host::Unix(_) => {
                format!("{}:{}", self.host.show(), self.port)
            }
        }
    }
}

impl Value for UrlPath {
    fn expects(_: &Bounds) -> String {
        "a path that starts with / and has no query, blank or %-escape, at most 255 bytes".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let sound =
            raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte));
        let dots = raw.split('/').any(|segment| segment == "." || segment == "..");
        (raw.starts_with('/') && raw.len() <= 255 && sound && !dots).then(|| Self(raw.into()))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Cidr {
    fn expects(_: &Bounds) -> String {
        "an address or a network such as 10.0.0.0/8 or fd00::/8, without bits beyond the prefix".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let (address, prefix) = match raw.split_once('/') {
            Some((address, prefix)) => (address, Some(u8::try_from(digits(prefix)?).ok()?)),
            None => (raw, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (width, trailing) = match address {
            IpAddr::V4(address) => (32, address.to_bits().trailing_zeros()),
            IpAddr::V6(address) => (128, address.to_bits().trailing_zeros()),
        };
        let prefix = prefix.unwrap_or(width);
        let clean = prefix <= width && u32::from(width - prefix) <= trailing;
        clean.then_some(Self { address, prefix })
    }

    fn show(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}

impl Value for OriginPattern {
    fn expects(_: &Bounds) -> String {
        "* or scheme://host[:port] without a path, the host may start with *.".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let lower = raw.to_ascii_lowercase();
        if lower == "*" {
            return Some(Self(lower.into()));
        }
        let (scheme, authority) = lower.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let host = host.strip_prefix("*.").unwrap_or(host);
        let sound = is_scheme(scheme) && port.is_none_or(|port| port != 0) && is_authority_host(host);
        sound.then(|| Self(lower.as_str().into()))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Url {
    fn expects(_: &Bounds) -> String {
        "a URL such as scheme://host:port/path".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let (scheme, _) = raw.split_once("://")?;
        let (host, _) = split_port(Self::authority(raw)?)?;
        let sound =
            is_scheme(scheme) && is_authority_host(host) && raw.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(raw.into()))
    }

    fn show(&self) -> String {
        Self::redacted(&self.0)
    }

    // Works on text that may be no URL at all, or a list of them: what stands before the last @ goes.
    fn redacted(raw: &str) -> String {
        let (shown, query) = raw.split_once('?').map_or((raw, false), |(before, _)| (before, true));
        let scheme = shown.split_once("://").map_or("", |(scheme, _)| scheme);
        let mut text = match raw.rfind('@') {
            Some(_) if !is_scheme(scheme) => HIDDEN.to_owned(),
            Some(at) if at < shown.len() => format!("{scheme}://{HIDDEN}{}", &shown[at..]),
            Some(_) => format!("{scheme}://{HIDDEN}"),
            None => shown.to_owned(),
        };
        if query {
            text.push('?');
            text.push_str(HIDDEN);
        }
        text
    }

    fn exposes(raw: &str) -> bool {
        raw.contains(['@', '?'])
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// RFC 1123 §2.1 with underscores, which container networks use. An all-digit last label would be a bad address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_authority_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<std::net::Ipv4Addr>().is_ok() || is_host_name(host),
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, Some(u16::try_from(digits(port)?).ok()?))),
        Some(_) | None => Some((authority, None)),
    }
}

/// `sun_path` holds 108 bytes with its terminating NUL.
const SOCKET_PATH_MAX: usize = 107;
