//! Tokens and secrets from a shell: `realtime token` signs what a client shows, `realtime genconfig` writes a `.env`
//! to start from. Never asks a server.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value as Json};

use super::{Exit, Given, complain, refuse, say};
use crate::auth::{Claims, Verifier, random_secret, sign};
use crate::config::{Bounds, Config, Unit, Value};

/// Whose token, for what, for how long.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// Whose token; without it, nobody's in particular.
    #[arg(long)]
    user: Option<String>,
    /// The private channel that the token lets the user into; it opens no connection then.
    #[arg(long)]
    channel: Option<String>,
    /// How long it is taken.
    #[arg(long, default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// More claims, such as '{"channels":["news"],"permissions":{"publish":["chat:*"]}}'.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    #[command(flatten)]
    given: Given,
}

/// Signs a token with REALTIME_JWT_SECRET and prints it.
pub(super) fn token(given: &Given, token: Token) -> Exit {
    let loaded = match given.clone().and(token.given.clone()).load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    let now = highper_shards::clock::unix_millis() / 1000;
    let payload = match claims(&token, &loaded.config, now) {
        Ok(payload) => payload,
        Err(message) => {
            complain(&format_args!("error: --claims: {message}"));
            return Exit::Usage;
        }
    };
    if let Err(bad) = Claims::parse(payload.as_bytes()) {
        complain(&format_args!("error: {bad}"));
        return Exit::Usage;
    }
    let signed = sign(&loaded.config, &payload);
    let checked = signed.and_then(|token| Verifier::new(&loaded.config).map(|verifier| (token, verifier)));
    match checked {
        Err(error) => {
            complain(&format_args!("error: {error}"));
            Exit::Config
        }
        // The server has a set of published keys, which this secret is not in, or the claims are not for it.
        Ok((token, verifier)) => match verifier.verify(&token, now) {
            Ok(_) => say(&format!("{token}\n")),
            Err(error) => {
                complain(&format_args!("error: this server would not take it: {error}"));
                Exit::Failed
            }
        },
    }
}

/// Prints a `.env` with fresh secrets.
pub(super) fn genconfig() -> Exit {
    say(&format!(
        "# Made by realtime genconfig. The secrets are nobody else's: keep this file out of version control (chmod 600).\n\
         APP_ENV=production\n\
         \n\
         # Clients show a token that your backend signs with this secret: realtime token --user ann\n\
         REALTIME_AUTH_ENABLED=true\n\
         REALTIME_JWT_ALGORITHM=HS256\n\
         REALTIME_JWT_SECRET={}\n\
         REALTIME_JWT_LEEWAY=30\n\
         # What clients without a token may do: refuse, subscribe or full.\n\
         REALTIME_ANONYMOUS=refuse\n\
         \n\
         # Your backend shows this key to the server API, as X-API-Key.\n\
         REALTIME_API_KEY={}\n\
         \n\
         # For later: webhooks are signed with the one, servers of a cluster know each other by the other.\n\
         # REALTIME_WEBHOOK_SECRET={}\n\
         # REALTIME_CLUSTER_SECRET={}\n",
        random_secret(),
        random_secret(),
        random_secret(),
        random_secret(),
    ))
}

/// The payload. What the flags say stands in no JSON; issuer and audience are the first that the server takes.
fn claims(token: &Token, config: &Config, now: u64) -> Result<String, &'static str> {
    let mut claims = match &token.claims {
        None => Map::new(),
        Some(json) => serde_json::from_str(json).map_err(|_| "expected a JSON object")?,
    };
    let flags = [
        ("sub", token.user.as_deref().map(Json::from)),
        ("channel", token.channel.as_deref().map(Json::from)),
        ("iat", Some(now.into())),
        ("exp", Some(now.saturating_add(token.ttl.as_secs()).into())),
    ];
    for (name, value) in flags {
        if let Some(value) = value
            && claims.insert(name.to_owned(), value).is_some()
        {
            return Err("sub, channel, iat and exp come from --user, --channel and --ttl");
        }
    }
    for (name, known) in [("iss", &config.jwt_issuers), ("aud", &config.jwt_audiences)] {
        if let Some(first) = known.first() {
            claims.entry(name).or_insert_with(|| first.as_str().into());
        }
    }
    Ok(Json::Object(claims).to_string())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let bounds = Bounds { unit: Unit::Seconds, min: 1, max: TTL_SECONDS_MAX, ..Bounds::ANY };
    Duration::parse(text, &bounds).ok_or_else(|| format!("expected {}", Duration::expects(&bounds)))
}

/// Ten years: a token for longer is a password.
const TTL_SECONDS_MAX: u64 = 10 * 365 * 86_400;
