//! Text that is never shown. Never compares secrets: that is for whoever checks a credential.

use std::fmt;

use super::{Bounds, Value};

/// A secret. `Debug`, `Display`, errors and printed configuration show `(hidden)` in its place.
///
/// It cannot be compared: `==` tells by its time how much of a guess is right.
///
/// ```compile_fail
/// use highper_realtime::config::Secret;
/// assert!(Secret::new("a") == Secret::new("a"));
/// ```
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one who signs or checks with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn expects(_: &Bounds) -> String {
        format!("a secret of at most {SECRET_BYTES_MAX} bytes without NUL")
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        (raw.len() <= SECRET_BYTES_MAX && !raw.contains('\0')).then(|| Self::new(raw))
    }

    fn show(&self) -> String {
        HIDDEN.to_owned()
    }

    fn redacted(_: &str) -> String {
        HIDDEN.to_owned()
    }
}

/// What stands in the place of a secret.
pub(in crate::config) const HIDDEN: &str = "(hidden)";

/// A chain of PEM blocks fits; a log file named by mistake does not.
const SECRET_BYTES_MAX: usize = 64 * 1024;
