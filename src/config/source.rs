//! Where raw values come from: configuration file, `.env`, environment, flags. The only reader of the environment.
//! Never knows a type: it hands on names, texts and their origin.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, Layer};
use super::file::{self, Document, Pair, Space};

/// Raw values by source. Built from texts and maps in tests, from the process by [`Sources::of_process`].
#[derive(Debug, Default)]
pub struct Sources {
    pub(super) entries: [Vec<Entry>; LAYERS],
    pub(super) spaces: Vec<SpaceEntry>,
    pub(super) faults: Vec<ConfigError>,
}

/// Files named on the command line.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The configuration file; else the one REALTIME_CONFIG names; else none.
    pub config: Option<PathBuf>,
    /// The `.env` file; else `.env` in the working directory if it is there.
    pub env_file: Option<PathBuf>,
}

/// One name and its text. `None`: not UTF-8.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) layer: Layer,
}

/// One namespace and its options, of a configuration file.
pub(super) struct SpaceEntry {
    pub(super) prefix: String,
    pub(super) options: Vec<Entry>,
    pub(super) layer: Layer,
}

impl Sources {
    /// No source at all: every variable has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything this process was given: the files, then its environment. Flags come on top by [`Sources::flag`].
    pub fn of_process(files: &Files) -> Self {
        let mut sources = Self::new().environment(std::env::vars_os());
        let named = sources.entries[ENVIRONMENT].iter().find(|entry| entry.name == CONFIG_VARIABLE);
        let by_variable = named.and_then(|entry| entry.value.clone()).filter(|path| !path.is_empty());
        let config = match (&files.config, by_variable) {
            (Some(path), _) => Some(("--config", path.clone())),
            (None, Some(path)) => Some((CONFIG_VARIABLE, path.into())),
            (None, None) => None,
        };
        if let Some((name, path)) = config
            && let Some(text) = sources.read(name, &path)
        {
            sources = sources.file(&path.to_string_lossy(), &text);
        }
        let standard = Path::new(".env");
        let dotenv = match &files.env_file {
            Some(path) => Some(path.as_path()),
            None => standard.try_exists().unwrap_or(true).then_some(standard),
        };
        if let Some(path) = dotenv
            && let Some(text) = sources.read("--env-file", path)
        {
            sources = sources.dotenv(&path.to_string_lossy(), &text);
        }
        sources
    }

    /// Adds the text of a configuration file (see [`super`] for its syntax).
    pub fn file(mut self, path: &str, text: &str) -> Self {
        let path: Arc<str> = path.into();
        let Document { pairs, spaces, faults } = file::parse(text);
        let layer = |line| Layer::File { path: path.clone(), line };
        let entry = |pair: Pair| Entry { name: pair.key, value: Some(pair.value), layer: layer(pair.line) };
        self.entries[FILE].extend(pairs.into_iter().map(entry));
        self.spaces.extend(spaces.into_iter().map(|Space { prefix, options, line }| SpaceEntry {
            prefix,
            options: options.into_iter().map(entry).collect(),
            layer: layer(line),
        }));
        self.faults.extend(faults.into_iter().map(|fault| ConfigError::Syntax {
            path: path.clone(),
            line: fault.line,
            expected: fault.expected.into(),
        }));
        self
    }

    /// Adds the text of a `.env` file. A name that stands twice has its last value, as in a shell.
    pub fn dotenv(mut self, path: &str, text: &str) -> Self {
        let path: Arc<str> = path.into();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            match pair {
                Ok((name, value)) => {
                    let layer = Layer::DotEnv { path: path.clone() };
                    self.entries[DOTENV].retain(|entry| entry.name != name);
                    self.entries[DOTENV].push(Entry { name, value: Some(value), layer });
                }
                Err(error) => self.faults.push(dotenv_fault(&path, text, &error)),
            }
        }
        self
    }

    /// Adds environment variables.
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let entries = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into().into_string().ok()?;
            Some(Entry { name, value: value.into().into_string().ok(), layer: Layer::Environment })
        });
        self.entries[ENVIRONMENT].extend(entries);
        self
    }

    /// Adds a value of the command line; `flag` is how it was given, such as `--set`. The last one wins.
    pub fn flag(mut self, flag: &'static str, name: &str, value: &str) -> Self {
        self.entries[FLAGS].retain(|entry| !entry.name.eq_ignore_ascii_case(name));
        let (name, value) = (name.to_owned(), Some(value.to_owned()));
        self.entries[FLAGS].push(Entry { name, value, layer: Layer::Flag(flag) });
        self
    }

    fn read(&mut self, name: &str, path: &Path) -> Option<String> {
        match read_text(path) {
            Ok(text) => Some(text),
            Err(source) => {
                let path = path.display().to_string();
                self.faults.push(ConfigError::Unreadable { name: name.to_owned(), path, source });
                None
            }
        }
    }
}

impl std::fmt::Debug for SpaceEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({})", self.prefix, self.layer)
    }
}

impl std::fmt::Debug for Entry {
    // The value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.layer)
    }
}

/// Reads a file of at most [`FILE_BYTES_MAX`] bytes: a device or a log named by mistake must not fill the memory.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than a configuration can be"));
    }
    Ok(text)
}

/// The error of dotenvy holds the line's text, which may be a secret; only the line's number goes on.
fn dotenv_fault(path: &Arc<str>, text: &str, error: &dotenvy::Error) -> ConfigError {
    let line = match error {
        dotenvy::Error::LineParse(line, _) => {
            let start = line.lines().next().unwrap_or_default();
            text.lines().position(|candidate| candidate == start).map_or(1, |index| index + 1)
        }
        _ => text.lines().count(),
    };
    ConfigError::Syntax {
        path: path.clone(),
        line,
        expected: "NAME=value, in quotes if it holds blanks, # or $".into(),
    }
}

/// Names the configuration file. Not a row of the table: it is read before there is a table to fill.
pub(super) const CONFIG_VARIABLE: &str = "REALTIME_CONFIG";

pub(super) const LAYERS: usize = 4;
pub(super) const FILE: usize = 0;
const DOTENV: usize = 1;
pub(super) const ENVIRONMENT: usize = 2;
pub(super) const FLAGS: usize = 3;
const FILE_BYTES_MAX: u64 = 1 << 20;
