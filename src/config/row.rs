//! What a row of the table of variables says, and the macro that turns rows into [`Config`] and its list of rows.
//! Never holds a row itself: those stand in `vars.rs`.

use super::value::{Bounds, Unit, Value};
use super::vars::Config;

/// One variable.
pub struct Row {
    /// Name of the field of [`Config`].
    pub field: &'static str,
    /// Name of the variable.
    pub name: &'static str,
    /// Other names that mean the same. In one source the earlier name wins.
    pub aliases: &'static [&'static str],
    /// The default as it could be written; empty for "unset".
    pub default: &'static str,
    /// One sentence on what it does.
    pub doc: &'static str,
    /// Heading it stands under.
    pub group: &'static str,
    /// Unit of a plain number, and range.
    pub bounds: Bounds,
    /// When a changed value takes effect.
    pub reload: Reload,
    /// Whether it has an effect in this release.
    pub status: Status,
    /// Whether its value is never shown. A secret has a `_FILE` twin that names a file holding it.
    pub secret: bool,
    pub(super) codec: Codec,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At the next start.
    Restart,
    /// At a reload, without a restart.
    Live,
}

/// Whether a variable has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what its sentence says.
    Active,
    /// It is parsed and checked; the feature comes with a later release.
    Later,
    /// It never has an effect here, for this reason; its value is never an error.
    Accepted(&'static str),
}

/// What a row can do with its type, as plain functions so that rows are constants.
pub(super) struct Codec {
    pub(super) expects: fn(&Bounds) -> String,
    pub(super) set: fn(&mut Config, &str, &Bounds) -> bool,
    pub(super) show: fn(&Config) -> String,
    pub(super) redacted: fn(&str) -> String,
    pub(super) exposes: fn(&str) -> bool,
}

/// Name, aliases and default of a row, before the rest of it is told.
pub(super) struct Names {
    pub(super) field: &'static str,
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) default: &'static str,
}

impl Row {
    /// All names, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// What is accepted, as the rest of a sentence that starts with "expected".
    pub fn expects(&self) -> String {
        (self.codec.expects)(&self.bounds)
    }

    /// The effective value as text; secrets are hidden.
    pub fn show(&self, config: &Config) -> String {
        (self.codec.show)(config)
    }

    /// Unit and range under this name: `…_MB` counts mebibytes, another name of the same thing counts bytes.
    pub(super) fn bounds_of(&self, name: &str) -> Bounds {
        if self.bounds.unit != Unit::Mebibytes || name.ends_with("_MB") {
            return self.bounds;
        }
        let factor = Unit::Mebibytes.factor();
        Bounds {
            unit: Unit::Bytes,
            min: self.bounds.min.saturating_mul(factor),
            max: self.bounds.max.saturating_mul(factor),
            ..self.bounds
        }
    }

    pub(super) const fn new<T: Value>(
        group: &'static str,
        names: Names,
        doc: &'static str,
        set: fn(&mut Config, &str, &Bounds) -> bool,
        show: fn(&Config) -> String,
    ) -> Self {
        Self {
            field: names.field,
            name: names.name,
            aliases: names.aliases,
            default: names.default,
            doc,
            group,
            bounds: Bounds::ANY,
            reload: Reload::Restart,
            status: Status::Active,
            secret: T::SECRET,
            codec: Codec { expects: T::expects, set, show, redacted: T::redacted, exposes: T::exposes },
        }
    }

    pub(super) const fn unit(mut self, unit: Unit) -> Self {
        self.bounds.unit = unit;
        self
    }

    pub(super) const fn micros(self) -> Self {
        self.unit(Unit::Micros)
    }

    pub(super) const fn millis(self) -> Self {
        self.unit(Unit::Millis)
    }

    pub(super) const fn seconds(self) -> Self {
        self.unit(Unit::Seconds)
    }

    pub(super) const fn bytes(self) -> Self {
        self.unit(Unit::Bytes)
    }

    pub(super) const fn mebibytes(self) -> Self {
        self.unit(Unit::Mebibytes)
    }

    /// Counted in the row's unit.
    pub(super) const fn range(mut self, min: u64, max: u64) -> Self {
        self.bounds.min = min;
        self.bounds.max = max;
        self
    }

    pub(super) const fn power_of_two(mut self) -> Self {
        self.bounds.power_of_two = true;
        self
    }

    pub(super) const fn live(mut self) -> Self {
        self.reload = Reload::Live;
        self
    }

    pub(super) const fn later(mut self) -> Self {
        self.status = Status::Later;
        self
    }

    pub(super) const fn accepted(mut self, reason: &'static str) -> Self {
        self.status = Status::Accepted(reason);
        self
    }
}

/// Turns the table into `Config`, its `Default` and `ROWS`. A row is
///
/// ```text
/// /// One sentence.
/// field: Type = "default", "NAME" | "ALIAS", attribute, attribute(argument);
/// ```
///
/// where an attribute is one of the `const fn`s of [`Row`] above.
macro_rules! vars {
    ($(
        [$group:literal]
        $(
            $(#[doc = $doc:literal])+
            $field:ident : $ty:ty = $default:literal, $name:literal $(| $alias:literal)*
                $(, $attribute:ident $(($($argument:expr),+))?)* ;
        )+
    )+) => {
        /// Every variable as a value. Made whole by [`Config::load`](super::Config::load), replaced whole on a reload.
        #[derive(Clone, Debug)]
        pub struct Config { $($(
            $(#[doc = $doc])+
            #[doc = concat!("\n\n`", $name, "`, default `", $default, "`.")]
            pub $field: $ty,
        )+)+
            /// Channel options by the prefix of the channel's name; tables of the configuration file, not a variable.
            pub namespaces: Namespaces,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($( $field: {
                    const BOUNDS: Bounds = vars!(@row $group, $field, $ty, $default, $name, [$($alias),*],
                        concat!($($doc),+), [$($attribute $(($($argument),+))?)*]).bounds;
                    <$ty as Value>::parse($default, &BOUNDS)
                        .expect(concat!("the default of ", $name, " is tested to parse"))
                }, )+)+ namespaces: Namespaces::default() }
            }
        }

        /// The table of variables, in the order of the groups.
        pub static ROWS: &[Row] = &[ $($(
            vars!(@row $group, $field, $ty, $default, $name, [$($alias),*],
                concat!($($doc),+), [$($attribute $(($($argument),+))?)*]),
        )+)+ ];
    };
    (@row $group:expr, $field:ident, $ty:ty, $default:expr, $name:expr, [$($alias:expr),*],
        $doc:expr, [$($attribute:ident $(($($argument:expr),+))?)*]) => {
        Row::new::<$ty>(
            $group,
            Names { field: stringify!($field), name: $name, aliases: &[$($alias),*], default: $default },
            $doc,
            |config, raw, bounds| match <$ty as Value>::parse(raw, bounds) {
                Some(value) => { config.$field = value; true }
                None => false,
            },
            |config| Value::show(&config.$field),
        )$(.$attribute($($($argument),+)?))*
    };
}

pub(super) use vars;
