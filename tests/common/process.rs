//! A server in a process of its own, on a port of its own, configured by variables. It ends with the test.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::print_stdout, reason = "a failed test shows the server's log")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{Builder, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A server that was told to end takes no longer: its grace is 10 seconds.
const END_WITHIN: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A running server process.
pub struct Process {
    child: Child,
    /// Reads what it logs, as a supervisor does: a server whose log nobody takes waits for whoever should.
    log: Option<JoinHandle<String>>,
    address: SocketAddr,
}

impl Process {
    /// Starts a server of two shards on the loopback with these variables, and an echo endpoint at `/echo`.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_realtime")), variables)
    }

    /// The same with so many descriptors (RLIMIT_NOFILE).
    pub fn limited(variables: &[(&str, &str)], descriptors: u32) -> Self {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_realtime")]);
        Self::run(command, variables)
    }

    /// The same from a file of variables, `.env`; the variables beside it beat it.
    pub fn from_file(file: &Path, variables: &[(&str, &str)], descriptors: Option<u32>) -> Self {
        let mut command = Command::new("/bin/sh");
        let limit = descriptors.map(|count| format!("ulimit -n {count} && ")).unwrap_or_default();
        let script = format!("{limit}exec \"$0\" --env-file \"$1\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_realtime")]).arg(file);
        Self::run(command, variables)
    }

    fn run(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .env_clear()
            .envs([("REALTIME_HOST", "127.0.0.1"), ("REALTIME_PORT", "0"), ("REALTIME_SHARDS", "2")])
            .env("REALTIME_ECHO_PATH", "/echo")
            .envs(variables.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let mut log = BufReader::new(child.stdout.take().expect("its output was asked for"));
        let mut started = String::new();
        let address = loop {
            let line_at = started.len();
            let read = log.read_line(&mut started).expect("it writes text");
            assert!(read > 0, "the server ended before it listened: {started}");
            let tail = started[line_at..].split_once("listens on ").map(|(_, tail)| tail);
            if let Some(address) = tail.and_then(|tail| tail.split(['"', '\\', '\n', ' ']).next()) {
                break address.parse().expect("an address follows");
            }
        };
        let read = Builder::new().name("log".to_owned()).spawn(move || {
            log.read_to_string(&mut started).expect("it writes text");
            started
        });
        Self { child, log: Some(read.expect("a thread can be started")), address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, as a supervisor does, and returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        let end = pidfd_open(pid, PidfdFlags::empty()).expect("it was not waited for");
        kill_process(pid, Signal::TERM).expect("it was not waited for");
        let ended =
            poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&END_WITHIN)).expect("one descriptor is few");
        assert_eq!(ended, 1, "the server does not end");
        self.child.wait().expect("it was not waited for")
    }

    /// Stops it and returns everything it has logged.
    pub fn log(mut self) -> String {
        self.stop();
        self.logged()
    }

    /// What it has logged, once it has ended.
    fn logged(&mut self) -> String {
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }

    /// Bytes of its memory that are resident.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process lives").count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.logged();
        if std::thread::panicking() {
            println!("log of the server:\n{log}");
        }
    }
}
