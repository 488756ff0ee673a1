//! `sse` and `publish` from the outside: the binary against a small HTTP server of another make, on a loopback port.
//! A good server is clean in both languages, and what a bad one does is found.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What the server of a test does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The first subscriber misses every tenth event.
    Loses,
    /// The first subscriber gets every tenth event twice.
    Doubles,
    /// Every tenth event of the first subscriber has another last byte.
    WrongByte,
    /// Every tenth publication is refused, though it is delivered.
    Refuses,
    /// Every tenth answer names the position of the one before.
    Repeats,
    /// Subscribers get a page.
    NoStream,
}

/// The server; it ends with the test process.
struct Server {
    fault: Fault,
    is_chunked: bool,
    subscribers: Mutex<Vec<TcpStream>>,
    published: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "the server of a test has threads of its own")]
fn spawn(body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(body);
}

/// Starts a server; its URL without a path.
fn server(fault: Fault, is_chunked: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (subscribers, published) = (Mutex::default(), AtomicU64::new(0));
    let server = Arc::new(Server { fault, is_chunked, subscribers, published });
    spawn(move || {
        for stream in listener.incoming() {
            let server = Arc::clone(&server);
            spawn(move || server.serve(stream.unwrap()));
        }
    });
    url
}

impl Server {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((line, key, body)) = request(&mut reader) {
            if line.starts_with("GET /sse?channel=bench ") {
                return self.subscribe(stream);
            }
            let number = self.published.fetch_add(1, Ordering::SeqCst);
            let is_tenth = number > 10 && number.is_multiple_of(10);
            let position = number - u64::from(is_tenth && self.fault == Fault::Repeats);
            let (data, answer) = match line.as_str() {
                "POST /publish?channel=bench HTTP/1.1" => (body, format!("last message id: 17:{position}")),
                "POST /api/publish HTTP/1.1" => {
                    let call: Value = serde_json::from_str(&body).unwrap();
                    assert_eq!((&call["channel"], key.as_str()), (&Value::from("bench"), "secret"));
                    (call["data"].to_string(), format!(r#"{{"result":{{"offset":{position}}}}}"#))
                }
                other => panic!("{other}"),
            };
            self.deliver(is_tenth, &data);
            let status = if is_tenth && self.fault == Fault::Refuses { "503 No" } else { "200 OK" };
            let length = answer.len();
            // A publisher that is gone by now wanted no answer.
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{answer}");
        }
    }

    fn subscribe(&self, mut stream: TcpStream) {
        let (kind, framing) = match (self.fault, self.is_chunked) {
            (Fault::NoStream, _) => ("text/html", "Content-Length: 0\r\n"),
            (_, true) => ("text/event-stream", "Transfer-Encoding: chunked\r\n"),
            (_, false) => ("text/event-stream; charset=utf-8", ""),
        };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n").unwrap();
        if self.fault != Fault::NoStream {
            self.send(&mut stream, ": hi\n\nretry: 100\n\nevent: gap\ndata: other\n\n");
            self.subscribers.lock().unwrap().push(stream);
        }
    }

    fn deliver(&self, is_tenth: bool, data: &str) {
        let number = self.published.load(Ordering::SeqCst);
        for (place, subscriber) in self.subscribers.lock().unwrap().iter_mut().enumerate() {
            let event = format!("id: {number}\ndata: {data}\n\n");
            match self.fault {
                Fault::Loses if place == 0 && is_tenth => {}
                Fault::Doubles if place == 0 && is_tenth => self.send(subscriber, &event.repeat(2)),
                Fault::WrongByte if place == 0 && is_tenth => {
                    self.send(subscriber, &event.replacen("x", "y", 1));
                }
                Fault::None
                | Fault::Loses
                | Fault::Doubles
                | Fault::WrongByte
                | Fault::Refuses
                | Fault::Repeats
                | Fault::NoStream => self.send(subscriber, &event),
            }
        }
    }

    fn send(&self, stream: &mut TcpStream, text: &str) {
        // A subscriber that is gone by now wanted nothing more.
        let _ = if self.is_chunked {
            write!(stream, "{:x}\r\n{text}\r\n", text.len())
        } else {
            stream.write_all(text.as_bytes())
        };
    }
}

/// The next request: its line, its key and its body.
fn request(reader: &mut impl BufRead) -> Option<(String, String, String)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let mut body = vec![0; field("Content-Length: ").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((lines[0].clone(), field("X-API-Key: ").to_owned(), String::from_utf8(body).unwrap()))
}

/// Runs the generator against `url`; its exit code, its figures if there are any, its last words.
fn run(scenario: &str, url: &str, format: &str, more: &str) -> (i32, Value, String) {
    let publish = match format {
        "nchan" => format!("{url}/publish?channel="),
        _ => format!("{url}/api/publish"),
    };
    let urls = match scenario {
        "sse" => format!("--url {url}/sse?channel=bench --publish-url {publish}"),
        _ => format!("--url {publish}"),
    };
    let arguments = format!(
        "{scenario} {urls} --publish-format {format} --api-key secret --server-pid {} --json - \
         --warmup 50ms --duration 300ms {more}",
        std::process::id()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_realtime-bench"));
    let output = command.args(arguments.split_ascii_whitespace()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default(), words)
}

fn count(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[test]
fn sse_counts_every_delivery_once() {
    for (format, is_chunked) in [("nchan", true), ("nchan", false), ("realtime", true), ("realtime", false)] {
        for more in ["--depth 1", "--depth 4 --size 1000 --driver epoll", "--rate 200 --shards 2"] {
            let url = server(Fault::None, is_chunked);
            let (code, figures, words) = run("sse", &url, format, &format!("--connections 6 {more}"));
            assert_eq!((code, count(&figures, "errors")), (0, 0), "{format} {more}: {figures} {words}");
            assert!(count(&figures, "deliveries") > 6, "{format} {more}: {figures}");
            assert!(count(&figures, "publications") > 1, "{format} {more}: {figures}");
            assert!(figures["server_cpu_us_per_delivery"].as_f64().unwrap() > 0.0, "{figures}");
        }
    }
}

#[test]
fn sse_finds_what_is_lost_doubled_damaged_and_refused() {
    for (fault, found) in [
        (Fault::Loses, "errors_lost"),
        (Fault::Doubles, "errors_duplicated"),
        (Fault::WrongByte, "errors_wrong"),
        (Fault::Refuses, "errors_connections_ended"),
    ] {
        let url = server(fault, false);
        let (code, figures, _) = run("sse", &url, "nchan", "--connections 3 --rate 500 --timeout 1s");
        assert_eq!(code, 1, "{found}: {figures}");
        assert!(count(&figures, found) > 0, "{found}: {figures}");
    }
}

#[test]
fn sse_refuses_what_is_no_event_stream() {
    let (code, _, words) = run("sse", &server(Fault::NoStream, false), "nchan", "--connections 2");
    assert_eq!(code, 1);
    assert!(words.contains("200 without an event stream"), "{words}");
}

#[test]
fn publish_checks_every_answer() {
    for format in ["nchan", "realtime"] {
        for more in ["--depth 1", "--depth 16 --size 1000", "--depth 4 --driver epoll"] {
            let (code, figures, words) = run("publish", &server(Fault::None, false), format, more);
            assert_eq!((code, count(&figures, "errors")), (0, 0), "{format} {more}: {figures} {words}");
            assert!(count(&figures, "publications") > 16, "{format} {more}: {figures}");
            assert!(figures["server_cpu_us_per_publication"].as_f64().unwrap() > 0.0, "{figures}");
        }
        for (fault, says) in [(Fault::Refuses, "answered 503"), (Fault::Repeats, "behind")] {
            let (code, figures, _) = run("publish", &server(fault, false), format, "--depth 16");
            assert_eq!(code, 1, "{format}: {figures}");
            assert!(count(&figures, "errors_wrong") > 0, "{format}: {figures}");
            assert!(figures["first_error"].as_str().unwrap().contains(says), "{format}: {figures}");
        }
    }
}
