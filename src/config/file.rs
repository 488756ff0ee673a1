//! The configuration file: TOML with every variable at the top and the options of namespaces in tables
//! `[namespaces."prefix:"]`. Never knows which keys exist.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// What the file says.
#[derive(Default)]
pub(super) struct Document {
    /// The keys at the top.
    pub(super) pairs: Vec<Pair>,
    /// The tables of namespaces.
    pub(super) spaces: Vec<Space>,
    /// What is not understood, in the order of the lines.
    pub(super) faults: Vec<Fault>,
}

/// One `key = value`.
pub(super) struct Pair {
    pub(super) key: String,
    /// Arrays are joined by commas.
    pub(super) value: String,
    /// The line of the key, from 1.
    pub(super) line: usize,
}

/// One table below `namespaces`.
pub(super) struct Space {
    pub(super) prefix: String,
    pub(super) options: Vec<Pair>,
    /// The line that names it, from 1.
    pub(super) line: usize,
}

/// A line that is not understood, and what would be. Holds nothing of the line, which may have a secret.
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) expected: String,
}

/// Reads the whole file; goes on after a fault, so that all faults come at once.
pub(super) fn parse(text: &str) -> Document {
    let lines = Lines::of(text);
    let mut reader = Reader { lines, document: Document::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    reader.faults(&errors);
    let rest = reader.without_lone_keys(text, &errors);
    let (table, errors) = match &rest {
        Some(rest) => DeTable::parse_recoverable(rest),
        None => (table, Vec::new()),
    };
    reader.faults(&errors);
    reader.top(table.get_ref());
    let Document { mut pairs, mut spaces, mut faults } = reader.document;
    // What the parser made of a broken line is a guess.
    let broken: HashSet<usize> = faults.iter().map(|fault| fault.line).collect();
    let is_broken = |line: usize| broken.contains(&line);
    pairs.retain(|pair| !is_broken(pair.line));
    spaces.iter_mut().for_each(|space| space.options.retain(|pair| !is_broken(pair.line)));
    spaces.retain(|space| !is_broken(space.line));
    pairs.sort_by_key(|pair| pair.line);
    spaces.sort_by_key(|space| space.line);
    faults.sort_by_key(|fault| fault.line);
    faults.dedup_by_key(|fault| fault.line);
    Document { pairs, spaces, faults }
}

struct Reader {
    lines: Lines,
    document: Document,
}

impl Reader {
    /// The text with blanks for its broken lines of a key alone; nothing if there are none. The parser takes no more
    /// values behind such a line.
    fn without_lone_keys(&self, text: &str, errors: &[Error]) -> Option<String> {
        let broken: HashSet<usize> = errors.iter().map(|error| self.line_of(error)).collect();
        let mut found = false;
        let lines = text.split_inclusive('\n').zip(1..).map(|(line, number)| {
            let is_lone = !line.contains(['=', '[', ']', '{', '}', '"', '\'', ',']);
            if is_lone && broken.contains(&number) {
                found = true;
                // As many bytes as before, so that what follows keeps its place.
                Cow::Owned(" ".repeat(line.len() - 1) + "\n")
            } else {
                Cow::Borrowed(line)
            }
        });
        let text: String = lines.collect();
        found.then_some(text)
    }

    fn faults(&mut self, errors: &[Error]) {
        for error in errors {
            self.fault(self.line_of(error), format!("TOML: {}", error.message()));
        }
    }

    fn line_of(&self, error: &Error) -> usize {
        error.span().map_or(1, |span| self.lines.at(span.start))
    }

    fn top(&mut self, table: &DeTable<'_>) {
        let mut pairs = Vec::new();
        for (key, value) in table {
            match value.get_ref() {
                DeValue::Table(spaces) if key.get_ref() == NAMESPACES => self.spaces(spaces),
                DeValue::Table(_) => {
                    let line = self.lines.at(key.span().start);
                    self.fault(line, TABLES.to_owned());
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => pairs.extend(self.pair(key.get_ref(), key.span().start, value)),
            }
        }
        pairs.sort_by_key(|pair| pair.line);
        let mut seen = HashMap::new();
        for pair in pairs {
            // TOML tells `port` from `PORT`; they name one variable.
            if seen.insert(pair.key.to_ascii_uppercase(), pair.line).is_some() {
                self.fault(pair.line, "each key once".to_owned());
            } else {
                self.document.pairs.push(pair);
            }
        }
    }

    fn spaces(&mut self, spaces: &DeTable<'_>) {
        for (prefix, options) in spaces {
            let line = self.lines.at(prefix.span().start);
            let DeValue::Table(options) = options.get_ref() else {
                self.fault(line, "a table of options for each namespace".to_owned());
                continue;
            };
            let mut pairs: Vec<Pair> = options
                .iter()
                .filter_map(|(key, value)| self.pair(key.get_ref(), key.span().start, value))
                .collect();
            pairs.sort_by_key(|pair| pair.line);
            let prefix = prefix.get_ref().clone().into_owned();
            self.document.spaces.push(Space { prefix, options: pairs, line });
        }
    }

    fn pair(&mut self, key: &str, at: usize, value: &Spanned<DeValue<'_>>) -> Option<Pair> {
        let line = self.lines.at(at);
        match text_of(value.get_ref()) {
            Some(value) => Some(Pair { key: key.to_owned(), value, line }),
            None => {
                self.fault(line, VALUES.to_owned());
                None
            }
        }
    }

    fn fault(&mut self, line: usize, expected: String) {
        self.document.faults.push(Fault { line, expected });
    }
}

/// The value as a variable of the environment would have it.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| scalar(item.get_ref())).collect();
            Some(items?.join(","))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => scalar(value),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}

const NAMESPACES: &str = "namespaces";
const TABLES: &str = "keys at the top level, and no tables but [namespaces.\"prefix:\"]";
const VALUES: &str = "a string, a number, true or false, or an array of them";
