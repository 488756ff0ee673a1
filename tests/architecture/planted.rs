//! Proof that every rule can fail: breaches planted in small files are found where they are, and look-alikes are not.

use crate::rules::{FILE_LINES_MAX, FUNCTION_LINES_MAX, check};
use crate::source::{Function, Source};

/// The breaches in a file of this text behind a good first line, as `rule:line`.
fn found(path: &str, text: &str) -> Vec<String> {
    let text = if path.ends_with(".rs") { format!("//! A file.\n{text}") } else { text.to_owned() };
    let known = |name: &str| name == "REALTIME_PORT";
    let violations = check(&Source::new(path, &text), &known);
    violations.iter().map(|violation| format!("{}:{}", violation.rule, violation.line)).collect()
}

fn codes(text: &str) -> Vec<String> {
    Source::new("a.rs", text).lines.into_iter().map(|line| line.code.trim_end().to_owned()).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn comments_and_literals_are_not_code() {
    assert_eq!(codes("a(\"} // no\", b\"x\"); // fn b() {\n"), ["a(         , b   );"]);
    assert_eq!(codes("a /* { /* { */ { */ b"), ["a  b"]);
    assert_eq!(codes("r#\"a\"{\"# + r\"\\\" + r#fn"), ["         +      + r#fn"]);
    assert_eq!(codes("'{' '\\'' '\\u{7b}' <'a> 'b: loop"), ["                  <'a> 'b: loop"]);
    assert_eq!(codes("\"one\n{ two\\\"\n{\" end"), ["", "", "   end"]);
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "fn a(x: [u8; 4]) -> [u8; 2]\nwhere\n{\n    if x { y } else { z }\n}\n\ntrait T { fn b(&self); }\ntype F = fn(u8) -> u8;\nfn c() {}\n";
    let function = |name: &str, line, lines| Function { name: name.to_owned(), line, lines };
    assert_eq!(Source::new("a.rs", text).functions(), [function("a", 1, 5), function("c", 9, 1)]);
}

#[test]
fn length_is_judged_on_both_sides_of_the_limit() {
    let file = |lines: usize| found("src/hub/x.rs", &"\n".repeat(lines - 1));
    assert_eq!(file(FILE_LINES_MAX), NOTHING);
    assert_eq!(file(FILE_LINES_MAX + 1), [format!("file-lines:{}", FILE_LINES_MAX + 1)]);
    let function =
        |lines: usize| found("src/hub/x.rs", &format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2)));
    assert_eq!(function(FUNCTION_LINES_MAX), NOTHING);
    assert_eq!(function(FUNCTION_LINES_MAX + 1), ["function-lines:2"]);
}

#[test]
fn a_file_says_what_it_owns() {
    let known = |_: &str| true;
    assert_eq!(check(&Source::new("src/hub/x.rs", "use std::fmt;\n"), &known)[0].rule, "module-doc");
}

#[test]
fn imports_point_down() {
    assert_eq!(found("src/hub/x.rs", "use crate::worker::Worker;"), ["rank:2"]);
    assert_eq!(found("src/hub/x.rs", "use crate::api::Routes;"), ["rank:2"], "same rank is no import");
    assert_eq!(
        found("src/hub/x.rs", "use crate::{\n    message::{self, Message},\n    conn::Conn,\n};"),
        ["rank:2"]
    );
    assert_eq!(found("src/hub/x.rs", "\nfn a() { crate::server::b() }"), ["rank:3"]);
    assert_eq!(found("src/hub/x.rs", "use super::super::server::Server;"), ["rank:2"]);
    assert_eq!(found("src/pool.rs", "use super::worker::Worker;"), ["rank:2"]);
    assert_eq!(found("src/unheard.rs", ""), ["rank:1"]);
    assert_eq!(found("src/hub/x.rs", "use crate::unheard::Of;"), ["rank:2"]);
    let fine = "use crate::message::Message;\nuse crate::hub::home::Home;\nuse super::table::Table;\n// crate::server\n";
    assert_eq!(found("src/hub/x.rs", fine), NOTHING);
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::server::Server;\n}\n";
    assert_eq!(found("src/hub/x.rs", tests), NOTHING);
    assert_eq!(found("src/hub/x.rs", &format!("{tests}use crate::server::Server;\n")), ["rank:6"]);
}

#[test]
fn a_crate_is_named_by_its_owner_only() {
    assert_eq!(found("src/server.rs", "use io_uring::IoUring;"), ["owner:2"]);
    assert_eq!(found("shards/src/turn.rs", "fn a() { ::io_uring::b() }"), ["owner:2"]);
    assert_eq!(found("wire/src/ws/mask.rs", "use highper_shards::Moment;"), ["owner:2"]);
    assert_eq!(found("shards/src/io.rs", "use highper_wire as wire;"), ["owner:2"]);
    assert_eq!(found("shards/src/driver/uring/x.rs", "use io_uring::IoUring;"), NOTHING);
    assert_eq!(found("shards/src/x.rs", "mod loom;\nlet io_uring = a::rtrb::b; // rtrb::c"), NOTHING);
    assert_eq!(found("wire/Cargo.toml", "[dependencies]\nlibc.workspace = true\n"), ["owner:2"]);
    assert_eq!(
        found(
            "wire/Cargo.toml",
            "[dependencies]\nmemchr.workspace = true\n[dev-dependencies]\nlibc = \"1\"\n"
        ),
        NOTHING
    );
}

#[test]
fn protocols_have_no_clock_and_shards_no_lock() {
    assert_eq!(found("wire/src/ws/x.rs", "use std::time::Instant;"), ["purity:2"]);
    assert_eq!(found("wire/src/ws/x.rs", "fn a(_: std::net::IpAddr) {}"), ["purity:2"]);
    assert_eq!(found("src/hub/x.rs", "use std::sync::{Arc, Mutex};"), ["purity:2"]);
    assert_eq!(
        found("wire/src/ws/x.rs", "use std::time::Duration; // no Instant\nstruct InstantLike;"),
        NOTHING
    );
    assert_eq!(found("tests/x.rs", "use std::sync::Mutex;"), NOTHING);
}

#[test]
fn unsafe_stands_where_it_may_and_argues() {
    assert_eq!(found("src/hub/x.rs", "// SAFETY: no.\nlet a = unsafe { b() };"), ["unsafe:3"]);
    assert_eq!(found("shards/src/turn.rs", "unsafe impl Send for A {}"), ["unsafe:2"]);
    let uring = |text: &str| found("shards/src/driver/uring/x.rs", text);
    assert_eq!(uring("unsafe { b() };"), ["unsafe:2"]);
    assert_eq!(uring("// SAFETY: once.\nunsafe { b() };\nunsafe { c() };"), ["unsafe:4"]);
    assert_eq!(uring("// SAFETY: far away.\n\nunsafe { b() };"), ["unsafe:4"]);
    assert_eq!(uring("// SAFETY: the range is ours,\n// all of it.\nlet a =\n    unsafe { b() };"), NOTHING);
    assert_eq!(uring("/// # Safety\n/// Once.\n#[inline]\nunsafe fn a() {}"), NOTHING);
    assert_eq!(uring("// unsafe { }\nlet unsafe_code = \"unsafe\";"), NOTHING);
}

#[test]
fn j13_no_secret_is_compared_by_its_bytes() {
    for text in [
        "fn a() -> bool { key.expose() == shown }",
        "fn a() -> bool { shown != key.expose().as_bytes() }",
        "fn a() -> bool { key.expose().eq(shown) }",
    ] {
        assert_eq!(found("src/api/x.rs", text), ["secret-compare:2"], "{text}");
    }
    let fine = "fn a() { key_is_right(key.expose(), shown) } // key.expose() == shown\nlet b = a == c;\n";
    assert_eq!(found("src/api/x.rs", fine), NOTHING);
    assert_eq!(found("tests/x.rs", "fn a() { assert!(key.expose() == shown) }"), NOTHING);
}

#[test]
fn names_say_something_and_nothing_is_left_for_later() {
    assert_eq!(found("src/hub/utils.rs", ""), ["names:1"]);
    assert_eq!(found("src/hub/x.rs", "struct ConnManager;"), ["names:2"]);
    assert_eq!(found("src/hub/x.rs", "fn parse_helper() {}"), ["names:2"]);
    assert_eq!(
        found("src/hub/x.rs", "fn a() { todo!() }\nfn b() { dbg!(1); unimplemented!() }"),
        ["names:2", "names:3", "names:3"]
    );
    assert_eq!(found("src/hub/x.rs", "// TODO: later"), ["names:2"]);
    assert_eq!(found("src/hub/x.rs", "struct Manages; // a helper says \"todo!()\"\nlet todo = 1;"), NOTHING);
}

#[test]
fn every_variable_exists() {
    assert_eq!(found("README.md", "Set `REALTIME_PORT`, not `REALTIME_PROT`."), ["variable:1"]);
    assert_eq!(
        found("src/api/x.rs", "// `WEBSOCKET_PTAH`\nconst A: &str = \"SSE_PTAH\";"),
        ["variable:2", "variable:3"]
    );
    assert_eq!(found("README.md", "`REALTIME_*`, `SSE_`, `REALTIME_port` and NOT_REALTIME_AT_ALL"), NOTHING);
}
