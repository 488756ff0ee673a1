//! The configuration: one table of variables, read once from defaults < file < `.env` < environment < flags into one
//! immutable [`Config`]. Owns every variable; never acts on one. Imports nothing else of this crate.
//!
//! The configuration file is TOML: at the top `REALTIME_PORT = 8080` or `port = 8080`, arrays for lists, and below
//! tables `[namespaces."chat:"]` with the options of channels whose name begins so. An empty value is no value. A secret can stand in a file that `NAME_FILE` names, such as a systemd credential (`%d/name`).

mod checks;
mod error;
mod file;
mod load;
mod names;
mod namespaces;
pub mod print;
mod row;
mod source;
mod value;
mod vars;

pub use error::{ConfigError, ConfigErrors, Layer, Origin, Warning};
pub use load::{Loaded, Origins};
pub use namespaces::{
    BadNamespace, CHANNEL_OPTIONS, ChannelOption, ChannelRules, Namespaces, OPTIONS_COUNT, OptionDefault,
};
pub use row::{Reload, Row, Status};
pub use source::{Files, Sources};
pub use value::*;
pub use vars::{ACCEPTED_PREFIXES, Config, ROWS};
