//! The families of the Autobahn suite that are fast: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing
//! and limits. The server passes every case strictly. Compression (12, 13) takes minutes: `just conformance` has it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_fast_families_of_autobahn_pass_strictly() {
    let every = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*";
    assert_passes("auto", every, "298 OK, 0 NON-STRICT, 3 INFORMATIONAL, 0 FAILED, 0 UNIMPLEMENTED");
    let without_limits = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*";
    assert_passes(
        "epoll",
        without_limits,
        "244 OK, 0 NON-STRICT, 3 INFORMATIONAL, 0 FAILED, 0 UNIMPLEMENTED",
    );
}

/// One run of the suite, which judges by its exit code. The counts show that it did not run fewer cases than it has.
fn assert_passes(driver: &str, cases: &str, counts: &str) {
    let reports = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("autobahn-{driver}"));
    match fs::remove_dir_all(&reports) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", reports.display()),
    }
    let run = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/run"))
        .args(["--driver", driver, "--cases", cases, "--timeout", TIMEOUT_SECONDS, "--reports"])
        .arg(&reports)
        .args(["--binary", env!("CARGO_BIN_EXE_realtime")])
        .stdin(Stdio::null())
        .output()
        .expect("tests/conformance/run starts; it needs python3");
    let told = String::from_utf8_lossy(&run.stdout);
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "driver {driver}: {}\n{told}{complaint}", run.status);
    assert_eq!(told.lines().last(), Some(counts), "driver {driver}:\n{told}");
}

/// A bound for machines that are busy with other things: the run takes 20 s on two cores.
const TIMEOUT_SECONDS: &str = "300";
