//! The JSON shapes that requests to the server API are made of, each read once and strictly. Never knows a call.

use std::borrow::Cow;
use std::fmt;

use highper_wire::dialect::scan::{self, Fault, Members, ScanError};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A string, borrowed where it holds no escape.
#[derive(serde::Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The one member of an object that is not `null`.
pub(super) struct Single<'a> {
    pub name: Text<'a>,
    pub value: &'a RawValue,
}

/// Reads an object. A structure would also be read from a list, by place: here it is not.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Error::custom("must be an object"));
    }
    serde_json::from_str(text)
}

/// What a field holds, `null` too.
pub(super) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// One JSON value that every client can read: no deeper than clients may send it themselves, and no half of a
/// surrogate pair. A raw value was checked for neither.
pub(super) fn document(text: &[u8]) -> Result<&[u8], &'static str> {
    scan::document(text).map(scan::Value::raw).map_err(problem)
}

/// An object whose values are strings: SDKs read tags as that and nothing else. Empty is none.
pub(super) fn tags(text: &str) -> Result<Option<&str>, &'static str> {
    let mut members = Members::of(text.as_bytes()).map_err(problem)?;
    let mut is_empty = true;
    while let Some(member) = members.next_member().map_err(problem)? {
        if member.value.string_bytes().is_none() {
            return Err("must be an object of strings");
        }
        is_empty = false;
    }
    Ok((!is_empty).then_some(text))
}

fn problem(error: ScanError) -> &'static str {
    match error.fault {
        Fault::NotAnObject => "must be an object of strings",
        Fault::TooDeep => "nests deeper than 32 levels",
        Fault::LoneSurrogate => "holds half of a surrogate pair",
        Fault::Incomplete
        | Fault::Unexpected
        | Fault::BadToken
        | Fault::BareControl
        | Fault::BadEscape
        | Fault::Trailing => "must be JSON",
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Single<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(SingleVisitor)
    }
}

struct SingleVisitor;

impl<'de> Visitor<'de> for SingleVisitor {
    type Value = Single<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            if value.get() != "null" && found.replace(Single { name, value }).is_some() {
                return Err(Error::custom("more than one member"));
            }
        }
        found.ok_or_else(|| Error::custom("no member"))
    }
}
