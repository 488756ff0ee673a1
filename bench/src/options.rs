//! The command line: every option with its unit and its limits. Raw text becomes a type here, once; nothing
//! behind it checks again.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load generator for real-time servers.
#[derive(Debug, Parser)]
#[command(name = "realtime-bench", version, about)]
pub struct Cli {
    /// What to do to the server.
    #[command(subcommand)]
    pub command: Command,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Messages that come back: each connection keeps some in flight, or all together keep a rate.
    Echo(Echo),
    /// One publisher, many subscribers: is everything delivered once, in order, and how soon?
    Fanout(Fanout),
    /// Fan-out to subscribers of Server-Sent Events, published by HTTP.
    Sse(Sse),
    /// Publications by HTTP, pipelined: how many a second, and what each costs the server.
    Publish(Publish),
    /// Connections that only exist: bytes of the server and of the kernel for each.
    Idle(Idle),
    /// Handshakes: how many a second, and what each costs the server.
    Connect(Connect),
}

/// Options of every scenario.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The server: `ws://host[:port]/path`, http:// where the scenario speaks HTTP.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/echo", value_parser = Target::parse)]
    pub url: Target,
    /// Process of the server, or all of them with commas; processor time and memory are read from /proc.
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Core all threads of the generator run on; keep the server off it.
    #[arg(long, value_name = "CORE")]
    pub cpu: Option<u16>,
    /// Threads of the generator, each with a ring and a descriptor table of its own.
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub shards: NonZeroU16,
    /// Source addresses 127.0.0.1, 127.0.0.2, … for a loopback server; as many as the ports need if not given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: Option<u8>,
    /// How the generator talks to the kernel.
    #[arg(long, value_enum, default_value = "auto")]
    pub driver: Driver,
    /// Handshakes under way at once.
    #[arg(long, value_name = "COUNT", default_value = "128")]
    pub in_flight: NonZeroU32,
    /// How long a handshake or an answer may take: a number with s, ms or m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub timeout: Duration,
    /// Token sent as Authorization: Bearer with WebSocket handshakes and for event streams; @FILE has one in each
    /// line, which connections take in turn.
    #[arg(long, value_name = "TOKEN|@FILE", default_value = "", hide_default_value = true, value_parser = Tokens::parse)]
    pub token: Tokens,
    /// Also write the figures as JSON: a file, or - for standard output instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

/// The measured window of scenarios with traffic.
#[derive(Clone, Debug, Args)]
pub struct Window {
    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub duration: Duration,
    /// How long to load the server before that.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span)]
    pub warmup: Duration,
}

/// Options of `echo`.
#[derive(Clone, Debug, Args)]
pub struct Echo {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub window: Window,
    /// Connections.
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub connections: NonZeroU32,
    /// Messages each connection has in flight; those of one turn are sent together.
    #[arg(long, value_name = "COUNT", default_value = "1", conflicts_with = "rate")]
    pub depth: NonZeroU16,
    /// Messages a second of all connections, whatever the server does: latency counts from when each was due.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,
    /// Payload bytes.
    #[arg(long, value_name = "BYTES", default_value = "20", value_parser = clap::value_parser!(u32).range(0..=16 << 20))]
    pub size: u32,
    /// Send binary messages instead of text.
    #[arg(long)]
    pub binary: bool,
}

/// Options of `fanout`.
#[derive(Clone, Debug, Args)]
pub struct Fanout {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub window: Window,
    /// Subscribers; the publisher comes on top.
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub connections: NonZeroU32,
    /// Publications in flight: the next one leaves when every subscriber has the one that many before.
    #[arg(long, value_name = "COUNT", default_value = "1", conflicts_with = "rate")]
    pub depth: NonZeroU16,
    /// Publications a second, whatever the server does: latency counts from when each was due.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,
    /// Bytes of a publication, at least 48: sender, number and time are written into it.
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = clap::value_parser!(u32).range(48..=16 << 20))]
    pub size: u32,
    /// native: join and publish as JSON texts on one URL. topic: connecting to the URL subscribes, and what is
    /// sent to the publish URL is delivered as it came.
    #[arg(long, value_enum, default_value = "native")]
    pub protocol: Protocol,
    /// Channel of the native protocol.
    #[arg(long, value_name = "NAME", default_value = "bench", value_parser = channel)]
    pub channel: String,
    /// Path the publisher of the topic protocol connects to.
    #[arg(long, value_name = "PATH", default_value = "/publish", value_parser = path)]
    pub publish_path: String,
}

/// Options of `sse`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("url", |url| http(url, "http://127.0.0.1:8080/sse?channel=bench")))]
pub struct Sse {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub language: Language,
    /// Where publications go.
    #[arg(long, value_name = "URL", default_value = PUBLISH_URL, value_parser = Target::parse_http)]
    pub publish_url: Target,
    /// Subscribers; the publisher comes on top.
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub connections: NonZeroU32,
    /// Publications in flight: the next one leaves when every subscriber has the one that many before.
    #[arg(long, value_name = "COUNT", default_value = "1", conflicts_with = "rate")]
    pub depth: NonZeroU16,
    /// Publications a second, whatever the server does: latency counts from when each was due.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<NonZeroU32>,
    /// Bytes of a publication, at least 48: sender, number and time are written into it.
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = clap::value_parser!(u32).range(48..=1 << 19))]
    pub size: u32,
}

/// Options of `publish`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("url", |url| http(url, PUBLISH_URL)))]
pub struct Publish {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub language: Language,
    /// Connections.
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub connections: NonZeroU32,
    /// Publications each connection has in flight; those of one turn are sent together.
    #[arg(long, value_name = "COUNT", default_value = "16")]
    pub depth: NonZeroU16,
    /// Channels, taken in turn: the one of --channel, then its name with -1, -2, ….
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub channels: NonZeroU16,
    /// Bytes of a publication, at least 16: its number is written into it.
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = clap::value_parser!(u32).range(16..=1 << 19))]
    pub size: u32,
}

/// How a publication by HTTP is said.
#[derive(Clone, Debug, Args)]
pub struct Language {
    /// realtime: a JSON body names the channel. nchan: the body is the payload, the URL ends with the channel.
    #[arg(long, value_enum, default_value = "realtime")]
    pub publish_format: Format,
    /// Channel that is published to; in the nchan format it is appended to the URL.
    #[arg(long, value_name = "NAME", default_value = "bench", value_parser = channel)]
    pub channel: String,
    /// Key sent as X-API-Key.
    #[arg(long, value_name = "KEY", value_parser = channel)]
    pub api_key: Option<String>,
}

/// Where the server API of ours is.
const PUBLISH_URL: &str = "http://127.0.0.1:8080/api/publish";

/// The server of a scenario that speaks HTTP.
fn http(url: clap::Arg, default: &'static str) -> clap::Arg {
    url.default_value(default).value_parser(Target::parse_http)
}

/// Options of `idle`.
#[derive(Clone, Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    /// Connections.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub connections: NonZeroU32,
    /// Connections opened before the first reading, so that start-up costs are not counted.
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub before: u32,
    /// Channel each connection joins in the native protocol.
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    pub join: Option<String>,
    /// How long to hold them before the last reading.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub hold: Duration,
}

/// Options of `connect`.
#[derive(Clone, Debug, Args)]
pub struct Connect {
    #[command(flatten)]
    pub common: Common,
    /// Handshakes to measure.
    #[arg(long, value_name = "COUNT", default_value = "20000")]
    pub count: NonZeroU32,
    /// Handshakes before that.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub before: u32,
    /// What becomes of a connection once it is open.
    #[arg(long, value_enum, default_value = "handshake")]
    pub close: Closing,
}

/// How the generator talks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// io_uring, or epoll where that is forbidden.
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// The language of the fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The native dialect.
    Native,
    /// Two paths, no language: what the peers in compare/ implement.
    Topic,
}

/// The language of publications by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The server API of ours, which is that of Centrifugo.
    Realtime,
    /// The publisher location of nginx with nchan.
    Nchan,
}

/// What becomes of a connection of `connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Closing {
    /// A close frame, answered by the server.
    Handshake,
    /// The socket is closed without a word.
    Abrupt,
    /// It stays open until the end.
    Keep,
}

/// What connections prove who they are with: values of Authorization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Arc<[String]>);

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What was asked for.
    pub url: String,
    /// Host and port for the Host header.
    pub host: String,
    /// The path with its query.
    pub path: String,
    /// Where to connect.
    pub address: SocketAddr,
}

/// Why a URL is none we can use.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// Another scheme.
    #[error("expected {0}host[:port]/path (TLS is not offered)")]
    Scheme(&'static str),
    /// The path has bytes a request line cannot carry.
    #[error("the path has a space, a control character or a fragment")]
    Path,
    /// The name is not known or the port is no number.
    #[error("cannot resolve {0}")]
    Resolve(String),
}

impl Target {
    /// Reads the URL of a WebSocket and resolves its host.
    pub fn parse(url: &str) -> Result<Self, BadTarget> {
        Self::parse_with("ws://", url)
    }

    /// The same of an HTTP server.
    pub fn parse_http(url: &str) -> Result<Self, BadTarget> {
        Self::parse_with("http://", url)
    }

    fn parse_with(scheme: &'static str, url: &str) -> Result<Self, BadTarget> {
        let rest = url.strip_prefix(scheme).ok_or(BadTarget::Scheme(scheme))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let path = self::path(path).map_err(|_| BadTarget::Path)?;
        let with_port =
            if host.ends_with(']') || !host.contains(':') { format!("{host}:80") } else { host.into() };
        let resolved = with_port.to_socket_addrs().ok().and_then(|mut found| found.next());
        let address = resolved.ok_or_else(|| BadTarget::Resolve(host.to_owned()))?;
        Ok(Self { url: url.to_owned(), host: host.to_owned(), path, address })
    }
}

impl Common {
    /// Source addresses for `connections`: `None` leaves the choice to the kernel.
    pub fn source_addresses(&self, connections: u32) -> Option<Vec<Ipv4Addr>> {
        let SocketAddr::V4(address) = self.url.address else { return None };
        if !address.ip().is_loopback() {
            return None;
        }
        let needed = connections.div_ceil(SOURCE_CONNECTIONS_MAX).min(250) as u8;
        let count = self.sources.unwrap_or(needed);
        (count > 1).then(|| (1..=count).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect())
    }
}

impl Tokens {
    /// One token, or @ and a file of them; nothing is none.
    fn parse(raw: &str) -> Result<Self, String> {
        let text = match raw.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?,
            None => raw.to_owned(),
        };
        if !text.lines().all(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("expected printable ASCII characters without space".to_owned());
        }
        Ok(Self(text.lines().map(|token| format!("Bearer {token}")).collect()))
    }

    /// The value of Authorization for the connection with this number, if there are tokens.
    pub fn authorization(&self, number: usize) -> Option<&str> {
        self.0.get(number % self.0.len().max(1)).map(String::as_str)
    }
}

/// Connections from one source address: the ephemeral ports are 28,232 by default and some are in TIME-WAIT.
const SOURCE_CONNECTIONS_MAX: u32 = 16_000;

/// A span of time: `500ms`, `10s`, `2m`; a bare number is seconds.
fn span(raw: &str) -> Result<Duration, String> {
    let digits = raw.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match &raw[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err("expected a number with s, ms or m".to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a number with s, ms or m".to_owned())?;
    let span = Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())?;
    if span > SPAN_MAX { Err("expected at most a day".to_owned()) } else { Ok(span) }
}

const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// A path that can stand in a request line.
fn path(raw: &str) -> Result<String, String> {
    let good = raw.starts_with('/') && raw.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if good {
        Ok(raw.to_owned())
    } else {
        Err("expected a path that begins with / and has no space".to_owned())
    }
}

/// A channel name that needs no escaping in JSON.
fn channel(raw: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=255).contains(&raw.len()) && raw.bytes().all(good) {
        return Ok(raw.to_owned());
    }
    Err("expected 1 to 255 printable ASCII characters without space, quote or backslash".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &str) -> String {
        let words = ["realtime-bench"].into_iter().chain(arguments.split(' '));
        Cli::try_parse_from(words).expect_err(arguments).to_string()
    }

    #[test]
    fn an_argument_error_names_the_option() {
        for (arguments, option) in [
            ("echo --url http://127.0.0.1/", "--url"),
            ("echo --url ws://127.0.0.1:x/", "--url"),
            ("echo --connections 0", "--connections"),
            ("echo --depth 0", "--depth"),
            ("echo --size 16777217", "--size"),
            ("echo --duration soon", "--duration"),
            ("echo --warmup=-1s", "--warmup"),
            ("echo --shards 0", "--shards"),
            ("echo --depth 2 --rate 5", "--depth"),
            ("fanout --size 47", "--size"),
            ("fanout --protocol mqtt", "--protocol"),
            ("fanout --channel a\"b", "--channel"),
            ("fanout --publish-path publish", "--publish-path"),
            ("sse --url ws://127.0.0.1/sse", "--url"),
            ("sse --publish-url 127.0.0.1", "--publish-url"),
            ("sse --publish-format xml", "--publish-format"),
            ("sse --depth 2 --rate 5", "--depth"),
            ("sse --size 47", "--size"),
            ("publish --url ws://127.0.0.1/", "--url"),
            ("publish --depth 0", "--depth"),
            ("publish --size 15", "--size"),
            ("publish --channels 0", "--channels"),
            ("publish --api-key a\nb", "--api-key"),
            ("echo --server-pid 1,x", "--server-pid"),
            ("idle --hold 25000m", "--hold"),
            ("idle --join é", "--join"),
            ("connect --close never", "--close"),
            ("connect --driver iocp", "--driver"),
            ("connect --sources 0", "--sources"),
            ("connect --token a\tb", "--token"),
            ("connect --token @/nowhere/at/all", "--token"),
        ] {
            let text = refused(arguments);
            assert!(text.contains(option), "{arguments}: {text}");
        }
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(span("1.5"), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn a_url_is_split_into_what_the_request_needs() {
        let target = Target::parse("ws://127.0.0.1:9001/a?b=c").unwrap();
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:9001", "/a?b=c"));
        let target = Target::parse("ws://[::1]").unwrap();
        assert_eq!((target.path.as_str(), target.address.port()), ("/", 80));
    }

    #[test]
    fn connections_take_tokens_in_turn() {
        let tokens = Tokens::parse("one\ntwo\n").unwrap();
        let shown: Vec<_> = (0..3).map(|number| tokens.authorization(number)).collect();
        assert_eq!(shown, [Some("Bearer one"), Some("Bearer two"), Some("Bearer one")]);
        assert_eq!(Tokens::parse("").unwrap().authorization(5), None);
    }

    #[test]
    fn sources_grow_with_the_connections() {
        let words = ["realtime-bench", "idle"];
        let Command::Idle(idle) = Cli::try_parse_from(words).unwrap().command else {
            panic!("idle was asked")
        };
        assert_eq!(idle.common.source_addresses(16_000), None);
        assert_eq!(idle.common.source_addresses(16_001).map(|all| all.len()), Some(2));
    }
}
