//! The server API from a shell, against a server that runs: results on the standard output, what is wrong on the
//! standard error, with an exit code that says so.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/process.rs"]
mod process;

use std::process::{Command, Output};

use process::Process;
use serde_json::Value;

const KEY: &str = "6f0d3f7f9d5b4c2f8a1e7b6c5d4e3f2a1b0c9d8e";

struct Shell(String);

impl Shell {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realtime"));
        command.env_clear().env("REALTIME_API_KEY", KEY).current_dir(env!("CARGO_TARGET_TMPDIR"));
        command.args(args).args(["--url", &self.0]).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*error), (Some(0), ""), "{args:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, code: i32, args: &[&str], with: &str) {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}: {error}");
        assert!(error.contains(with), "{args:?}: {error}");
    }
}

#[test]
fn every_call_is_a_command() {
    let server = Process::start(&[
        ("REALTIME_API_KEY", KEY),
        ("REALTIME_HISTORY_SIZE", "10"),
        ("REALTIME_PRESENCE", "true"),
    ]);
    let shell = Shell(format!("http://{}", server.address()));
    assert_eq!(shell.ok(&["publish", "news", r#"{"a":1.10}"#])["offset"], 1);
    assert_eq!(shell.ok(&["publish", "news", "\"text\"", "--event", "hello"])["offset"], 2);
    let output = shell.run(&["history", "news"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""data":{"a":1.10}"#), "as it was published, digit for digit: {text}");
    let newest = shell.ok(&["history", "news", "--limit", "1"]);
    assert_eq!(newest["publications"][0]["data"], "text");
    assert_eq!(shell.ok(&["presence", "news"])["presence"], serde_json::json!({}));
    assert_eq!(shell.ok(&["channels", "n*"])["channels"], serde_json::json!({}));
    assert_eq!(shell.ok(&["disconnect", "ann"]), serde_json::json!({}));
    assert_eq!(shell.ok(&["info"])["nodes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_wrong_is_said_and_exits_with_a_code() {
    let server = Process::start(&[("REALTIME_API_KEY", KEY)]);
    let shell = Shell(format!("http://{}", server.address()));
    shell.fails(64, &["publish", "news", "text"], "DATA is not JSON; text stands in quotes");
    shell.fails(64, &["publish", "news"], "DATA");
    shell.fails(1, &["publish", "a b", "1"], "channel: ");
    shell.fails(1, &["publish", "news", "1", "--event", "a\nb"], "event: ");
    shell.fails(1, &["history", "news"], "not available");
    Shell("http://127.0.0.1:1".into()).fails(1, &["info"], "no server at http://127.0.0.1:1");
    Shell("https://localhost".into()).fails(1, &["info"], "--url: expected http://");
    let strict = Process::start(&[("REALTIME_API_KEY", &KEY.replace('6', "7"))]);
    Shell(format!("http://{}", strict.address())).fails(1, &["info"], "unauthorized");
}
