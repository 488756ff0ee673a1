//! What curl sees of the server, alone and through nginx as Debian installs it: events that come while the stream is
//! open, calls that are answered. nginx has nothing configured but where to pass requests on.
#![allow(clippy::print_stdout, reason = "how long an event took is told")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use highper_shards::Moment;

/// Seconds that anything here may take, for machines that are busy with other things.
const BOUND: &str = "20";

/// Streams and calls by curl. `site` is where it goes, `server` where the server is.
pub fn streams_and_calls(site: SocketAddr, server: SocketAddr) {
    let mut stream = Curl::stream(site, "channel=curl-a&channel=curl-b");
    for _ in 0..2 {
        assert_eq!(stream.event().0, "joined");
    }
    for round in 0..3 {
        for channel in ["curl-a", "curl-b"] {
            let begun = Moment::now();
            let call = format!(r#"{{"channel":"{channel}","data":{{"round":{round}}}}}"#);
            let answer = request(server, "publish", &call);
            assert!(answer.starts_with(r#"{"result":{"offset":"#), "{answer}");
            let (name, data) = stream.event();
            let took = Moment::now().since(begun);
            let told = format!(r#""channel":"{channel}","offset":{},"data":{{"round":{round}}}"#, round + 1);
            assert_eq!(name, "message");
            assert!(data.contains(&told), "{data}");
            // It came while the stream is open and nothing follows it: nobody waited for more to send it on.
            assert!(stream.is_open());
            println!("{site} {channel} event {} after the call began: {took:?}", round + 1);
        }
    }
    let answer = request(site, "history", r#"{"channel":"curl-a","limit":-1}"#);
    assert!(answer.contains(r#"{"offset":3,"data":{"round":2}}"#), "{answer}");
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.headers["cache-control"], "no-store, no-transform");
}

/// A stream resumes from the id of any event, whoever stands between.
pub fn resumes(site: SocketAddr, server: SocketAddr) {
    let mut stream = Curl::stream(site, "channel=curl-resume");
    assert_eq!(stream.event().0, "joined");
    request(server, "publish", r#"{"channel":"curl-resume","data":"seen"}"#);
    assert!(stream.event().1.contains(r#""data":"seen""#));
    let last = std::mem::take(&mut stream.last);
    drop(stream);
    request(server, "publish", r#"{"channel":"curl-resume","data":"missed"}"#);
    let mut stream = Curl::stream(site, &format!("channel=curl-resume&last_event_id={last}"));
    assert!(stream.event().1.contains(r#""data":"missed""#));
    assert_eq!(stream.event().0, "joined");
}

/// Calls the API once.
fn request(site: SocketAddr, method: &str, body: &str) -> String {
    let url = format!("http://{site}/api/{method}");
    let output = curl().args(["-d", body, &url]).output().expect("curl is installed");
    assert!(output.status.success(), "curl: {}", output.status);
    String::from_utf8(output.stdout).expect("JSON is text")
}

fn curl() -> Command {
    let mut curl = Command::new("curl");
    // -q: nobody's own options.
    curl.args(["-q", "-sS", "--noproxy", "*", "--max-time", BOUND]).stdin(Stdio::null());
    curl
}

/// A stream that `curl -N` reads.
struct Curl {
    child: Child,
    lines: BufReader<ChildStdout>,
    headers: std::collections::HashMap<String, String>,
    /// The newest id.
    last: String,
}

impl Curl {
    fn stream(site: SocketAddr, query: &str) -> Self {
        let url = format!("http://{site}/sse?{query}");
        let child = curl().args(["-N", "-i", &url]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("curl is installed");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut stream = Self { child, lines, headers: Default::default(), last: String::new() };
        assert_eq!(stream.line(), "HTTP/1.1 200 OK");
        loop {
            let line = stream.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            stream.headers.insert(name.to_lowercase(), value.into());
        }
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("streams are UTF-8");
        assert!(read > 0, "the stream ended");
        line.truncate(line.trim_end().len());
        line
    }

    /// Name and data of the next event that has data.
    fn event(&mut self) -> (String, String) {
        let (mut name, mut data) = ("message".to_owned(), String::new());
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("event", value)) => name = value.into(),
                Some(("id", value)) => self.last = value.into(),
                Some(("data", value)) => data.push_str(value),
                _ if line.is_empty() && !data.is_empty() => return (name, data),
                _ => {}
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.child.try_wait().expect("it was started here").is_none()
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx in front of a server. It ends with the test.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// Starts it with a configuration of its own in a folder of its own.
    pub fn before(server: SocketAddr, name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{name}"));
        std::fs::create_dir_all(&folder).expect("the folder of tests can be written");
        // Free a moment ago; nginx itself cannot say which port it got.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("there is a free port");
        let mut file = std::fs::File::create(folder.join("nginx.conf")).expect("the folder is there");
        write!(
            file,
            "daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address};
        location / {{
            proxy_pass http://{server};
        }}
    }}
}}
"
        )
        .expect("the disk has room");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut child = Command::new("nginx")
            .env("PATH", [path, "/usr/sbin".into()].join(std::ffi::OsStr::new(":")))
            .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(&folder)
            .stdin(Stdio::null())
            .spawn()
            .expect("tests/interop/install.sh installs nginx");
        let deadline = Moment::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("it was started here");
            assert!(ended.is_none() && Moment::now() < deadline, "nginx does not listen: {ended:?}");
            std::thread::yield_now();
        }
        Self { child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
