//! A log that nobody reads stops nobody (THREATS F11): lines are lost and counted instead.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Client;
use highper_shards::Moment;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn f11_a_log_that_nobody_reads_stops_nobody() {
    let child = Command::new(env!("CARGO_BIN_EXE_realtime"))
        .envs([("REALTIME_HOST", "127.0.0.1"), ("REALTIME_PORT", "0"), ("REALTIME_LOG_LEVEL", "debug")])
        .envs([("REALTIME_SHARDS", "1"), ("MONITORING_SECURITY_EVENTS_PER_SECOND", "100000")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let mut log = BufReader::new(server.0.stdout.take().unwrap());
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server has ended");
        if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            break format!("127.0.0.1:{port}").parse().unwrap();
        }
    };
    // Each of these is a line of its own; from here on nobody reads, and a pipe holds 64 KiB.
    for number in 0..2000 {
        let mut client = Client::connect(address);
        let request =
            format!("GET /?q={number}%27+OR+1=1--+ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        client.send(request.as_bytes());
        assert_eq!(client.answer().status, 200, "request {number}");
    }
    // It still ends by itself when it is asked to.
    rustix::process::kill_process(rustix::process::Pid::from_child(&server.0), rustix::process::Signal::TERM)
        .unwrap();
    let until = Moment::now() + Duration::from_secs(30);
    while server.0.try_wait().unwrap().is_none() {
        assert!(!until.since(Moment::now()).is_zero(), "it does not end");
        std::thread::yield_now();
    }
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.len() > 32 * 1024, "vacuous: only {} bytes of log", rest.len());
}
