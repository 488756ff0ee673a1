//! Where a value came from, what was wrong with it, and what is worth a warning. Never shows a secret: values enter
//! here redacted.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Where the value of a variable came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub layer: Layer,
    /// The name it was set by, where that is not the variable's first name.
    pub spelling: Option<Arc<str>>,
}

/// The sources, weakest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// Nobody said anything.
    #[default]
    Default,
    /// A line of the configuration file.
    File {
        /// Its path.
        path: Arc<str>,
        /// Its line, from 1.
        line: usize,
    },
    /// The `.env` file.
    DotEnv {
        /// Its path.
        path: Arc<str>,
    },
    /// The environment of the process.
    Environment,
    /// A flag of the command line.
    Flag(&'static str),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that its variable cannot have.
    #[error("{name}={value} ({origin}): expected {expected}")]
    Value {
        /// The variable by its first name.
        name: &'static str,
        /// The value as given, redacted.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What would be right.
        expected: String,
    },
    /// A namespace, or one of its options, that cannot be.
    #[error("{setting} ({origin}): expected {expected}")]
    Namespace {
        /// The namespace or its option with its value, as in `namespaces."chat:".presence=1`.
        setting: String,
        /// Where it came from.
        origin: Origin,
        /// What would be right.
        expected: String,
    },
    /// A variable that must be set and is not.
    #[error("{name} is not set: expected {expected}")]
    Missing {
        /// The variable by its first name.
        name: &'static str,
        /// What would be right.
        expected: String,
    },
    /// A file that could not be read.
    #[error("{name}={path}: cannot be read: {source}")]
    Unreadable {
        /// The flag or variable that named it.
        name: String,
        /// Its path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line that does not follow the file's syntax. Its text is not shown, it may hold a secret.
    #[error("{path}:{line}: expected {expected}")]
    Syntax {
        /// The file.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// What would be right.
        expected: Cow<'static, str>,
    },
    /// A name on the command line that is no variable.
    #[error("{name} ({origin}) is not a variable{}", NearestText(.nearest))]
    Unknown {
        /// The name as given.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// A secret given both by itself and by a file.
    #[error("{name} and its _FILE twin are both set ({origin}): expected one of them")]
    Twice {
        /// The variable by its first name.
        name: &'static str,
        /// Where both stand.
        origin: Origin,
    },
    /// A secret on the command line, where every user of the machine can read it.
    #[error(
        "{name} ({origin}): expected a secret not on the command line, where every user can read it; {hint}"
    )]
    OnCommandLine {
        /// The variable by its first name.
        name: &'static str,
        /// Where it stands.
        origin: Origin,
        /// What to use instead.
        hint: String,
    },
}

/// Everything that is wrong with a configuration, at once.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

/// Something that does not stop the server and that its operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A name with one of our prefixes that is no variable.
    Unknown {
        /// The name as given.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// A variable whose feature comes with a later release was set.
    Later {
        /// The variable by its first name.
        name: &'static str,
        /// Its value, redacted.
        value: String,
        /// Where it came from.
        origin: Origin,
    },
    /// A variable without an effect has a value that cannot be read.
    Ignored {
        /// The variable by its first name.
        name: &'static str,
        /// Its value, redacted.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// Why the variable has no effect.
        reason: &'static str,
    },
    /// Two different values for one variable in one source.
    Differs {
        /// The variable by its first name.
        name: &'static str,
        /// The one that counts.
        kept: Origin,
        /// The one that does not.
        dropped: Origin,
    },
    /// A variable that Kubernetes set because a service has our name.
    ServiceLink {
        /// The variable by its first name.
        name: &'static str,
    },
    /// A value that works and is probably not what was wanted.
    Advice {
        /// The variable by its first name.
        name: &'static str,
        /// Its value, redacted.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What it leads to.
        advice: String,
    },
}

impl ConfigErrors {
    /// The errors, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Whether missing permissions are all that is wrong.
    pub fn is_permission(&self) -> bool {
        self.0.iter().all(|error| match error {
            ConfigError::Unreadable { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            ConfigError::Value { .. }
            | ConfigError::Namespace { .. }
            | ConfigError::Missing { .. }
            | ConfigError::Syntax { .. }
            | ConfigError::Unknown { .. }
            | ConfigError::Twice { .. }
            | ConfigError::OnCommandLine { .. } => false,
        })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer.fmt(f)?;
        match &self.spelling {
            Some(name) => write!(f, " as {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::DotEnv { path } => f.write_str(path),
            Self::Environment => f.write_str("environment"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, origin, nearest } => {
                write!(f, "{name} ({origin}) is not a variable{}", NearestText(nearest))
            }
            Self::Later { name, value, origin } => {
                write!(f, "{name}={value} ({origin}) has no effect yet: it comes with a later release")
            }
            Self::Ignored { name, value, origin, reason } => {
                write!(f, "{name}={value} ({origin}) cannot be read and would have no effect: {reason}")
            }
            Self::Differs { name, kept, dropped } => {
                write!(f, "{name} has two values: the one of {kept} counts, the one of {dropped} does not")
            }
            Self::ServiceLink { name } => write!(
                f,
                "{name} (environment) was set by Kubernetes for a service of that name and is ignored; \
                 set enableServiceLinks: false"
            ),
            Self::Advice { name, value, origin, advice } => write!(f, "{name}={value} ({origin}): {advice}"),
        }
    }
}

struct NearestText<'a>(&'a Option<String>);

impl fmt::Display for NearestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}
