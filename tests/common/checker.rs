//! Judges what subscribers received against what publishers sent and were told: the promises of a channel, checked
//! as jepsen checks a log. Knows no protocol, no clock and no server; it is told what happened, in the order in
//! which it happened.
//!
//! Every payload names its run, channel, publisher and number, so that a message that comes from nowhere shows.

use std::fmt;
use std::ops::RangeInclusive;

use highper_realtime::message::Position;

/// What is published: unique in the world of all tests. As JSON an array of four numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which run of which test.
    pub run: u64,
    /// The channel it is meant for.
    pub channel: u32,
    /// Who published it: one connection, not one client.
    pub publisher: u32,
    /// How many the publisher had published before.
    pub sequence: u32,
}

impl Payload {
    /// What [`fmt::Display`] wrote; `None` is not of our making.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let inner = data.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let mut numbers = inner.split(|byte| *byte == b',').map(|digits| {
            let add = |number: u64, digit: &u8| match digit {
                b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
                _ => None,
            };
            if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
        });
        let mut next = || numbers.next().flatten();
        let run = next()?;
        let mut small = || u32::try_from(next()?).ok();
        let payload = Self { run, channel: small()?, publisher: small()?, sequence: small()? };
        numbers.next().is_none().then_some(payload)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{},{},{},{}]", self.run, self.channel, self.publisher, self.sequence)
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Two payloads stand at one place of a channel, or a publisher was told another place than the one seen.
    Disagreement { channel: u32, offset: u64, one: Payload, other: Payload },
    /// A publication that was accepted never reached a subscriber, who was not told of a gap.
    Lost { client: u32, payload: Payload },
    /// A subscriber is behind what is known of the channel, although everything has arrived.
    Behind { client: u32, channel: u32, offset: u64, head: u64 },
    /// An offset was left out without a signal.
    Hole { client: u32, channel: u32, expected: u64, got: u64 },
    /// A subscriber got an offset again, or one payload stands at two places.
    Duplicate { channel: u32, offset: u64, payload: Payload },
    /// A later publication of a publisher stands before an earlier one.
    OutOfOrder { channel: u32, publisher: u32, first: u32, second: u32 },
    /// Somebody got what was never sent to the channel, or is not in the channel.
    Phantom { client: u32, channel: u32, data: String },
    /// A publication that was refused was delivered.
    AbortedRead { payload: Payload },
    /// Somebody was told that what it missed is gone, although the histories hold everything.
    Forgotten { client: u32, channel: u32, from: Position, to: Position },
    /// A gap was signalled where nothing is missing, or a subscription moved without one.
    FalsePosition { client: u32, channel: u32, from: Position, to: Position },
}

/// A subscription of one connection; [`Checker::joined`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionId(usize);

/// How much was checked: a run in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publications sent.
    pub published: u64,
    /// Of them, those the server accepted.
    pub accepted: u64,
    /// Of them, those it refused.
    pub refused: u64,
    /// Messages that subscribers received.
    pub received: u64,
    /// Gap signals that subscribers received.
    pub gaps: u64,
    /// Subscriptions that were confirmed.
    pub subscriptions: u64,
    /// Subscribers that came back and were promised everything they missed.
    pub recovered: u64,
    /// Subscribers that came back and were told that it is gone.
    pub unrecovered: u64,
    /// Holes of subscribers to whom only the latest counts.
    pub skipped: u64,
}

/// The judge of one run.
#[derive(Debug)]
pub struct Checker {
    run: u64,
    /// Whether histories lose nothing: whoever comes back to a channel with publications gets all it missed.
    pub keeps_all: bool,
    /// Channels in which a later publication may come instead of earlier ones.
    pub conflates: fn(u32) -> bool,
    /// Counts what was reported, to tell before from after.
    clock: u64,
    channels: Vec<Vec<Epoch>>,
    publishers: Vec<Vec<Publication>>,
    subscriptions: Vec<Subscription>,
    findings: Vec<Finding>,
    tally: Tally,
}

/// One life of a channel's numbering.
#[derive(Debug)]
struct Epoch {
    name: u64,
    /// What stands at each offset, from 1; as publisher and number.
    places: Vec<Option<(u32, u32)>>,
}

#[derive(Debug)]
struct Publication {
    channel: u32,
    sent: u64,
    fate: Fate,
    seen_at: Option<Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Accepted(Option<u64>),
    Refused,
}

#[derive(Debug)]
struct Subscription {
    client: u32,
    channel: u32,
    since: u64,
    /// Where it began.
    from: Position,
    position: Position,
    /// Offsets that a gap signal covered.
    missed: Vec<RangeInclusive<u64>>,
    ended: bool,
}

impl Checker {
    /// A run about which nothing is known.
    pub fn new(run: u64) -> Self {
        Self {
            run,
            keeps_all: false,
            conflates: |_| false,
            clock: 0,
            channels: Vec::new(),
            publishers: Vec::new(),
            subscriptions: Vec::new(),
            findings: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// A connection begins to publish; its number.
    pub fn publisher(&mut self) -> u32 {
        self.publishers.push(Vec::new());
        self.publishers.len() as u32 - 1
    }

    /// A publication is about to be sent.
    pub fn publishing(&mut self, publisher: u32, channel: u32) -> Payload {
        let sent = self.tick();
        self.tally.published += 1;
        let published = &mut self.publishers[publisher as usize];
        published.push(Publication { channel, sent, fate: Fate::Unknown, seen_at: None });
        Payload { run: self.run, channel, publisher, sequence: published.len() as u32 - 1 }
    }

    /// The server said that it accepted a publication, and where it stands if somebody listened.
    pub fn accepted(&mut self, payload: Payload, offset: Option<u64>) {
        self.tally.accepted += 1;
        self.publication(payload).fate = Fate::Accepted(offset);
    }

    /// The server said that it did nothing.
    pub fn refused(&mut self, payload: Payload) {
        self.tally.refused += 1;
        self.publication(payload).fate = Fate::Refused;
    }

    /// A subscription was confirmed.
    pub fn joined(&mut self, client: u32, channel: u32, from: Position) -> SubscriptionId {
        let since = self.tick();
        self.tally.subscriptions += 1;
        let missed = Vec::new();
        let subscription =
            Subscription { client, channel, since, from, position: from, missed, ended: false };
        self.subscriptions.push(subscription);
        SubscriptionId(self.subscriptions.len() - 1)
    }

    /// A subscription was confirmed again: it must stand where it stood.
    pub fn joined_again(&mut self, id: SubscriptionId, at: Position) {
        let Subscription { client, channel, position, .. } = self.subscriptions[id.0];
        if (self.conflates)(channel) && at.epoch == position.epoch && at.offset > position.offset {
            // What it stands at is still to come, or something later.
            self.skip(id, at.offset);
        } else if position != at {
            self.findings.push(Finding::FalsePosition { client, channel, from: position, to: at });
        }
    }

    /// Who was away is back, at this position, and was promised all it missed: the subscription goes on as if it had
    /// never ended.
    pub fn recovered(&mut self, id: SubscriptionId, at: Position) {
        self.tally.recovered += 1;
        let subscription = &mut self.subscriptions[id.0];
        subscription.ended = false;
        let Subscription { client, channel, position: from, .. } = *subscription;
        if at.epoch != from.epoch || at.offset < from.offset {
            self.findings.push(Finding::FalsePosition { client, channel, from, to: at });
        }
    }

    /// Who was away is back and was told that what it missed is gone: a gap in the same epoch, a new subscription in
    /// another one.
    pub fn unrecovered(&mut self, id: SubscriptionId, at: Position) -> SubscriptionId {
        self.tally.unrecovered += 1;
        let Subscription { client, channel, position: from, .. } = self.subscriptions[id.0];
        if self.keeps_all && from.offset > 0 {
            self.findings.push(Finding::Forgotten { client, channel, from, to: at });
        }
        if at.epoch == from.epoch {
            self.subscriptions[id.0].ended = false;
            self.gap(id, at);
            return id;
        }
        self.ended(id);
        self.joined(client, channel, at)
    }

    /// A message came for a subscription.
    pub fn received(&mut self, id: SubscriptionId, offset: u64, data: &[u8]) {
        self.tally.received += 1;
        let Subscription { client, channel, position, ended, .. } = self.subscriptions[id.0];
        let Some(payload) = self.genuine(channel, data).filter(|_| !ended) else {
            return self.phantom(client, channel, data);
        };
        if offset <= position.offset {
            self.findings.push(Finding::Duplicate { channel, offset, payload });
            return;
        }
        if offset != position.offset + 1 && (self.conflates)(channel) {
            self.skip(id, offset - 1);
        } else if offset != position.offset + 1 {
            let expected = position.offset + 1;
            self.findings.push(Finding::Hole { client, channel, expected, got: offset });
        }
        let position = Position { offset, ..position };
        self.subscriptions[id.0].position = position;
        self.place(channel, position, payload);
    }

    /// Something later takes the place of everything up to this offset.
    fn skip(&mut self, id: SubscriptionId, to: u64) {
        self.tally.skipped += 1;
        let subscription = &mut self.subscriptions[id.0];
        subscription.missed.push(subscription.position.offset + 1..=to);
        subscription.position.offset = to;
    }

    /// A message came to a connection that is not in the channel.
    pub fn phantom(&mut self, client: u32, channel: u32, data: &[u8]) {
        let data = String::from_utf8_lossy(data).into_owned();
        self.findings.push(Finding::Phantom { client, channel, data });
    }

    /// A subscriber was told that it missed everything up to this position.
    pub fn gap(&mut self, id: SubscriptionId, to: Position) {
        self.tally.gaps += 1;
        let subscription = &mut self.subscriptions[id.0];
        let Subscription { client, channel, position: from, .. } = *subscription;
        if to.epoch != from.epoch || to.offset <= from.offset {
            // While somebody is subscribed the numbering does not begin anew.
            self.findings.push(Finding::FalsePosition { client, channel, from, to });
        }
        subscription.missed.push(from.offset + 1..=to.offset);
        subscription.position = to;
    }

    /// The connection left the channel, or is gone.
    pub fn ended(&mut self, id: SubscriptionId) {
        self.subscriptions[id.0].ended = true;
    }

    /// Subscriptions that are behind what others know of their channel: none once everything has arrived.
    pub fn behind(&self) -> usize {
        let alive = self.subscriptions.iter().filter(|subscription| !subscription.ended);
        alive.filter(|subscription| subscription.position.offset < self.head(subscription)).count()
    }

    /// What was checked so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Everything has arrived that will: judges what only the whole run shows, and gives all findings.
    pub fn finish(mut self) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.findings);
        self.judge_places(&mut findings);
        for subscription in self.subscriptions.iter().filter(|subscription| !subscription.ended) {
            self.judge_subscription(subscription, &mut findings);
        }
        findings
    }

    /// Order, duplicates and refused publications, of everything that anybody has seen.
    fn judge_places(&self, findings: &mut Vec<Finding>) {
        for (channel, epochs) in (0..).zip(&self.channels) {
            for epoch in epochs {
                let mut last = vec![None; self.publishers.len()];
                for (publisher, sequence) in epoch.places.iter().flatten() {
                    let before = last[*publisher as usize].replace(*sequence);
                    if let Some(first) = before.filter(|before| before > sequence) {
                        let (publisher, second) = (*publisher, *sequence);
                        findings.push(Finding::OutOfOrder { channel, publisher, first, second });
                    }
                }
            }
        }
        for (publisher, published) in (0..).zip(&self.publishers) {
            for (sequence, publication) in (0..).zip(published) {
                let payload = self.payload(publication.channel, publisher, sequence);
                match (publication.fate, publication.seen_at) {
                    (Fate::Refused, Some(_)) => findings.push(Finding::AbortedRead { payload }),
                    (Fate::Accepted(told), Some(seen)) if told != Some(seen.offset) => {
                        let (channel, offset) = (payload.channel, seen.offset);
                        findings.push(Finding::Disagreement {
                            channel,
                            offset,
                            one: payload,
                            other: payload,
                        });
                    }
                    (Fate::Accepted(_) | Fate::Unknown | Fate::Refused, _) => {}
                }
            }
        }
    }

    /// What a subscription that lives to the end must have seen: all that was accepted since it was confirmed.
    fn judge_subscription(&self, subscription: &Subscription, findings: &mut Vec<Finding>) {
        let Subscription { client, channel, position, .. } = *subscription;
        let head = self.head(subscription);
        if position.offset < head {
            findings.push(Finding::Behind { client, channel, offset: position.offset, head });
        }
        let epoch = self.epoch(channel, position.epoch);
        for (publisher, published) in (0..).zip(&self.publishers) {
            for (sequence, publication) in (0..).zip(published) {
                let Fate::Accepted(told) = publication.fate else { continue };
                if publication.channel != channel || publication.sent < subscription.since {
                    continue;
                }
                let is_covered = told.is_some_and(|offset| {
                    let stands = epoch.and_then(|epoch| epoch.at(offset));
                    let was_seen = offset <= position.offset && stands == Some((publisher, sequence));
                    was_seen || subscription.missed.iter().any(|missed| missed.contains(&offset))
                });
                if !is_covered || told.is_some_and(|offset| offset <= subscription.from.offset) {
                    let payload = self.payload(channel, publisher, sequence);
                    findings.push(Finding::Lost { client, payload });
                }
            }
        }
    }

    /// Notes what stands where; two opinions are a finding.
    fn place(&mut self, channel: u32, at: Position, payload: Payload) {
        if self.channels.len() <= channel as usize {
            self.channels.resize_with(channel as usize + 1, Vec::new);
        }
        let epochs = &mut self.channels[channel as usize];
        let known = epochs.iter().rposition(|epoch| epoch.name == at.epoch).unwrap_or_else(|| {
            epochs.push(Epoch { name: at.epoch, places: Vec::new() });
            epochs.len() - 1
        });
        let places = &mut epochs[known].places;
        let index = at.offset as usize - 1;
        if places.len() <= index {
            places.resize(index + 1, None);
        }
        let this = (payload.publisher, payload.sequence);
        if let Some((publisher, sequence)) = places[index].replace(this).filter(|before| *before != this) {
            let (one, offset) = (self.payload(channel, publisher, sequence), at.offset);
            self.findings.push(Finding::Disagreement { channel, offset, one, other: payload });
        }
        if self.publication(payload).seen_at.replace(at).is_some_and(|before| before != at) {
            self.findings.push(Finding::Duplicate { channel, offset: at.offset, payload });
        }
    }

    /// The payload, if it was sent to this channel in this run.
    fn genuine(&self, channel: u32, data: &[u8]) -> Option<Payload> {
        let payload = Payload::parse(data)?;
        let published = self.publishers.get(payload.publisher as usize)?;
        let publication = published.get(payload.sequence as usize)?;
        let is_ours = payload.run == self.run && payload.channel == channel;
        (is_ours && publication.channel == channel).then_some(payload)
    }

    /// The highest offset that anybody has seen in the life of the channel in which the subscription is.
    fn head(&self, subscription: &Subscription) -> u64 {
        let epoch = self.epoch(subscription.channel, subscription.position.epoch);
        epoch.map_or(0, |epoch| epoch.places.len() as u64)
    }

    fn epoch(&self, channel: u32, name: u64) -> Option<&Epoch> {
        self.channels.get(channel as usize)?.iter().rfind(|epoch| epoch.name == name)
    }

    fn publication(&mut self, payload: Payload) -> &mut Publication {
        &mut self.publishers[payload.publisher as usize][payload.sequence as usize]
    }

    fn payload(&self, channel: u32, publisher: u32, sequence: u32) -> Payload {
        Payload { run: self.run, channel, publisher, sequence }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Epoch {
    fn at(&self, offset: u64) -> Option<(u32, u32)> {
        *self.places.get(offset.checked_sub(1)? as usize)?
    }
}
