//! The rules of the house as tables, and what breaks them. Each rule takes files and gives violations; none reads the
//! tree itself.

use crate::source::{Source, is_word, words};

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, as the list of exceptions calls it.
    pub rule: &'static str,
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub what: String,
}

/// Other programs to compare with: only their variables are judged.
const FOREIGN: &str = "bench/compare/";

pub const FILE_LINES_MAX: usize = 500;
pub const FUNCTION_LINES_MAX: usize = 70;

/// Ranks inside `src/`: a module imports modules of lower rank only.
const RANKS: [(&str, u8); 25] = [
    ("config", 0),
    ("handler", 0),
    ("limits", 0),
    ("observe", 0),
    ("page", 0),
    ("address", 1),
    ("auth", 1),
    ("outbound", 1),
    ("security", 1),
    ("logs", 2),
    ("message", 2),
    ("api", 3),
    ("control", 3),
    ("hooks", 3),
    ("hub", 3),
    ("pool", 3),
    ("conn", 4),
    ("error", 4),
    ("worker", 5),
    ("signals", 6),
    ("running", 7),
    ("server", 8),
    ("cli", 8),
    ("lib", 9),
    ("main", 10),
];

/// Who may name a crate: prefixes of paths.
const OWNERS: [(&str, &[&str]); 31] = [
    ("aho_corasick", &["src/security/agents.rs"]),
    ("aws_lc_rs", &["src/auth/", "src/outbound.rs", "src/hooks/", "tests/common/tokens.rs", "tests/hooks/"]),
    (
        "base64",
        &[
            "src/auth/",
            "tests/common/tokens.rs",
            "src/api/server/call.rs",
            "src/outbound.rs",
            "wire/src/sse/cursor.rs",
            "wire/src/ws/handshake",
            "wire/tests/",
        ],
    ),
    ("clap", &["src/cli/", "bench/src/"]),
    ("core_affinity", &["shards/src/affinity.rs"]),
    (
        "crossbeam_channel",
        &[
            "shards/",
            "src/auth/fetcher.rs",
            "src/control.rs",
            "src/hooks/",
            "src/logs/",
            "src/message/",
            "src/pool.rs",
            "src/running.rs",
            "src/signals.rs",
            "tests/sim/",
        ],
    ),
    ("dotenvy", &["src/config/source.rs"]),
    ("flate2", &["wire/src/ws/deflate.rs", "wire/tests/"]),
    ("form_urlencoded", &["src/api/credentials.rs", "src/worker/events.rs"]),
    ("hashbrown", &["src/hub/table.rs", "src/limits/admission.rs"]),
    ("hdrhistogram", &["bench/src/"]),
    ("highper_realtime", &["src/main.rs", "tests/", "examples/", "fuzz/"]),
    ("highper_shards", &["shards/tests/", "src/", "bench/src/", "fuzz/", "tests/"]),
    ("highper_wire", &["wire/tests/", "src/", "bench/src/", "bench/examples/", "fuzz/", "tests/"]),
    ("httparse", &["wire/src/http1/scan.rs", "wire/src/ws/handshake/client.rs"]),
    ("io_uring", &["shards/src/driver/uring/"]),
    ("jsonwebtoken", &["src/auth/"]),
    ("libc", &["shards/src/driver/uring/", "shards/tests/"]),
    ("libinjectionrs", &["src/security/detector.rs"]),
    ("loom", &["shards/src/mesh/bell.rs", "shards/tests/"]),
    ("maxminddb", &["src/security/geo.rs"]),
    ("mimalloc", &["src/main.rs"]),
    ("rtrb", &["shards/src/mesh/"]),
    ("rustls", &["src/outbound.rs", "tests/"]),
    ("sha1_smol", &["wire/src/ws/handshake"]),
    ("signal_hook", &["src/signals.rs"]),
    ("subtle", &["src/api/server/mod.rs"]),
    ("toml", &["src/config/file.rs"]),
    ("tracing_subscriber", &["src/logs.rs", "src/logs/"]),
    ("ureq", &["src/auth/fetcher.rs", "src/outbound.rs"]),
    ("tungstenite", &["wire/tests/", "bench/tests/", "bench/src/client/template.rs", "tests/"]),
];

/// Crates that `wire` may depend on: none of them knows a socket, a clock or C.
const WIRE_DEPENDENCIES: [&str; 6] = ["base64", "flate2", "httparse", "memchr", "sha1_smol", "thiserror"];

/// What protocol code never touches.
const NOT_IN_WIRE: [&str; 6] = ["std::net", "std::thread", "std::fs", "std::env", "Instant", "SystemTime"];

/// What no data shard waits for.
const NOT_ON_SHARDS: [&str; 4] = ["Mutex", "RwLock", "Condvar", "Barrier"];

/// Where `unsafe` code lives.
const UNSAFE: [&str; 3] =
    ["shards/src/driver/uring/", "shards/tests/uring/faults.rs", "wire/tests/counting/"];

/// Names that say nothing.
const BANNED_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "managers", "mgr"];

/// Steps that were left out.
const BANNED_MACROS: [&str; 3] = ["todo", "dbg", "unimplemented"];
const BANNED_MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// What the names of variables begin with.
const VARIABLES: [&str; 10] = [
    "REALTIME_",
    "WEBSOCKET_",
    "SSE_",
    "WEBTRANSPORT_",
    "HTTP3_",
    "PROMETHEUS_",
    "MONITORING_",
    "TRACING_",
    "TELEMETRY_",
    "OTEL_",
];

/// Tests of the configuration name variables that do not exist on purpose.
const NAMES_FREELY: [&str; 3] = ["tests/config", "tests/cli.rs", "tests/docs.rs"];

/// Every rule that looks at one file.
pub fn check(source: &Source, known: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = variables(source, known);
    if source.path.ends_with(".rs") && !source.path.starts_with(FOREIGN) {
        let rules =
            [module_doc, file_lines, function_lines, ranks, owners, purity, unsafe_code, names, comparisons];
        found.extend(rules.iter().flat_map(|rule| rule(source)));
    }
    if source.path == "wire/Cargo.toml" {
        found.extend(wire_manifest(source));
    }
    found
}

fn module_doc(source: &Source) -> Vec<Violation> {
    let good = source.text.starts_with("//! ");
    violations(source, "module-doc", (!good).then(|| (1, "begins with `//!` and what it owns".to_owned())))
}

fn file_lines(source: &Source) -> Vec<Violation> {
    let lines = source.lines.len();
    let what = || (lines, format!("{lines} lines, at most {FILE_LINES_MAX}: split it by meaning"));
    violations(source, "file-lines", (lines > FILE_LINES_MAX).then(what))
}

fn function_lines(source: &Source) -> Vec<Violation> {
    let long = source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
    let told = long.map(|function| {
        let what = format!("`{}` has {} lines, at most {FUNCTION_LINES_MAX}", function.name, function.lines);
        (function.line, what)
    });
    violations(source, "function-lines", told)
}

/// Imports inside `src/` point to lower ranks.
fn ranks(source: &Source) -> Vec<Violation> {
    let Some(module) = module_of(&source.path) else { return Vec::new() };
    let Some(rank) = rank_of(&module[0]) else {
        return violations(source, "rank", [(1, format!("`{}` has no rank", module[0]))]);
    };
    let code = source.code();
    let told = imports(&code, &module).into_iter().filter_map(|(at, to)| {
        let line = source.line_of(at);
        let is_exempt =
            to == module[0] || source.lines[line - 1].in_tests || source.path.ends_with("/tests.rs");
        if is_exempt || rank_of(&to).is_some_and(|other| other < rank) {
            return None;
        }
        let other = rank_of(&to).map_or("no rank".to_owned(), |other| format!("rank {other}"));
        Some((line, format!("`{}` (rank {rank}) imports `{to}` ({other})", module[0])))
    });
    violations(source, "rank", told)
}

/// The modules that a file of `src/` is: `src/hub/home.rs` is hub, home.
fn module_of(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(path.strip_suffix("/mod").unwrap_or(path).split('/').map(str::to_owned).collect())
}

fn rank_of(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The modules of the crate that a file names, by `crate::` or by enough `super::`, each with its place.
fn imports(code: &str, module: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut past = 0;
    for (at, word) in words(code) {
        if at < past || !matches!(word, "crate" | "super") {
            continue;
        }
        let (mut rest, mut supers) = (&code[at..], 0);
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, supers) = (after, supers + 1);
        }
        past = code.len() - rest.len();
        // Inside a module of the file itself one `super` more is needed; then this is too strict by one, never lax.
        let at_root = rest.strip_prefix("crate::").or((supers >= module.len() && supers > 0).then_some(rest));
        if let Some(path) = at_root {
            found.extend(first_segments(path).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// `a::b` names a; `{a::b, c::{d, e}}` names a and c.
fn first_segments(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = vec![name(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// A crate is named only where its owner is.
fn owners(source: &Source) -> Vec<Violation> {
    let told = source.lines.iter().zip(1..).flat_map(|(line, number)| {
        OWNERS.iter().filter_map(move |(name, paths)| {
            let is_named =
                named_paths(&line.code, name) || line.code.contains(&format!("extern crate {name}"));
            let may = paths.iter().any(|path| source.path.starts_with(path));
            (is_named && !may).then(|| (number, format!("`{name}` belongs to {}", paths.join(", "))))
        })
    });
    violations(source, "owner", told)
}

/// Whether a path begins with this name: `name::`, `use name;`, `use name as`.
fn named_paths(code: &str, name: &str) -> bool {
    let places = words(code).filter(|(_, word)| *word == name);
    places.into_iter().any(|(at, _)| {
        let (before, after) = (code[..at].trim_end(), code[at + name.len()..].trim_start());
        let begins = !before.ends_with("::") || before == "::" || before.ends_with(" ::");
        let imported = before == "use" || before.ends_with(" use");
        begins && (after.starts_with("::") || imported)
    })
}

/// Protocols know no socket and no clock; shards know no lock.
fn purity(source: &Source) -> Vec<Violation> {
    let in_wire = source.path.starts_with("wire/src/");
    let on_shards = source.path.starts_with("src/") || source.path.starts_with("shards/src/");
    let banned: &[&str] = if in_wire {
        &NOT_IN_WIRE
    } else if on_shards {
        &NOT_ON_SHARDS
    } else {
        &[]
    };
    let told = source.lines.iter().zip(1..).filter(|(line, _)| !line.in_tests).flat_map(|(line, number)| {
        let hit = banned.iter().filter(move |name| contains_name(&line.code, name));
        hit.map(move |name| (number, format!("`{name}` has no place here")))
    });
    violations(source, "purity", told)
}

fn contains_name(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + name.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// `unsafe` stands where it may, and argues its case.
fn unsafe_code(source: &Source) -> Vec<Violation> {
    let may = UNSAFE.iter().any(|path| source.path.starts_with(path));
    let mut told = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        if !words(&line.code).any(|(_, word)| word == "unsafe") {
            continue;
        }
        if !may {
            told.push((index + 1, format!("`unsafe` belongs to {}", UNSAFE.join(", "))));
        } else if !is_argued(source, index) {
            told.push((index + 1, "`unsafe` without `SAFETY:` above it".to_owned()));
        }
    }
    violations(source, "unsafe", told)
}

/// Looks for the argument in the statement's lines and in the comments and attributes above it. A method of an
/// `unsafe impl` has the argument of its `impl`.
fn is_argued(source: &Source, index: usize) -> bool {
    let argued = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let is_method = source.lines[index].code.trim_start().starts_with("unsafe fn");
    for line in source.lines[..=index].iter().rev() {
        let code = line.code.trim();
        if argued(&line.comment) || (is_method && code.starts_with("unsafe impl")) {
            return true;
        }
        let is_other = !std::ptr::eq(line, &raw const source.lines[index]) && !is_method;
        let ends = code.ends_with([';', '{', '}']) || (code.is_empty() && line.comment.is_empty());
        if is_other && ends {
            return false;
        }
    }
    false
}

/// `==` on a secret tells by its time how much of a guess is right; tables that look one up do the same.
fn comparisons(source: &Source) -> Vec<Violation> {
    let in_src = source.path.starts_with("src/");
    let told = source.lines.iter().zip(1..).filter(|(line, _)| in_src && !line.in_tests).filter_map(
        |(line, number)| {
            let compares = [" == ", " != ", ".eq(", ".ne(", ".cmp(", "matches!("]
                .iter()
                .any(|sign| line.code.contains(sign));
            let what = "compare secrets in constant time: the verify of a MAC, or subtle".to_owned();
            (compares && line.code.contains(".expose()")).then_some((number, what))
        },
    );
    violations(source, "secret-compare", told)
}

/// Names are the field's own words, and nothing is left for later.
fn names(source: &Source) -> Vec<Violation> {
    let stem = words(&source.path).filter(|(_, word)| BANNED_NAMES.contains(word));
    let mut told: Vec<_> = stem.map(|(_, word)| (1, format!("a file named `{word}` says nothing"))).collect();
    for (line, number) in source.lines.iter().zip(1..) {
        for (at, word) in words(&line.code) {
            let is_macro = line.code[at + word.len()..].starts_with('!');
            if is_macro && BANNED_MACROS.contains(&word) {
                told.push((number, format!("`{word}!` is not for code that is kept")));
            }
            if let Some(part) = parts(word).find(|part| BANNED_NAMES.contains(&part.as_str())) {
                told.push((number, format!("`{word}`: `{part}` says nothing")));
            }
        }
        let marks = words(&line.comment).filter(|(_, word)| BANNED_MARKS.contains(word));
        told.extend(marks.map(|(_, word)| (number, format!("{word}: do it, or write it down elsewhere"))));
    }
    violations(source, "names", told)
}

/// `make_URLHelper2` is make, urlhelper; `ConnManager` is conn, manager.
fn parts(word: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    let mut lower = false;
    for c in word.chars() {
        if c.is_uppercase() && lower {
            spaced.push('_');
        }
        lower = c.is_lowercase() || c.is_numeric();
        spaced.extend(c.to_lowercase());
    }
    spaced.split('_').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Every variable that anything names is one that exists.
fn variables(source: &Source, known: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    if NAMES_FREELY.iter().any(|path| source.path.starts_with(path))
        || source.path.starts_with("tests/architecture")
    {
        return Vec::new();
    }
    let mut told = Vec::new();
    for (text, number) in source.text.lines().zip(1..) {
        let is_test = source.lines.get(number - 1).is_some_and(|line| line.in_tests);
        for (at, word) in words(text).filter(|_| !is_test) {
            let is_family = text[at + word.len()..].starts_with('*') || word.ends_with('_');
            let is_variable =
                VARIABLES.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len());
            let is_upper = !word.contains(|c: char| c.is_lowercase());
            if is_variable && is_upper && !is_family && !known(word) {
                told.push((number, format!("`{word}` is not in the table of variables")));
            }
        }
    }
    violations(source, "variable", told)
}

/// `wire` compiles for a machine without an operating system's sockets because it depends on nothing that has them.
fn wire_manifest(source: &Source) -> Vec<Violation> {
    let mut section = "";
    let mut told = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let is_dependency = section.contains("dependencies]") && !section.contains("dev-");
        if is_dependency
            && !name.is_empty()
            && !name.starts_with(['#', '['])
            && !WIRE_DEPENDENCIES.contains(&name)
        {
            told.push((number, format!("`{name}` is not among the crates of wire")));
        }
    }
    violations(source, "owner", told)
}

fn violations(
    source: &Source,
    rule: &'static str,
    told: impl IntoIterator<Item = (usize, String)>,
) -> Vec<Violation> {
    let path = &source.path;
    told.into_iter().map(|(line, what)| Violation { rule, path: path.clone(), line, what }).collect()
}
