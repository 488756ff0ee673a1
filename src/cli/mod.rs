//! The command line: what is asked for, with which configuration, and the exit code that says how it went.
//! The only place that prints. Never serves by itself: [`run`] is given the function that does.

mod calls;
mod target;
mod tokens;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use self::target::Target;
use crate::config::{Config, ConfigErrors, Files, Loaded, Sources, print};
use clap::{Args, Parser, Subcommand};

/// Real-time server: WebSocket channels over thread-per-core shards.
#[derive(Debug, Parser)]
#[command(name = "realtime", version, disable_help_subcommand = true)]
#[command(
    after_help = "Every variable: realtime config docs. A file to start from: realtime config env > .env"
)]
struct Line {
    #[command(flatten)]
    given: Given,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; this is what happens without a command.
    Serve {
        #[command(flatten)]
        given: Given,
    },
    /// Check the configuration and say everything that is wrong with it (also --check-config).
    CheckConfig {
        /// Take warnings for errors.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        given: Given,
    },
    /// Print the effective value of every variable and where it came from (also --print-config).
    PrintConfig {
        #[command(flatten)]
        given: Given,
    },
    /// Print what can be configured.
    Config {
        #[command(subcommand)]
        what: Printed,
    },
    /// Ask a running server whether it lives.
    Healthcheck {
        /// What to ask instead of /health/live at the configured address; http only.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        given: Given,
    },
    #[command(flatten)]
    Call(calls::Call),
    /// Print a token for a user, signed with REALTIME_JWT_SECRET.
    Token(tokens::Token),
    /// Print a .env with fresh secrets: realtime genconfig > .env
    Genconfig,
    /// Print the version.
    Version,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Printed {
    /// Every variable, as Markdown.
    Docs,
    /// The text of .env.example.
    Env,
    /// The table of the README.
    Readme,
}

/// What every command that reads the configuration takes, before or after its name.
#[derive(Clone, Debug, Default, Args)]
struct Given {
    /// Configuration file (TOML); else REALTIME_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File to read instead of .env.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Set a variable; may be repeated. Secrets are refused here.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// REALTIME_HOST.
    #[arg(long)]
    host: Option<String>,
    /// REALTIME_PORT.
    #[arg(long)]
    port: Option<String>,
    /// REALTIME_SHARDS.
    #[arg(long)]
    shards: Option<String>,
}

/// How it went, in the numbers of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    /// The command line was not understood.
    Usage = 64,
    /// A permission is missing, such as that for a port below 1024.
    NoPermission = 77,
    /// The configuration cannot be used; a restart would not help.
    Config = 78,
}

/// Does what `args` (the program's name first) ask for; `serve` serves and returns when the server has stopped.
/// The warnings of the configuration are in what `serve` gets, for its log.
pub fn run<I, T, F, E>(args: I, serve: F) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
    F: FnOnce(Loaded) -> Result<(), E>,
    E: Error + 'static,
{
    let line = match Line::try_parse_from(args.into_iter().map(spelling)) {
        Ok(line) => line,
        // Help and version come as errors that go to the standard output.
        Err(message) => {
            let exit = if message.use_stderr() { Exit::Usage } else { Exit::Done };
            return finish(message.print().map_or(Exit::Failed, |()| exit));
        }
    };
    let given = line.given;
    finish(match line.command {
        None => start(&given, serve),
        Some(Command::Serve { given: more }) => start(&given.and(more), serve),
        Some(Command::CheckConfig { strict, given: more }) => check(&given.and(more), strict),
        Some(Command::PrintConfig { given: more }) => show(&given.and(more)),
        Some(Command::Config { what: Printed::Docs }) => say(&print::docs()),
        Some(Command::Config { what: Printed::Env }) => say(&print::env_example()),
        Some(Command::Config { what: Printed::Readme }) => say(&print::readme_block()),
        Some(Command::Healthcheck { url, given: more }) => ask(&given.and(more), url.as_deref()),
        Some(Command::Call(call)) => calls::call(&given, call),
        Some(Command::Token(token)) => tokens::token(&given, token),
        Some(Command::Genconfig) => tokens::genconfig(),
        Some(Command::Version) => say(concat!("realtime ", env!("CARGO_PKG_VERSION"), "\n")),
    })
}

fn start<F, E>(given: &Given, serve: F) -> Exit
where
    F: FnOnce(Loaded) -> Result<(), E>,
    E: Error + 'static,
{
    let loaded = match given.load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    if !loaded.config.enabled {
        complain(&"REALTIME_ENABLED=false: nothing to serve");
        return Exit::Done;
    }
    match serve(loaded) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let chain =
                std::iter::successors(Some(&error as &(dyn Error + 'static)), |&error| error.source());
            let permission = chain.clone().any(is_permission);
            complain(&format_args!("error: {}", told_once(chain)));
            if permission { Exit::NoPermission } else { Exit::Failed }
        }
    }
}

fn check(given: &Given, strict: bool) -> Exit {
    let loaded = match given.load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    let severity = if strict { "error" } else { "warning" };
    for warning in &loaded.warnings {
        complain(&format_args!("{severity}: {warning}"));
    }
    if strict && !loaded.warnings.is_empty() {
        return Exit::Config;
    }
    say("configuration ok\n")
}

fn show(given: &Given) -> Exit {
    match given.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format_args!("warning: {warning}"));
            }
            say(&print::print_config(&loaded))
        }
        Err(errors) => refuse(&errors),
    }
}

/// Exits with 0 or 1 only: that is all a container runtime understands.
fn ask(given: &Given, url: Option<&str>) -> Exit {
    let answer = match url {
        Some(url) => {
            Target::of_url(url).ok_or_else(|| io::Error::other("--url: expected http://host[:port][/path]"))
        }
        None => given.load().map(|loaded| Target::of_config(&loaded.config)).map_err(io::Error::other),
    };
    match answer.and_then(|target| target.status()) {
        Ok(200) => Exit::Done,
        Ok(status) => {
            complain(&format_args!("error: answered {status}"));
            Exit::Failed
        }
        Err(error) => {
            complain(&format_args!("error: {error}"));
            Exit::Failed
        }
    }
}

fn refuse(errors: &ConfigErrors) -> Exit {
    for error in errors.iter() {
        complain(&format_args!("error: {error}"));
    }
    if errors.is_permission() { Exit::NoPermission } else { Exit::Config }
}

impl Given {
    /// What stands after the command's name comes on top of what stands before it.
    fn and(mut self, more: Self) -> Self {
        self.set.extend(more.set);
        Self {
            config: more.config.or(self.config),
            env_file: more.env_file.or(self.env_file),
            set: self.set,
            host: more.host.or(self.host),
            port: more.port.or(self.port),
            shards: more.shards.or(self.shards),
        }
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let files = Files { config: self.config.clone(), env_file: self.env_file.clone() };
        let mut sources = Sources::of_process(&files);
        for (name, value) in &self.set {
            sources = sources.flag("--set", name, value);
        }
        let short = [
            ("--host", "REALTIME_HOST", &self.host),
            ("--port", "REALTIME_PORT", &self.port),
            ("--shards", "REALTIME_SHARDS", &self.shards),
        ];
        for (flag, name, value) in short {
            if let Some(value) = value {
                sources = sources.flag(flag, name, value);
            }
        }
        Config::load(sources)
    }
}

/// `--check-config` and `--print-config` are the spellings people know from other servers.
fn spelling(arg: impl Into<OsString>) -> OsString {
    let arg = arg.into();
    match arg.to_str() {
        Some("--check-config") => "check-config".into(),
        Some("--print-config") => "print-config".into(),
        Some(_) | None => arg,
    }
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() { Err("expected NAME=VALUE") } else { Ok((name.to_owned(), value.to_owned())) }
}

fn is_permission(error: &(dyn Error + 'static)) -> bool {
    let system = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let number = error.downcast_ref::<highper_shards::Errno>();
    system == Some(io::ErrorKind::PermissionDenied)
        || number
            .is_some_and(|errno| [highper_shards::Errno::ACCESS, highper_shards::Errno::PERM].contains(errno))
}

/// The errors of a chain, without those whose text their parent already holds.
fn told_once<'a>(chain: impl Iterator<Item = &'a (dyn Error + 'static)>) -> String {
    chain
        .map(|error| error.to_string())
        .reduce(|told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
        .unwrap_or_default()
}

/// Fails without a word if the reader has gone (`realtime config docs | head`).
fn say(text: &str) -> Exit {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_or(Exit::Failed, |()| Exit::Done)
}

fn complain(text: &dyn Display) {
    // Nobody is left to be told if the error stream is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn finish(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
