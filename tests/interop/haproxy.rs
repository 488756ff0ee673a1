//! HAProxy in front of a server: it says on whose behalf it connects, by each of its ways.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use highper_shards::Moment;

/// HAProxy with a port for each way. It ends with the test.
pub struct Haproxy {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Haproxy {
    /// Starts it in front of a server; each way is options of its line `server`, and lines of its section.
    pub fn before(server: SocketAddr, name: &str, ways: &[(&str, &str)]) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        // Free a moment ago; the second of a pair is for clients with IPv6.
        let free: Vec<TcpListener> = ways
            .iter()
            .flat_map(|_| ["127.0.0.1:0", "[::1]:0"])
            .map(|anywhere| TcpListener::bind(anywhere).expect("there is a free port"))
            .collect();
        let addresses: Vec<SocketAddr> =
            free.iter().map(|listener| listener.local_addr().expect("it is bound")).collect();
        drop(free);
        let mut text = String::from(
            "global\n maxconn 500\ndefaults\n mode tcp\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n",
        );
        for (at, ((options, lines), pair)) in ways.iter().zip(addresses.chunks(2)).enumerate() {
            let _ = writeln!(text, "listen way{at}\n bind {}\n bind {}\n{lines}", pair[0], pair[1]);
            let _ = writeln!(text, " server s {server} {options}");
        }
        let file = folder.join(format!("haproxy-{name}.cfg"));
        std::fs::write(&file, text).expect("the folder of tests can be written");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut child = Command::new("haproxy")
            .env("PATH", [path, "/usr/sbin".into()].join(std::ffi::OsStr::new(":")))
            .args(["-q", "-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("tests/interop/install.sh installs haproxy");
        let deadline = Moment::now() + Duration::from_secs(20);
        while TcpStream::connect(addresses[0]).is_err() {
            let ended = child.try_wait().expect("it was started here");
            assert!(ended.is_none() && Moment::now() < deadline, "haproxy does not listen: {ended:?}");
            std::thread::yield_now();
        }
        Self { child, addresses }
    }

    /// Where it listens for a way: over IPv4 and over IPv6.
    pub fn addresses(&self, way: usize) -> [SocketAddr; 2] {
        [self.addresses[2 * way], self.addresses[2 * way + 1]]
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
