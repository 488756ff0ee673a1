//! Tables of the configuration file become namespaces: each option is parsed once, all errors come at once, what is
//! not said is as the variables have it. Never reads a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::error::{ConfigError, Layer, Origin};
use super::super::load::Loaded;
use super::super::names;
use super::super::source::{Entry, SpaceEntry};
use super::options::{CHANNEL_OPTIONS, OPTIONS_COUNT, OptionDefault};
use super::{BadNamespace, ChannelRules, is_prefix};

/// Where the options of each namespace came from, in the order of [`CHANNEL_OPTIONS`].
pub(in crate::config) type OptionOrigins = BTreeMap<Box<str>, [Origin; OPTIONS_COUNT]>;

/// Adds the namespace of a table to the configuration, whose variables are final.
pub(in crate::config) fn add(loaded: &mut Loaded, space: SpaceEntry, errors: &mut Vec<ConfigError>) {
    let name = format!("namespaces.{:?}", space.prefix);
    let table = Origin { layer: space.layer, spelling: None };
    if !is_prefix(&space.prefix) {
        errors.push(refusal(name, &table, super::PREFIX.to_owned()));
        return;
    }
    let before = errors.len();
    let member_events = loaded.config.member_events;
    let mut rules = ChannelRules { member_events, ..*loaded.config.namespaces.defaults() };
    let mut origins: [Option<Origin>; OPTIONS_COUNT] = Default::default();
    for entry in space.options {
        option(&name, entry, &mut rules, &mut origins, errors);
    }
    // Inherited: without presence there is nobody to tell of.
    rules.member_events &= rules.presence || said(&origins, "member_events").is_some();
    if rules.member_events && !rules.presence && errors.len() == before {
        let origin = said(&origins, "member_events").unwrap_or(&table);
        let expected = "false without presence = true".to_owned();
        errors.push(refusal(format!("{name}.member_events=true"), origin, expected));
    }
    if errors.len() > before {
        return;
    }
    match loaded.config.namespaces.insert(&space.prefix, rules) {
        Ok(()) => {
            let origins = complete(origins, loaded);
            loaded.origins.options.insert(space.prefix.into(), origins);
        }
        Err(BadNamespace::Prefix | BadNamespace::MemberEvents) => unreachable!("both were refused above"),
    }
}

/// One `key = value` of the table.
fn option(
    name: &str,
    entry: Entry,
    rules: &mut ChannelRules,
    origins: &mut [Option<Origin>; OPTIONS_COUNT],
    errors: &mut Vec<ConfigError>,
) {
    let origin = Origin { layer: entry.layer, spelling: None };
    let raw = entry.value.unwrap_or_default();
    let Some(index) = CHANNEL_OPTIONS.iter().position(|option| option.name == entry.name) else {
        // A variable below a table is a slip, and its value may be a secret.
        let expected = match names::loose(&entry.name) {
            Some(_) => "variables to stand above the first table".to_owned(),
            None => format!("one of {}", CHANNEL_OPTIONS.each_ref().map(|option| option.name).join(", ")),
        };
        errors.push(refusal(format!("{name}.{}", entry.name), &origin, expected));
        return;
    };
    let option = &CHANNEL_OPTIONS[index];
    if !(option.set)(rules, raw.trim()) {
        errors.push(refusal(format!("{name}.{}={raw}", option.name), &origin, option.expects()));
    }
    origins[index] = Some(origin);
}

/// Where the table says this option, if it does.
fn said<'o>(origins: &'o [Option<Origin>; OPTIONS_COUNT], name: &str) -> Option<&'o Origin> {
    let index = CHANNEL_OPTIONS.iter().position(|option| option.name == name);
    origins[index.expect("named by its row")].as_ref()
}

fn refusal(setting: String, origin: &Origin, expected: String) -> ConfigError {
    ConfigError::Namespace { setting, origin: origin.clone(), expected }
}

/// What was not said came from the variable, or from nobody.
fn complete(said: [Option<Origin>; OPTIONS_COUNT], loaded: &Loaded) -> [Origin; OPTIONS_COUNT] {
    let mut options = CHANNEL_OPTIONS.iter();
    said.map(|said| {
        let option = options.next().expect("there are as many origins as options");
        said.unwrap_or_else(|| match option.default {
            OptionDefault::Fixed(_) => Origin::default(),
            OptionDefault::Variable(field) => inherited(field, loaded),
        })
    })
}

fn inherited(field: &str, loaded: &Loaded) -> Origin {
    let row = names::field(field).1;
    let origin = loaded.origins.of(row).clone();
    match origin.layer {
        Layer::Default => origin,
        Layer::File { .. } | Layer::DotEnv { .. } | Layer::Environment | Layer::Flag(_) => {
            let spelling = origin.spelling.unwrap_or_else(|| Arc::from(row.name));
            Origin { layer: origin.layer, spelling: Some(spelling) }
        }
    }
}
