//! The rules of the house, as tests: who imports whom, who owns which crate, how long things are, where `unsafe` is,
//! which variables exist. `tests/architecture.allow` lists exceptions with their number. Never looks at behaviour.

mod planted;
mod rules;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use highper_realtime::config::{ACCEPTED_PREFIXES, ROWS, Status};
use rules::Violation;
use source::Source;

const EXCEPTIONS: &str = "tests/architecture.allow";

/// What is read, by the ends of names.
const READ: [&str; 9] = [".rs", ".md", ".toml", ".sh", ".yml", ".html", ".py", "justfile", "run"];

/// Folders of others: what was built, downloaded or generated.
const SKIPPED: [&str; 7] =
    ["target", "node_modules", "corpus", "artifacts", "__pycache__", "data", "results"];

/// Variables that are not rows of the table: where its values come from, and one of another program.
const OUTSIDE_THE_TABLE: [&str; 2] = ["REALTIME_CONFIG", "PROMETHEUS_MULTIPROC_DIR"];

#[test]
fn the_tree_keeps_the_rules_but_for_listed_exceptions() {
    let known = |name: &str| is_variable(name);
    let sources = tree();
    let found: Vec<_> = sources.iter().flat_map(|source| rules::check(source, &known)).collect();
    assert!(sources.len() > 150, "the whole tree is read: {} files", sources.len());
    judge(&found, &exceptions());
}

#[test]
fn every_active_variable_is_acted_on() {
    let sources = tree();
    let outside = |source: &&Source| source.path.starts_with("src/") && source.path != "src/config/vars.rs";
    let code: String = sources.iter().filter(outside).map(Source::code).collect();
    let active = ROWS.iter().filter(|row| row.status == Status::Active);
    let idle = active.filter(|row| !reads_field(&code, row.field)).map(|row| Violation {
        rule: "idle-variable",
        path: row.name.to_owned(),
        line: 1,
        what: format!("nothing reads `{}`: act on it, or mark the row `later` or `accepted`", row.field),
    });
    judge(&idle.collect::<Vec<_>>(), &exceptions());
}

#[test]
fn the_readme_names_both_commands() {
    let readme = read("README.md");
    for command in ["cargo run --release", "tests/run"] {
        assert!(readme.contains(command), "README.md says how to run `{command}`");
    }
    assert_eq!(read(".ci/run").lines().last(), Some("exec tests/run"), "CI runs what people run");
}

/// Fails if a rule is broken more often than its exception says, or less often: then the number goes down.
fn judge(found: &[Violation], exceptions: &BTreeMap<(String, String), usize>) {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for violation in found {
        *counts.entry((violation.rule.to_owned(), violation.path.clone())).or_default() += 1;
    }
    let idle = found.iter().all(|violation| violation.rule == "idle-variable");
    let mut wrong = String::new();
    for violation in found {
        let key = (violation.rule.to_owned(), violation.path.clone());
        if counts[&key] > exceptions.get(&key).copied().unwrap_or(0) {
            let Violation { rule, path, line, what } = violation;
            wrong += &format!("{path}:{line}: [{rule}] {what}\n");
        }
    }
    for ((rule, path), number) in exceptions.iter().filter(|((rule, _), _)| (rule == "idle-variable") == idle)
    {
        let now = counts.get(&(rule.clone(), path.clone())).copied().unwrap_or(0);
        if now < *number {
            wrong += &format!("{EXCEPTIONS}: {rule} {path} {number}: it is {now} now, lower the number\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Lines of `rule path number reason`.
fn exceptions() -> BTreeMap<(String, String), usize> {
    let text = read(EXCEPTIONS);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.splitn(4, ' ');
            let mut field =
                || fields.next().unwrap_or_else(|| panic!("{EXCEPTIONS}: {line}: rule path number reason"));
            let (rule, path, number, _reason) = (field(), field(), field(), field());
            (
                (rule.to_owned(), path.to_owned()),
                number.parse().unwrap_or_else(|_| panic!("{line}: no number")),
            )
        })
        .collect()
}

fn is_variable(name: &str) -> bool {
    let is_row = |name: &str| ROWS.iter().any(|row| row.names().any(|other| other == name));
    let is_secret = |name: &str| ROWS.iter().any(|row| row.secret && row.names().any(|other| other == name));
    is_row(name)
        || name.strip_suffix("_FILE").is_some_and(is_secret)
        || OUTSIDE_THE_TABLE.contains(&name)
        || ACCEPTED_PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix))
}

/// Whether code reads `.field`, not calls `.field()`.
fn reads_field(code: &str, field: &str) -> bool {
    source::words(code)
        .filter(|(_, word)| *word == field)
        .any(|(at, _)| code[..at].ends_with('.') && !code[at + field.len()..].starts_with('('))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file that a rule may look at.
fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder)).expect("a folder of the tree can be read");
        for entry in entries {
            let entry = entry.expect("a folder of the tree can be read");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let path = format!("{folder}{name}");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let is_hidden = name.starts_with('.') && !matches!(&*name, ".ci" | ".github");
                if !is_hidden && !SKIPPED.contains(&&*name) {
                    folders.push(format!("{path}/"));
                }
            } else if READ.iter().any(|end| name.ends_with(end)) {
                sources.push(Source::new(&path, &read(&path)));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}
