//! Clients that others wrote, against the server process on each driver: Python, Node, and two tabs of Chromium on
//! the demo page. The scripts in `tests/interop/` say what they check.

#[path = "common/process.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use process::Process;

#[test]
fn websockets_for_python() {
    on_each_driver(|url, _| {
        run(Command::new(cache("python/bin/python")).arg(script("python_client.py")).arg(url));
    });
}

#[test]
fn ws_for_node() {
    on_each_driver(|url, _| run(Command::new("node").arg(script("node_client.mjs")).arg(url)));
}

#[test]
fn two_tabs_of_chromium() {
    on_each_driver(|url, driver| {
        let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{driver}"));
        run(Command::new("node").arg(script("browser.mjs")).arg(url).arg(pictures));
    });
}

fn on_each_driver(check: impl Fn(&str, &str)) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| run(&mut Command::new(script("install.sh"))));
    for driver in ["uring", "epoll"] {
        let server = Process::start(&[
            ("REALTIME_IO_DRIVER", driver),
            ("REALTIME_CLIENT_BROADCAST", "true"),
            ("WEBSOCKET_HEARTBEAT_INTERVAL", "1"),
        ]);
        check(&format!("http://{}", server.address()), driver);
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command is there: tests/interop/install.sh installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

fn cache(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/interop").join(name)
}
