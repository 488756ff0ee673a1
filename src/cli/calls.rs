//! The server API from a shell: `realtime publish`, `history` and the rest are the calls a backend makes, over HTTP.
//! Never touches a shard.

use std::fmt::Write;
use std::io;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::target::Target;
use super::{Exit, Given, complain, refuse, say};
use crate::api::API;
use crate::config::Config;

/// A call to a running server.
#[derive(Debug, Subcommand)]
pub(super) enum Call {
    /// Publish into a channel of a running server.
    Publish {
        /// Where to.
        channel: String,
        /// What: JSON, so text in its own quotes: '"hello"'.
        data: String,
        /// The name that streams of Server-Sent Events give it.
        #[arg(long)]
        event: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Print what a channel keeps.
    History {
        /// Which channel.
        channel: String,
        /// How many publications at most, newest first.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Print who is in a channel.
    Presence {
        /// Which channel.
        channel: String,
        #[command(flatten)]
        server: Server,
    },
    /// Print the channels with subscribers, and how many each has.
    Channels {
        /// Only those whose name matches: * is any text, ? one character.
        pattern: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Close every connection of a user.
    Disconnect {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// Print what the server tells of itself.
    Info {
        #[command(flatten)]
        server: Server,
    },
}

/// Which server is called.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// Where the server is instead of the configured address; http only.
    #[arg(long, value_name = "http://HOST[:PORT]")]
    url: Option<String>,
    #[command(flatten)]
    given: Given,
}

/// Makes a call and prints its result.
pub(super) fn call(given: &Given, call: Call) -> Exit {
    let (method, body, server) = match call {
        Call::Publish { channel, data, event, server } => {
            let Ok(data) = serde_json::from_str::<&RawValue>(&data) else {
                complain(&"error: DATA is not JSON; text stands in quotes of its own, such as '\"hello\"'");
                return Exit::Usage;
            };
            let mut body = json!({ "channel": channel });
            if let Some(event) = event {
                body["event"] = event.into();
            }
            // The data go as they were given, byte for byte.
            let mut body = body.to_string();
            body.pop();
            write!(body, r#","data":{data}}}"#).expect("a string takes everything");
            ("publish", body, server)
        }
        Call::History { channel, limit, server } => {
            ("history", json!({ "channel": channel, "limit": limit, "reverse": true }).to_string(), server)
        }
        Call::Presence { channel, server } => ("presence", json!({ "channel": channel }).to_string(), server),
        Call::Channels { pattern, server } => ("channels", json!({ "pattern": pattern }).to_string(), server),
        Call::Disconnect { user, server } => ("disconnect", json!({ "user": user }).to_string(), server),
        Call::Info { server } => ("info", "{}".to_owned(), server),
    };
    let Server { url, given: more } = server;
    let loaded = match given.clone().and(more).load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    match ask(&loaded.config, url.as_deref(), method, &body) {
        Ok(result) => say(&format!("{result}\n")),
        Err(message) => {
            complain(&format_args!("error: {message}"));
            Exit::Failed
        }
    }
}

/// The result of a call, or what is wrong in words.
fn ask(config: &Config, url: Option<&str>, method: &str, body: &str) -> Result<String, String> {
    let mut target = match url {
        Some(url) => Target::of_url(url).ok_or("--url: expected http://host[:port]")?,
        None => Target::of_config(config),
    };
    target.path = format!("{API}/{method}");
    let key = config.api_key.as_ref().map(|key| key.expose());
    let answered = target.post(key, body).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            format!("no server at {target}: {error}; start one with: realtime serve")
        }
        _ => format!("{target}: {error}"),
    })?;
    let answer: Answer<'_> = serde_json::from_slice(&answered.body)
        .map_err(|_| format!("{target} answered {} and no JSON of ours", answered.status))?;
    match answer {
        Answer::Result(result) => Ok(result.to_string()),
        Answer::Error { message } => Err(message),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'a> {
    /// As the server wrote it, digit for digit.
    #[serde(borrow)]
    Result(&'a RawValue),
    Error {
        message: String,
    },
}
