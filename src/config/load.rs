//! Sources become a [`Config`]: the strongest source wins, every value is parsed once, all errors come at once.
//! Never reads the environment, and no file but those that `_FILE` twins name.

use std::path::Path;
use std::sync::Arc;

use super::checks;
use super::error::{ConfigError, ConfigErrors, Layer, Origin, Warning};
use super::names::{self, Known};
use super::namespaces::{self, OPTIONS_COUNT, OptionOrigins};
use super::row::{Row, Status};
use super::source::{ENVIRONMENT, Entry, FILE, FLAGS, Sources, read_text};
use super::value::{HIDDEN, LogLevel};
use super::vars::{Config, ROWS};

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each came from.
    pub origins: Origins,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// Where each value came from.
#[derive(Clone, Debug)]
pub struct Origins {
    variables: Box<[Origin]>,
    pub(super) options: OptionOrigins,
}

impl Origins {
    /// Where the value of this row of [`ROWS`] came from.
    pub fn of(&self, row: &Row) -> &Origin {
        &self.variables[names::field(row.field).0]
    }

    /// Where the options of a namespace came from, in the order of [`CHANNEL_OPTIONS`](super::CHANNEL_OPTIONS).
    pub fn of_namespace(&self, prefix: &str) -> Option<&[Origin; OPTIONS_COUNT]> {
        self.options.get(prefix)
    }

    /// Whether somebody set this field of [`Config`] to something, be it the default.
    pub fn is_set(&self, field: &str) -> bool {
        self.variables[names::field(field).0].layer != Layer::Default
    }
}

impl Config {
    /// The configuration of this process: its files and its environment, no flags.
    ///
    /// # Errors
    /// Everything that is wrong, each naming the variable, its value and what was expected.
    pub fn from_env() -> Result<Loaded, ConfigErrors> {
        Self::load(Sources::of_process(&super::Files::default()))
    }

    /// The configuration of these sources.
    ///
    /// # Errors
    /// Everything that is wrong, each naming the variable, its value and what was expected.
    pub fn load(sources: Sources) -> Result<Loaded, ConfigErrors> {
        let mut loading = Loading::new(sources.faults);
        for (layer, entries) in sources.entries.into_iter().enumerate() {
            loading.layer(layer, entries);
        }
        loading.parse();
        let Loading { mut loaded, mut errors, broken, .. } = loading;
        imply(&mut loaded);
        loaded.config.settle();
        for space in sources.spaces {
            namespaces::add(&mut loaded, space, &mut errors);
        }
        checks::run(&mut loaded, &broken, &mut errors);
        if errors.is_empty() { Ok(loaded) } else { Err(ConfigErrors(errors)) }
    }
}

/// Merging and parsing under way.
struct Loading {
    loaded: Loaded,
    settings: Vec<Option<Setting>>,
    errors: Vec<ConfigError>,
    /// Rows whose value is no value: what depends on them is not judged.
    broken: Vec<bool>,
}

/// The raw value that counts so far for a row.
struct Setting {
    known: Known,
    /// `None`: not UTF-8.
    raw: Option<String>,
    layer: Layer,
}

impl Loading {
    fn new(errors: Vec<ConfigError>) -> Self {
        let variables = vec![Origin::default(); ROWS.len()].into();
        let origins = Origins { variables, options: OptionOrigins::default() };
        Self {
            loaded: Loaded { config: Config::default(), origins, warnings: Vec::new() },
            settings: ROWS.iter().map(|_| None).collect(),
            errors,
            broken: vec![false; ROWS.len()],
        }
    }

    fn layer(&mut self, layer: usize, entries: Vec<Entry>) {
        let mut found: Vec<Option<Setting>> = ROWS.iter().map(|_| None).collect();
        for mut entry in entries {
            entry.value = entry.value.map(|text| text.trim().to_owned());
            let known = match layer {
                FILE | FLAGS => names::loose(&entry.name),
                _ => names::exact(&entry.name),
            };
            match known {
                None => self.unknown(layer, entry),
                // An empty value is no value.
                Some(_) if entry.value.as_deref() == Some("") => {}
                Some(known) if layer == ENVIRONMENT && is_service_port(&entry) => {
                    self.loaded.warnings.push(Warning::ServiceLink { name: known.name });
                }
                Some(known) => {
                    let setting = Setting { known, raw: entry.value, layer: entry.layer };
                    self.choose(&mut found[known.index], setting);
                }
            }
        }
        for (chosen, found) in self.settings.iter_mut().zip(found) {
            if found.is_some() {
                *chosen = found;
            }
        }
    }

    /// Two spellings in one source: the earlier name of the row wins; of the same name, the later line.
    fn choose(&mut self, chosen: &mut Option<Setting>, new: Setting) {
        let Some(old) = chosen.take() else {
            *chosen = Some(new);
            return;
        };
        let name = ROWS[new.known.index].name;
        if old.known.twin != new.known.twin {
            self.errors.push(ConfigError::Twice { name, origin: new.origin() });
        }
        let (kept, dropped) = if new.known.rank <= old.known.rank { (new, old) } else { (old, new) };
        if kept.raw != dropped.raw && kept.known.twin == dropped.known.twin {
            let (kept, dropped) = (kept.full_origin(), dropped.full_origin());
            self.loaded.warnings.push(Warning::Differs { name, kept, dropped });
        }
        *chosen = Some(kept);
    }

    fn unknown(&mut self, layer: usize, entry: Entry) {
        let origin = Origin { layer: entry.layer, spelling: None };
        let nearest = || names::nearest(&entry.name);
        if layer == FLAGS {
            let nearest = nearest();
            self.errors.push(ConfigError::Unknown { name: entry.name, origin, nearest });
        } else if layer == FILE || names::suspicious(&entry.name) {
            let nearest = nearest();
            self.loaded.warnings.push(Warning::Unknown { name: entry.name, origin, nearest });
        }
    }

    fn parse(&mut self) {
        for (index, setting) in std::mem::take(&mut self.settings).into_iter().enumerate() {
            let Some(setting) = setting else { continue };
            let row = &ROWS[index];
            let origin = setting.origin();
            self.loaded.origins.variables[index] = origin.clone();
            if let Layer::Flag(_) = setting.layer
                && !setting.known.twin
                && setting.raw.as_deref().is_some_and(row.codec.exposes)
            {
                self.fail(index, on_command_line(row, origin));
                continue;
            }
            let raw = if setting.known.twin { read_secret(&setting) } else { Ok(setting.raw) };
            match raw {
                Ok(raw) => self.assign(index, setting.known.name, raw, origin),
                Err(error) => self.fail(index, error),
            }
        }
    }

    fn assign(&mut self, index: usize, name: &str, raw: Option<String>, origin: Origin) {
        let row = &ROWS[index];
        let bounds = row.bounds_of(name);
        let raw_ref = raw.as_deref();
        if raw_ref.is_some_and(|raw| (row.codec.set)(&mut self.loaded.config, raw, &bounds)) {
            return;
        }
        let value = raw_ref.map_or_else(|| NOT_UTF8.to_owned(), row.codec.redacted);
        match row.status {
            Status::Accepted(reason) => {
                self.loaded.warnings.push(Warning::Ignored { name: row.name, value, origin, reason });
            }
            Status::Active | Status::Later => {
                let expected = (row.codec.expects)(&bounds);
                self.fail(index, ConfigError::Value { name: row.name, value, origin, expected });
            }
        }
    }

    fn fail(&mut self, index: usize, error: ConfigError) {
        self.broken[index] = true;
        self.errors.push(error);
    }
}

impl Setting {
    fn spelled(&self) -> String {
        format!("{}{}", self.known.name, if self.known.twin { "_FILE" } else { "" })
    }

    /// Names the spelling only where it is not the row's first name.
    fn origin(&self) -> Origin {
        let plain = self.known.rank == 0 && !self.known.twin;
        let spelling = (!plain).then(|| Arc::from(self.spelled()));
        Origin { layer: self.layer.clone(), spelling }
    }

    fn full_origin(&self) -> Origin {
        Origin { layer: self.layer.clone(), spelling: Some(self.spelled().into()) }
    }
}

fn is_service_port(entry: &Entry) -> bool {
    entry.value.as_deref().is_some_and(|value| names::is_service_port(&entry.name, value))
}

fn on_command_line(row: &Row, origin: Origin) -> ConfigError {
    let hint = if row.secret { format!("use {}_FILE", row.name) } else { "use the environment".to_owned() };
    ConfigError::OnCommandLine { name: row.name, origin, hint }
}

/// Editors and `echo` end a file with a line break; it is no part of the secret.
fn read_secret(setting: &Setting) -> Result<Option<String>, ConfigError> {
    let path = setting.raw.as_deref().unwrap_or_default();
    match read_text(Path::new(path)) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        // A secret put here by mistake must not be shown: only what looks like a path is.
        Err(source) => {
            let shown = if path.starts_with(['/', '.']) { path } else { HIDDEN };
            Err(ConfigError::Unreadable { name: setting.spelled(), path: shown.to_owned(), source })
        }
    }
}

/// Values that follow from others unless they were set themselves.
fn imply(loaded: &mut Loaded) {
    if loaded.config.debug && !loaded.origins.is_set("log_level") {
        loaded.config.log_level = LogLevel::Debug;
        let debug = &loaded.origins.variables[names::field("debug").0];
        let spelling = Some(Arc::from("REALTIME_DEBUG"));
        loaded.origins.variables[names::field("log_level").0] =
            Origin { layer: debug.layer.clone(), spelling };
    }
}

const NOT_UTF8: &str = "(not UTF-8)";
