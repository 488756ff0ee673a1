//! Clients that others wrote talk to the server over two shards, on both drivers: tungstenite, `websockets` for
//! Python, `ws` for Node, and Chromium on the demo page; of streams and the API: curl, nginx, HAProxy, EventSource of
//! Chromium and of npm, `httpx-sse`, and the SDK `cent`. What is checked is in `tests/interop/`, one file a client.
#![allow(clippy::print_stdout, reason = "a failed test shows how far it came")]

#[path = "interop/haproxy.rs"]
mod haproxy;
#[path = "interop/http_clients.rs"]
mod http_clients;
#[path = "common/process.rs"]
mod process;
#[path = "interop/rust_client.rs"]
mod rust_client;
#[path = "common/server.rs"]
mod server;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use haproxy::Haproxy;
use highper_realtime::config::{Bounds, Value};
use highper_realtime::{Config, Endpoint, Server};
use highper_shards::Moment;
use http_clients::Nginx;
use process::Process;
use rustix::net::{AddressFamily, SocketType};
use server::TestServer;

#[test]
fn tungstenite() {
    each_driver(|server| {
        for (name, check) in rust_client::CHECKS {
            println!("{name}");
            check(server.address());
        }
        assert_ends_well(server);
    });
}

#[test]
fn websockets_for_python() {
    let python = installed().join("python/bin/python");
    each_driver(|server| {
        let mut script = Command::new(&python);
        script.args(["-B", "python_client.py", &url(server)]);
        assert_passes(&mut script, || unreachable!("only the page's checks restart the server"));
        assert_ends_well(server);
    });
}

#[test]
fn ws_for_node() {
    installed();
    each_driver(|server| {
        let mut script = Command::new("node");
        script.args(["node_client.mjs", &url(server)]);
        assert_passes(&mut script, || unreachable!("only the page's checks restart the server"));
        assert_ends_well(server);
    });
}

#[test]
fn two_tabs_of_chromium() {
    installed();
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    for driver in DRIVERS {
        let mut server = start(driver, 0);
        let mut script = Command::new("node");
        script.args(["browser.mjs", &url(&server)]).arg(screenshots.join(driver)).arg("--restart");
        assert_passes(&mut script, || restart(&mut server, driver));
        assert_ends_well(&mut server);
    }
}

#[test]
fn curl_alone_and_through_nginx() {
    installed();
    for driver in DRIVERS {
        let mut server = start(driver, 0);
        http_clients::streams_and_calls(server.address(), server.address());
        http_clients::resumes(server.address(), server.address());
        assert_ends_well(&mut server);
        let mut server = start(driver, 0);
        let nginx = Nginx::before(server.address(), driver);
        http_clients::streams_and_calls(nginx.address(), server.address());
        http_clients::resumes(nginx.address(), server.address());
        drop(nginx);
        assert_ends_well(&mut server);
    }
}

/// Every way in which HAProxy names its client, and the health checks with which it names nobody.
#[test]
fn haproxy_names_its_clients() {
    installed();
    let checked = " option httpchk GET /health/live";
    let by_header = [
        ("send-proxy", ""),
        ("send-proxy-v2", ""),
        ("send-proxy-v2 proxy-v2-options crc32c,unique-id", " unique-id-format %[uuid()]"),
        ("send-proxy-v2 check check-send-proxy inter 100ms", checked),
    ];
    let by_field = [("", " mode http\n option forwardfor")];
    server::each_driver(|driver| {
        for (ways, is_header) in [(&by_header[..], true), (&by_field[..], false)] {
            let change = |config: &mut Config| {
                config.trusted_proxies = Value::parse("127.0.0.1", &Bounds::ANY).expect("it is a network");
                (config.proxy_protocol, config.behind_proxy) = (is_header, !is_header);
            };
            let tell = Endpoint::sse("/where").on_connect(|conn| {
                let address = conn.address();
                conn.send(address)
            });
            let server = TestServer::with(driver, change, |server| server.endpoint(tell));
            let haproxy = Haproxy::before(server.address(), &format!("{driver:?}-{is_header}"), ways);
            for way in 0..ways.len() {
                let [v4, v6] = haproxy.addresses(way);
                for host in 2..=9 {
                    assert_is_seen(v4, IpAddr::from([127, 0, host, way as u8 + 1]));
                }
                assert_is_seen(v6, "::1".parse().expect("it is an address"));
            }
            let proxied = server.sum(|shard| shard.counters.proxied);
            assert_eq!(proxied > 0, is_header);
            if is_header {
                let more = |server: &TestServer| server.sum(|shard| shard.counters.proxied) > proxied + 2;
                let deadline = Moment::now() + Duration::from_secs(20);
                while !more(&server) {
                    assert!(Moment::now() < deadline, "health checks come by themselves");
                    std::thread::yield_now();
                }
            }
            assert_eq!(server.sum(|shard| shard.counters.proxy_errors), 0);
            drop(haproxy);
            server.stop(Duration::from_secs(5));
        }
    });
}

/// The server sees a client that comes from this address through a proxy.
fn assert_is_seen(proxy: SocketAddr, from: IpAddr) {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket can be made");
    rustix::net::bind(&socket, &SocketAddr::new(from, 0)).expect("the whole of 127.0.0.0/8 is this host");
    rustix::net::connect(&socket, &proxy).expect("the proxy listens");
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket has options");
    client.write_all(b"GET /where HTTP/1.1\r\nHost: h\r\n\r\n").expect("the proxy takes it");
    let expected = format!("data: \"{from}\"\n");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(&expected) {
        let count = client.read(&mut buffer).unwrap_or_else(|error| panic!("{from}: {error} after {text}"));
        assert!(count > 0 && !text.contains("data:"), "{from} through {proxy}: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[test]
fn httpx_sse_for_python() {
    let python = installed().join("python/bin/python");
    each_driver(|server| {
        let mut script = Command::new(&python);
        script.args(["-B", "sse_client.py", &url(server)]);
        assert_passes(&mut script, || unreachable!("it needs no other server"));
        assert_ends_well(server);
    });
}

/// Users are the embedder's to name: this server is inside the test.
#[test]
fn cent_for_python() {
    let python = installed().join("python/bin/python");
    server::each_driver(|driver| {
        let change = |config: &mut Config| {
            config.history_size = 1000;
            config.presence = true;
            config.api_key = Value::parse("interop-key", &Bounds::ANY);
        };
        let of = |user: &'static str| {
            Endpoint::channel_events(format!("/{user}")).on_connect(move |conn| {
                conn.set_info(serde_json::json!({ "tab": true }))?;
                conn.set_user(user)
            })
        };
        let build = |server: Server| server.endpoint(of("ann")).endpoint(of("ben"));
        let server = TestServer::with(driver, change, build);
        let mut script = Command::new(&python);
        script.args(["-B", "cent_client.py", &format!("http://{}", server.address())]);
        assert_passes(&mut script, || unreachable!("it needs no other server"));
        server.stop(Duration::from_secs(5));
    });
}

#[test]
fn eventsource_for_node() {
    eventsource("npm");
}

#[test]
fn eventsource_of_chromium() {
    eventsource("chromium");
}

fn eventsource(which: &str) {
    installed();
    for driver in DRIVERS {
        let mut server = start(driver, 0);
        let mut script = Command::new("node");
        script.args(["eventsource.mjs", &url(&server), which]);
        assert_passes(&mut script, || restart(&mut server, driver));
        assert_ends_well(&mut server);
    }
}

fn restart(server: &mut Process, driver: &str) {
    let address = server.address();
    assert_ends_well(server);
    wait_until_free(address);
    *server = start(driver, address.port());
}

fn each_driver(test: impl Fn(&mut Process)) {
    for driver in DRIVERS {
        println!("driver {driver}");
        test(&mut start(driver, 0));
    }
}

/// A server that pings after two seconds of silence, and keeps what readers of streams miss while they are away: the
/// clients want to see it do so.
fn start(driver: &str, port: u16) -> Process {
    Process::start(&[
        ("REALTIME_IO_DRIVER", driver),
        ("REALTIME_PORT", &port.to_string()),
        ("REALTIME_CLIENT_BROADCAST", "true"),
        ("REALTIME_HISTORY_SIZE", "1000"),
        ("SSE_RETRY_INTERVAL", "5"),
        ("WEBSOCKET_HEARTBEAT_INTERVAL", "2"),
        ("WEBSOCKET_HEARTBEAT_TIMEOUT", "2"),
    ])
}

fn url(server: &Process) -> String {
    format!("http://{}", server.address())
}

/// SIGTERM ends it with 0.
fn assert_ends_well(server: &mut Process) {
    let status = server.stop();
    assert!(status.success(), "the server ended with {status}");
}

/// Installs the clients, once; the folder they are in.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(scripts().join("install.sh")).stdin(Stdio::null()).output();
        let output = output.expect("tests/interop/install.sh starts; it needs bash");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tests/interop/install.sh: {}\n{complaint}", output.status);
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/interop")
    })
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Runs a script to its end, which must be 0. Calls `restart` when a line of its output says so, and tells it when
/// that is done.
fn assert_passes(script: &mut Command, mut restart: impl FnMut()) {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", TIMEOUT_SECONDS]).arg(script.get_program()).args(script.get_args());
    bounded.current_dir(scripts()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = bounded.spawn().expect("timeout is part of coreutils");
    let mut input = child.stdin.take().expect("it was asked for");
    let mut told = String::new();
    for line in BufReader::new(child.stdout.take().expect("it was asked for")).lines() {
        let line = line.expect("scripts write text");
        if line == "restart" {
            restart();
            input.write_all(b"restarted\n").expect("the script waits for it");
        }
        writeln!(told, "{line}").expect("a string takes all");
    }
    // Little goes there, and only at the end: what the script died of.
    child.stderr.take().expect("it was asked for").read_to_string(&mut told).expect("scripts write text");
    let status = child.wait().expect("it was started here");
    assert!(status.success(), "{:?}: {status}\n{told}", script.get_args());
    assert!(told.lines().any(|line| line.starts_with("ok")), "a check ran:\n{told}");
    print!("{told}");
}

/// The kernel closes the sockets of a ring a little after its process has ended.
fn wait_until_free(address: SocketAddr) {
    let deadline = Moment::now() + Duration::from_secs(10);
    while let Err(error) = TcpListener::bind(address) {
        assert!(Moment::now() < deadline, "{address}: {error}");
        std::thread::yield_now();
    }
}

const DRIVERS: [&str; 2] = ["uring", "epoll"];

/// A bound for machines that are busy with other things: the longest script takes 20 seconds.
const TIMEOUT_SECONDS: &str = "170";
