//! What one connection may send: messages, joins and bytes, and how long a connection that goes on beyond that is
//! borne. Never reads a message.

use std::time::Duration;

use highper_shards::Moment;

use super::rate::{Bucket, Rate};

/// The limits of every connection; `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Messages, in quarters: a control frame costs one, a message four.
    messages: Rate,
    joins: Option<Rate>,
    bytes: Option<Rate>,
    /// What may be refused, in quarters; beyond it the connection ends.
    refusals: Rate,
}

/// What one connection has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    messages: Bucket,
    joins: Bucket,
    bytes: Bucket,
    refusals: Bucket,
}

const _: () = assert!(size_of::<Meter>() <= 32);

/// A limit was passed: what was sent does not count and is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// When the same would pass.
    pub retry_in: Duration,
    /// Whether it was refused so often that the connection is to end.
    pub is_last: bool,
}

/// Quarters that a message costs. Control frames cost one: a flood of pings ends too, a client that answers ours does
/// not notice (W5).
const MESSAGE: u64 = 4;
const CONTROL: u64 = 1;

const MINUTE: Duration = Duration::from_secs(60);

impl Rules {
    /// `messages` per minute, `burst` of them at once; `joins` and `bytes` per minute, all of them at once, 0 without
    /// a limit. A further burst of messages may be refused within a minute.
    pub fn new(messages: u32, burst: u32, joins: u32, bytes: u64) -> Self {
        let burst = u64::from(burst) * MESSAGE;
        let per_minute = |units: u64| (units > 0).then(|| Rate::new(units, MINUTE, units));
        Self {
            messages: Rate::new(u64::from(messages) * MESSAGE, MINUTE, burst),
            joins: per_minute(joins.into()),
            bytes: per_minute(bytes),
            refusals: Rate::new(burst, MINUTE, burst),
        }
    }
}

impl Meter {
    /// A message came in.
    ///
    /// # Errors
    /// It is one too many.
    pub fn on_message(&mut self, now: Moment, rules: &Rules) -> Result<(), Overrun> {
        let taken = self.messages.take(now, &rules.messages, MESSAGE);
        taken.map_err(|retry_in| self.refuse(now, rules, retry_in, MESSAGE))
    }

    /// So many messages came in at once: all of them count, or none. More than a burst pass a meter that has seen
    /// nothing for a while, and are paid back.
    ///
    /// # Errors
    /// They are too many.
    pub fn on_messages(&mut self, now: Moment, rules: &Rules, count: usize) -> Result<(), Overrun> {
        let cost = MESSAGE.saturating_mul(count as u64);
        let taken = self.messages.take(now, &rules.messages, cost);
        taken.map_err(|retry_in| self.refuse(now, rules, retry_in, MESSAGE))
    }

    /// A ping or pong came in.
    ///
    /// # Errors
    /// It is one too many.
    pub fn on_control(&mut self, now: Moment, rules: &Rules) -> Result<(), Overrun> {
        let taken = self.messages.take(now, &rules.messages, CONTROL);
        taken.map_err(|retry_in| self.refuse(now, rules, retry_in, CONTROL))
    }

    /// The message wants to join a channel.
    ///
    /// # Errors
    /// It is one too many.
    pub fn on_join(&mut self, now: Moment, rules: &Rules) -> Result<(), Overrun> {
        let Some(rate) = &rules.joins else { return Ok(()) };
        let taken = self.joins.take(now, rate, 1);
        taken.map_err(|retry_in| self.refuse(now, rules, retry_in, MESSAGE))
    }

    /// The message publishes `bytes`. Somebody who sent nothing for a minute may publish more than the limit at once,
    /// and pays it back.
    ///
    /// # Errors
    /// They are too many.
    pub fn on_publish(&mut self, now: Moment, rules: &Rules, bytes: usize) -> Result<(), Overrun> {
        let Some(rate) = &rules.bytes else { return Ok(()) };
        let taken = self.bytes.take(now, rate, bytes as u64);
        taken.map_err(|retry_in| self.refuse(now, rules, retry_in, MESSAGE))
    }

    fn refuse(&mut self, now: Moment, rules: &Rules, retry_in: Duration, cost: u64) -> Overrun {
        Overrun { retry_in, is_last: self.refusals.take(now, &rules.refusals, cost).is_err() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + SECOND * seconds as u32
    }

    /// The defaults: sixty a minute, ten at once.
    fn rules() -> Rules {
        Rules::new(60, 10, 0, 0)
    }

    #[test]
    fn a_burst_passes_a_further_burst_is_refused_the_next_is_the_last() {
        let (rules, mut meter) = (rules(), Meter::default());
        let sent: Vec<_> = (0..21).map(|_| meter.on_message(at(1), &rules)).collect();
        assert!(sent[..10].iter().all(Result::is_ok));
        let refused = |is_last| Err(Overrun { retry_in: SECOND, is_last });
        assert!(sent[10..20].iter().all(|sent| *sent == refused(false)));
        assert_eq!(sent[20], refused(true));
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_refused() {
        let (rules, mut meter) = (rules(), Meter::default());
        assert!((1..10_000).all(|second| meter.on_message(at(second), &rules).is_ok()));
    }

    #[test]
    fn who_is_refused_now_and_then_stays() {
        let (rules, mut meter, mut refused) = (rules(), Meter::default(), 0);
        for second in 0..600 {
            // One in six seconds too many: as many as come back.
            let count = if second % 6 == 0 { 2 } else { 1 };
            for _ in 0..count {
                match meter.on_message(at(second), &rules) {
                    Ok(()) => {}
                    Err(overrun) => {
                        assert!(!overrun.is_last, "second {second}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 80, "{refused}");
    }

    #[test]
    fn four_control_frames_cost_a_message() {
        let (rules, mut meter) = (rules(), Meter::default());
        let count = |meter: &mut Meter| (0..100).filter(|_| meter.on_control(at(0), &rules).is_ok()).count();
        assert_eq!(count(&mut meter), 40);
        let mut meter = Meter::default();
        let ends = (0..100)
            .position(|_| matches!(meter.on_control(at(0), &rules), Err(Overrun { is_last: true, .. })));
        assert_eq!(ends, Some(80), "forty pass, forty are refused");
    }

    #[test]
    fn many_messages_at_once_count_together_or_not_at_all() {
        let (rules, mut meter) = (rules(), Meter::default());
        assert!(meter.on_messages(at(0), &rules, 8).is_ok());
        assert!(meter.on_messages(at(0), &rules, 3).is_err());
        assert!(meter.on_messages(at(0), &rules, 2).is_ok());
        assert!(meter.on_message(at(0), &rules).is_err());
        let mut meter = Meter::default();
        assert!(meter.on_messages(at(0), &rules, 30).is_ok(), "on credit");
        assert!(meter.on_message(at(20), &rules).is_err(), "which is paid back");
        assert!(meter.on_message(at(21), &rules).is_ok());
        assert!(Meter::default().on_messages(at(0), &rules, usize::MAX).is_ok());
    }

    #[test]
    fn joins_and_bytes_have_limits_of_their_own() {
        let rules = Rules::new(6000, 1000, 3, 1000);
        let mut meter = Meter::default();
        assert!((0..3).all(|_| meter.on_join(at(0), &rules).is_ok()));
        assert_eq!(meter.on_join(at(0), &rules), Err(Overrun { retry_in: 20 * SECOND, is_last: false }));
        assert!(meter.on_publish(at(0), &rules, 999).is_ok() && meter.on_publish(at(0), &rules, 1).is_ok());
        assert!(meter.on_publish(at(0), &rules, 1).is_err());
        let unlimited = Rules::new(1, 1, 0, 0);
        assert!((0..1000).all(|_| meter.on_join(at(0), &unlimited).is_ok()));
        assert!(meter.on_publish(at(0), &unlimited, usize::MAX).is_ok());
    }
}
