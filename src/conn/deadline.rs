//! When an open connection must be looked at next, and what is due then: heartbeat, silence, the embedder's
//! timers. Plain arithmetic on moments; never reads a clock.

use std::time::Duration;

use highper_shards::Moment;

/// The intervals that bound a peer's silence.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// After this much silence the peer is pinged; `None` pings nobody.
    pub interval: Option<Duration>,
    /// How long a pinged peer may stay silent.
    pub timeout: Duration,
    /// Where nobody is pinged: how long a peer may stay silent. Zero is for ever.
    pub idle_timeout: Duration,
}

/// What a peer's silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing; look again then. `None` is never.
    Nothing(Option<Moment>),
    /// Ask whether it is alive, and look again then.
    Ping(Moment),
    /// It was silent for too long.
    Close,
}

impl Heartbeat {
    /// What is due at `now` for a peer last heard at `heard`, pinged since or not.
    pub fn due(&self, now: Moment, heard: Moment, pinged: bool) -> Due {
        let Some(interval) = self.interval else {
            return match self.idle_timeout {
                Duration::ZERO => Due::Nothing(None),
                timeout if now >= heard + timeout => Due::Close,
                timeout => Due::Nothing(Some(heard + timeout)),
            };
        };
        if pinged {
            let until = heard + interval + self.timeout;
            return if now >= until { Due::Close } else { Due::Nothing(Some(until)) };
        }
        if now < heard + interval {
            return Due::Nothing(Some(heard + interval));
        }
        Due::Ping(now + self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Heartbeat = Heartbeat {
        interval: Some(Duration::from_secs(30)),
        timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(300),
    };

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_peer_is_pinged_then_closed() {
        assert_eq!(BEAT.due(at(29), at(0), false), Due::Nothing(Some(at(30))));
        assert_eq!(BEAT.due(at(30), at(0), false), Due::Ping(at(40)));
        assert_eq!(BEAT.due(at(39), at(0), true), Due::Nothing(Some(at(40))));
        assert_eq!(BEAT.due(at(40), at(0), true), Due::Close);
    }

    #[test]
    fn whoever_was_heard_meanwhile_is_left_alone() {
        assert_eq!(BEAT.due(at(40), at(35), false), Due::Nothing(Some(at(65))));
    }

    #[test]
    fn without_heartbeat_only_the_idle_timeout_closes() {
        let quiet = Heartbeat { interval: None, ..BEAT };
        assert_eq!(quiet.due(at(299), at(0), false), Due::Nothing(Some(at(300))));
        assert_eq!(quiet.due(at(300), at(0), false), Due::Close);
        let never = Heartbeat { idle_timeout: Duration::ZERO, ..quiet };
        assert_eq!(never.due(at(9999), at(0), false), Due::Nothing(None));
    }
}
