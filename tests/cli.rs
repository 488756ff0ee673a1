//! The command line: exit codes, what goes to which stream, and a health check that always ends.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("realtime-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realtime"));
        command.args(args).env_clear().envs(env.iter().copied()).current_dir(&self.0).output().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_line_that_is_not_understood_exits_with_64_and_help_with_0() {
    let here = Directory::new("usage");
    for args in
        [&["--nope"][..], &["nope"], &["--set", "PORT"], &["--set", "=1"], &["version", "--port", "1"]]
    {
        let output = here.run(args, &[]);
        assert_eq!((code(&output), stdout(&output).as_str()), (64, ""), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["version"], &["serve", "--help"]] {
        let output = here.run(args, &[]);
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_exits_with_78_and_all_its_errors() {
    let here = Directory::new("config");
    here.write(".env", "REALTIME_PORT=x\n");
    let env = [("REALTIME_IO_DRIVER", "iocp"), ("REALTIME_CONFIG", "missing.toml")];
    for args in [&[][..], &["serve"], &["check-config"], &["--check-config"], &["print-config"]] {
        let output = here.run(args, &env);
        assert_eq!((code(&output), stdout(&output).as_str()), (78, ""), "{args:?}");
        let lines = stderr(&output);
        assert!(lines.contains("error: REALTIME_PORT=x (.env): expected"), "{lines}");
        assert!(lines.contains("error: REALTIME_IO_DRIVER=iocp (environment): expected"), "{lines}");
        assert!(lines.contains("error: REALTIME_CONFIG=missing.toml: cannot be read"), "{lines}");
        assert_eq!(lines.lines().count(), 3, "{lines}");
    }
}

#[test]
fn strict_takes_warnings_for_errors() {
    let here = Directory::new("strict");
    let env = [("REALTIME_PROT", "1")];
    let mild = here.run(&["check-config"], &env);
    assert_eq!((code(&mild), stdout(&mild).as_str()), (0, "configuration ok\n"));
    assert!(stderr(&mild).starts_with("warning: REALTIME_PROT (environment) is not a variable"));
    for args in [&["check-config", "--strict"][..], &["--check-config", "--strict"]] {
        let strict = here.run(args, &env);
        assert_eq!((code(&strict), stdout(&strict).as_str()), (78, ""));
        assert!(stderr(&strict).starts_with("error: REALTIME_PROT"));
    }
    assert_eq!(code(&here.run(&["check-config", "--strict"], &[])), 0);
}

#[test]
fn flags_count_before_and_after_the_command_and_files_are_found() {
    let here = Directory::new("flags");
    here.write(".env", "REALTIME_HOST=127.0.0.9\nWEBSOCKET_PATH=/dotenv\n");
    here.write("other.env", "WEBSOCKET_PATH=/other\n");
    here.write("r.toml", "buffer_size = '16k'\n");
    let args =
        ["--set", "spin=5", "--port", "1", "print-config", "--set", "REALTIME_BACKLOG_SIZE=7", "--port", "2"];
    let printed = stdout(&here.run(&args, &[("REALTIME_CONFIG", "r.toml")]));
    let lines: Vec<String> =
        printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "REALTIME_SPIN=5us # --set",
        "REALTIME_BACKLOG_SIZE=7 # --set",
        "REALTIME_PORT=2 # --port",
        "REALTIME_HOST=127.0.0.9 # .env",
        "WEBSOCKET_PATH=/dotenv # .env",
        "REALTIME_BUFFER_SIZE=16k # r.toml:1",
        "REALTIME_SHARDS=auto # default",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in\n{printed}");
    }
    let args =
        ["--print-config", "--env-file", "other.env", "--config", "r.toml", "--shards", "3", "--host", "::1"];
    let printed = stdout(&here.run(&args, &[]));
    for expected in
        ["WEBSOCKET_PATH=/other ", "REALTIME_SHARDS=3 ", "REALTIME_HOST=::1 ", "REALTIME_BUFFER_SIZE=16k "]
    {
        assert!(printed.contains(expected), "{expected} in\n{printed}");
    }
}

#[test]
fn a_server_that_is_switched_off_says_so_and_exits_with_0() {
    let here = Directory::new("off");
    let output = here.run(&[], &[("REALTIME_ENABLED", "false")]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).starts_with("REALTIME_ENABLED=false"), "{}", stderr(&output));
}

#[test]
fn what_is_printed_goes_to_the_standard_output() {
    let here = Directory::new("print");
    for (what, start) in [("docs", "# Variables"), ("env", "# Every variable"), ("readme", "<!-- variables")]
    {
        let output = here.run(&["config", what], &[]);
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
        assert!(stdout(&output).starts_with(start), "{what}");
    }
}

/// Reads one request, answers, closes, and gives the request back.
fn answer(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    stream.write_all(answer).unwrap();
    String::from_utf8(request).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the other side of the health check")]
fn other_side(work: impl FnOnce() -> String + Send + 'static) -> impl FnOnce() -> String {
    let thread = std::thread::spawn(work);
    move || thread.join().unwrap()
}

fn one_answer(bytes: &'static [u8]) -> (u16, impl FnOnce() -> String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, other_side(move || answer(listener.accept().unwrap().0, bytes)))
}

#[test]
fn a_health_check_asks_the_configured_address() {
    let here = Directory::new("health");
    let (port, request) = one_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let output = here.run(&["healthcheck"], &[("REALTIME_PORT", &port.to_string())]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(request().starts_with("GET /health/live HTTP/1.1\r\nHost: "));
}

#[test]
fn a_health_check_asks_the_given_url() {
    let here = Directory::new("health-url");
    let (port, request) = one_answer(b"HTTP/1.1 200 OK\r\n\r\n");
    let output =
        here.run(&["healthcheck", "--url", &format!("http://localhost:{port}/realtime/health")], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(request().starts_with("GET /realtime/health HTTP/1.1\r\n"));
    for url in ["https://localhost/", "localhost", "http://", "http://a b/", "http://host:99999/"] {
        assert_eq!(code(&here.run(&["healthcheck", "--url", url], &[])), 1, "{url}");
    }
}

#[test]
fn a_health_check_of_a_unix_socket_works() {
    let here = Directory::new("health-unix");
    let path = here.0.join("r.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let request = other_side(move || answer(listener.accept().unwrap().0, b"HTTP/1.1 200 OK\r\n\r\n"));
    let output = here.run(&["healthcheck", "--host", &format!("unix:{}", path.display())], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(request().starts_with("GET /health/live"));
}

#[test]
fn a_health_check_fails_with_1_whatever_is_wrong() {
    let here = Directory::new("health-bad");
    for answer in [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2", b""]
    {
        let (port, request) = one_answer(answer);
        let output = here.run(&["healthcheck", "--port", &port.to_string()], &[]);
        assert_eq!(code(&output), 1, "{answer:?}");
        assert!(stderr(&output).starts_with("error: "));
        request();
    }
    assert_eq!(code(&here.run(&["healthcheck"], &[("REALTIME_PORT", "x")])), 1, "not 78");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    assert_eq!(code(&here.run(&["healthcheck", "--port", &closed], &[])), 1);
}

#[test]
fn a_health_check_ends_although_the_server_is_silent() {
    let here = Directory::new("health-silent");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The kernel takes the connection; nobody ever answers.
    let output = here.run(&["healthcheck", "--port", &port.to_string()], &[]);
    assert_eq!(code(&output), 1);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "the server was there all the time");
}

#[derive(Debug, thiserror::Error)]
#[error("shard 0 could not start")]
struct NotStarted(#[source] std::io::Error);

#[test]
fn what_serving_ends_with_becomes_the_exit_code() {
    let serve = |result: Result<(), NotStarted>| {
        let args = ["realtime", "--env-file", "/dev/null", "--port", "4321"];
        let code = highper_realtime::cli::run(args, |loaded| {
            assert_eq!(loaded.config.port, 4321);
            result
        });
        format!("{code:?}")
    };
    let code = |number: u8| format!("{:?}", std::process::ExitCode::from(number));
    let failed = |kind: std::io::ErrorKind| Err(NotStarted(kind.into()));
    assert_eq!(serve(Ok(())), code(0));
    assert_eq!(serve(failed(std::io::ErrorKind::AddrInUse)), code(1));
    assert_eq!(serve(failed(std::io::ErrorKind::PermissionDenied)), code(77));
}
