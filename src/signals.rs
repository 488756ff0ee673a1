//! Signals as messages of one channel. A thread of its own waits for them; nothing runs in a handler.

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals as Incoming;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGQUIT: end after saying goodbye to every connection.
    Terminate,
    /// SIGINT, or a second SIGTERM: end at once.
    Interrupt,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals(Receiver<Signal>);

impl Signals {
    /// Starts to watch. SIGPIPE is ignored by Rust's runtime already.
    pub fn watch() -> std::io::Result<Self> {
        let mut incoming = Incoming::new([SIGTERM, SIGQUIT, SIGINT])?;
        let (sender, receiver) = crossbeam_channel::bounded(4);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut terminating = false;
            for signal in incoming.forever() {
                let what =
                    if signal == SIGINT || terminating { Signal::Interrupt } else { Signal::Terminate };
                if terminating {
                    // The drain is under way and nobody listens any more: a second wish means now.
                    std::process::exit(0);
                }
                terminating = true;
                if sender.send(what).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(receiver))
    }

    /// Where they arrive.
    pub fn receiver(&self) -> &Receiver<Signal> {
        &self.0
    }
}
