//! A server that is asked over HTTP/1: by address or URL, within a deadline. Never follows what an answer says.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use highper_shards::Moment;

use crate::config::{Config, Host};

/// Whom to ask, and for what.
pub(super) struct Target {
    host: Host,
    port: u16,
    /// What is asked for.
    pub path: String,
}

/// An answer.
pub(super) struct Answered {
    /// The status.
    pub status: u16,
    /// What follows the head.
    pub body: Vec<u8>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(path) => write!(f, "unix:{}", path.display()),
            Host::Ip(IpAddr::V6(address)) => write!(f, "http://[{address}]:{}", self.port),
            Host::Ip(IpAddr::V4(address)) => write!(f, "http://{address}:{}", self.port),
            Host::Name(name) => write!(f, "http://{name}:{}", self.port),
        }
    }
}

impl Target {
    pub fn of_config(config: &Config) -> Self {
        let host = match &config.host {
            Host::Ip(IpAddr::V4(address)) if address.is_unspecified() => Host::Ip(Ipv4Addr::LOCALHOST.into()),
            Host::Ip(IpAddr::V6(address)) if address.is_unspecified() => Host::Ip(Ipv6Addr::LOCALHOST.into()),
            Host::Ip(_) | Host::Name(_) | Host::Unix(_) => config.host.clone(),
        };
        Self { host, port: config.port, path: "/health/live".to_owned() }
    }

    pub fn of_url(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            Some(_) | None => (authority, 80),
        };
        let host = Host::parse_text(host)?;
        let graphic = path.bytes().all(|byte| byte.is_ascii_graphic());
        let path = if path.is_empty() { "/health/live" } else { path };
        graphic.then(|| Self { host, port, path: path.to_owned() })
    }

    /// The status of the answer to a GET, within [`HEALTH_TIMEOUT`] whatever the other side does.
    pub fn status(&self) -> io::Result<u16> {
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", self.path);
        let answer = self.exchange(request.as_bytes(), Moment::now() + HEALTH_TIMEOUT, HEALTH_BYTES_MAX)?;
        status(&answer)
    }

    /// The answer to a POST of JSON, within [`CALL_TIMEOUT`]. HTTP/1.0, so that it comes in one piece.
    pub fn post(&self, key: Option<&str>, body: &str) -> io::Result<Answered> {
        let key = key.map_or_else(String::new, |key| format!("X-API-Key: {key}\r\n"));
        let request = format!(
            "POST {} HTTP/1.0\r\nHost: localhost\r\n{key}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            body.len(),
        );
        let answer = self.exchange(request.as_bytes(), Moment::now() + CALL_TIMEOUT, CALL_BYTES_MAX)?;
        let status = status(&answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let body = end.map_or_else(Vec::new, |end| answer[end + 4..].to_vec());
        Ok(Answered { status, body })
    }

    fn exchange(&self, request: &[u8], deadline: Moment, bytes_max: usize) -> io::Result<Vec<u8>> {
        let asked = Asked { request, deadline, bytes_max };
        match &self.host {
            Host::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                asked.talk(&stream, |left| {
                    stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)))
                })
            }
            Host::Ip(address) => asked.call((*address, self.port)),
            Host::Name(name) => asked.call((&**name, self.port)),
        }
    }
}

/// A request, and what its answer may take.
struct Asked<'r> {
    request: &'r [u8],
    deadline: Moment,
    bytes_max: usize,
}

impl Asked<'_> {
    fn call(&self, address: impl ToSocketAddrs) -> io::Result<Vec<u8>> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(self.deadline)?) {
                Ok(stream) => {
                    return self.talk(&stream, |left| {
                        stream
                            .set_read_timeout(Some(left))
                            .and_then(|()| stream.set_write_timeout(Some(left)))
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn talk<S>(&self, mut stream: S, limit: impl Fn(Duration) -> io::Result<()>) -> io::Result<Vec<u8>>
    where
        S: Read + Write,
    {
        limit(left(self.deadline)?)?;
        stream.write_all(self.request)?;
        // To the end, so that the close does not reset a server that is still sending.
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while answer.len() < self.bytes_max {
            match left(self.deadline).and_then(&limit).and_then(|()| stream.read(&mut chunk)) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if answer.len() >= STATUS_BYTES => break,
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }
}

fn status(answer: &[u8]) -> io::Result<u16> {
    answer
        .get(..STATUS_BYTES)
        .and_then(|line| std::str::from_utf8(line).ok())
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.get(2..)?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
}

fn left(deadline: Moment) -> io::Result<Duration> {
    let left = deadline.since(Moment::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

/// Container runtimes ask every few seconds and wait about as long.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// More than any health answer.
const HEALTH_BYTES_MAX: usize = 64 * 1024;

/// A person waits for the answer to a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// More than any answer of the server API.
const CALL_BYTES_MAX: usize = 64 * 1024 * 1024;
