//! The checker finds each fault it is there for, and nothing where nothing is wrong.

#[path = "common/checker.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod checker;

use checker::{Checker, Finding, Payload, SubscriptionId};
use highper_realtime::message::Position;

const RUN: u64 = 7;
const ROOM: u32 = 3;

/// Two subscribers and two publishers in one room.
struct Log {
    checker: Checker,
    ann: SubscriptionId,
    bob: SubscriptionId,
}

fn at(offset: u64) -> Position {
    Position { epoch: 99, offset }
}

fn log() -> Log {
    let mut checker = Checker::new(RUN);
    assert_eq!((checker.publisher(), checker.publisher()), (0, 1));
    let ann = checker.joined(0, ROOM, at(10));
    let bob = checker.joined(1, ROOM, at(10));
    Log { checker, ann, bob }
}

impl Log {
    fn publish(&mut self, publisher: u32, offset: u64) -> Payload {
        let payload = self.checker.publishing(publisher, ROOM);
        self.checker.accepted(payload, Some(offset));
        payload
    }

    fn receive(&mut self, whom: SubscriptionId, offset: u64, payload: Payload) {
        self.checker.received(whom, offset, payload.to_string().as_bytes());
    }

    fn both(&mut self, offset: u64, payload: Payload) {
        self.receive(self.ann, offset, payload);
        self.receive(self.bob, offset, payload);
    }

    fn one_finding(self) -> Finding {
        let mut findings = self.checker.finish();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

#[test]
fn a_right_log_is_clean() {
    let mut log = log();
    for offset in 11..30 {
        let payload = log.publish(offset as u32 % 2, offset);
        log.both(offset, payload);
    }
    log.checker.joined_again(log.ann, at(29));
    let refused = log.checker.publishing(0, ROOM);
    log.checker.refused(refused);
    log.checker.publishing(0, ROOM);
    let tally = log.checker.tally();
    assert_eq!((tally.published, tally.accepted, tally.refused), (21, 19, 1));
    assert_eq!((tally.received, tally.subscriptions, log.checker.behind()), (38, 2, 0));
    assert_eq!(log.checker.finish(), []);
}

#[test]
fn a_payload_is_read_as_it_was_written() {
    let payload = Payload { run: u64::MAX, channel: 1, publisher: 0, sequence: u32::MAX };
    assert_eq!(Payload::parse(payload.to_string().as_bytes()), Some(payload));
    for other in
        ["", "[]", "[1,2,3]", "[1,2,3,4,5]", "[1,2,3,4] ", "[1,2,,4]", "[1,2,3,4294967296]", "[-1,2,3,4]"]
    {
        assert_eq!(Payload::parse(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn two_payloads_at_one_place_are_found() {
    let mut log = log();
    let (one, other) = (log.publish(0, 11), log.publish(1, 12));
    log.receive(log.ann, 11, one);
    log.receive(log.bob, 11, other);
    let findings = log.checker.finish();
    assert!(
        findings.contains(&Finding::Disagreement { channel: ROOM, offset: 11, one, other }),
        "{findings:?}"
    );
}

#[test]
fn a_place_that_is_not_the_one_the_publisher_was_told_is_found() {
    let mut log = log();
    let payload = log.publish(0, 12);
    log.both(11, payload);
    let disagrees = |finding: &Finding| matches!(finding, Finding::Disagreement { offset: 11, .. });
    assert!(log.checker.finish().iter().any(disagrees));
}

#[test]
fn an_accepted_publication_that_one_subscriber_never_gets_is_found() {
    let mut log = log();
    let payload = log.publish(0, 11);
    log.receive(log.ann, 11, payload);
    assert_eq!(log.checker.behind(), 1);
    let findings = log.checker.finish();
    let behind = Finding::Behind { client: 1, channel: ROOM, offset: 10, head: 11 };
    assert_eq!(findings, [behind, Finding::Lost { client: 1, payload }]);
}

#[test]
fn an_accepted_publication_that_nobody_gets_is_found() {
    for told in [Some(11), None] {
        let mut log = log();
        let payload = log.checker.publishing(0, ROOM);
        log.checker.accepted(payload, told);
        let lost = [0, 1].map(|client| Finding::Lost { client, payload });
        assert_eq!(log.checker.finish(), lost);
    }
}

#[test]
fn what_a_gap_signal_covers_is_not_lost_and_what_follows_it_counts() {
    let mut log = log();
    let (one, two) = (log.publish(0, 11), log.publish(0, 12));
    log.receive(log.ann, 11, one);
    log.receive(log.ann, 12, two);
    log.checker.gap(log.bob, at(11));
    assert_eq!(log.checker.behind(), 1);
    log.receive(log.bob, 12, two);
    assert_eq!((log.checker.behind(), log.checker.tally().gaps), (0, 1));
    assert_eq!(log.checker.finish(), []);
}

#[test]
fn a_gap_signal_that_covers_nothing_is_found() {
    for to in [at(10), at(9), Position { epoch: 5, offset: 20 }] {
        let mut log = log();
        log.checker.gap(log.ann, to);
        let false_position = Finding::FalsePosition { client: 0, channel: ROOM, from: at(10), to };
        assert_eq!(log.one_finding(), false_position);
    }
}

#[test]
fn a_second_join_that_moves_the_subscription_is_found() {
    let mut log = log();
    log.checker.joined_again(log.ann, at(12));
    assert!(matches!(log.one_finding(), Finding::FalsePosition { client: 0, .. }));
}

#[test]
fn an_offset_that_is_left_out_is_found() {
    let mut log = log();
    let (one, two) = (log.publish(0, 11), log.publish(0, 12));
    log.receive(log.ann, 11, one);
    log.receive(log.ann, 12, two);
    log.receive(log.bob, 12, two);
    assert_eq!(log.one_finding(), Finding::Hole { client: 1, channel: ROOM, expected: 11, got: 12 });
}

#[test]
fn an_offset_that_comes_again_is_found() {
    let mut log = log();
    let payload = log.publish(0, 11);
    log.both(11, payload);
    log.receive(log.ann, 11, payload);
    assert_eq!(log.one_finding(), Finding::Duplicate { channel: ROOM, offset: 11, payload });
}

#[test]
fn a_payload_at_two_places_is_found() {
    let mut log = log();
    let payload = log.checker.publishing(0, ROOM);
    log.both(11, payload);
    log.both(12, payload);
    let is_twice = |finding: &Finding| matches!(finding, Finding::Duplicate { offset: 12, .. });
    assert!(log.checker.finish().iter().any(is_twice));
}

#[test]
fn a_publisher_whose_order_changes_is_found() {
    let mut log = log();
    let (one, two) = (log.publish(0, 12), log.publish(0, 11));
    log.both(11, two);
    log.both(12, one);
    assert_eq!(log.one_finding(), Finding::OutOfOrder { channel: ROOM, publisher: 0, first: 1, second: 0 });
}

#[test]
fn what_nobody_sent_here_is_found() {
    let foreign = [
        "[8,3,0,0]", // Another run.
        "[7,4,0,0]", // Another channel.
        "[7,3,9,0]", // No such publisher.
        "[7,3,0,5]", // Not published yet.
        "{}",
    ];
    for data in foreign {
        let mut log = log();
        log.checker.publishing(0, ROOM);
        log.checker.received(log.ann, 11, data.as_bytes());
        let phantom = Finding::Phantom { client: 0, channel: ROOM, data: data.into() };
        assert_eq!(log.one_finding(), phantom);
    }
}

#[test]
fn a_message_after_the_end_of_a_subscription_is_found() {
    let mut log = log();
    let payload = log.publish(0, 11);
    log.both(11, payload);
    log.checker.ended(log.ann);
    let late = log.publish(0, 12);
    log.both(12, late);
    assert!(matches!(log.one_finding(), Finding::Phantom { client: 0, .. }));
}

#[test]
fn a_refused_publication_that_is_delivered_is_found() {
    let mut log = log();
    let payload = log.checker.publishing(0, ROOM);
    log.checker.refused(payload);
    log.both(11, payload);
    assert_eq!(log.one_finding(), Finding::AbortedRead { payload });
}

#[test]
fn who_left_may_miss_what_comes_later() {
    let mut log = log();
    log.checker.ended(log.bob);
    let payload = log.publish(0, 11);
    log.receive(log.ann, 11, payload);
    assert_eq!(log.checker.finish(), []);
}

#[test]
fn another_life_of_a_channel_numbers_anew() {
    let mut log = log();
    let payload = log.publish(0, 11);
    log.both(11, payload);
    log.checker.ended(log.ann);
    log.checker.ended(log.bob);
    let again = log.checker.joined(0, ROOM, Position { epoch: 100, offset: 0 });
    let payload = log.publish(0, 1);
    log.receive(again, 1, payload);
    assert_eq!(log.checker.finish(), []);
}

/// Bob was away while a publication came, and now says where he was.
fn bob_comes_back() -> (Log, Payload) {
    let mut log = log();
    log.checker.ended(log.bob);
    let payload = log.publish(0, 11);
    log.receive(log.ann, 11, payload);
    (log, payload)
}

#[test]
fn who_comes_back_and_gets_what_it_missed_was_never_away() {
    let (mut log, payload) = bob_comes_back();
    log.checker.recovered(log.bob, at(11));
    assert_eq!(log.checker.behind(), 1, "it is still to come");
    log.receive(log.bob, 11, payload);
    let next = log.publish(1, 12);
    log.both(12, next);
    assert_eq!(log.checker.finish(), []);
}

#[test]
fn what_is_missing_after_a_promise_of_all_of_it_is_found() {
    let (mut log, _) = bob_comes_back();
    log.checker.recovered(log.bob, at(11));
    let findings = log.checker.finish();
    assert!(
        findings.iter().any(|finding| matches!(finding, Finding::Behind { client: 1, .. })),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| matches!(finding, Finding::Lost { client: 1, .. })),
        "{findings:?}"
    );

    let (mut log, _) = bob_comes_back();
    log.checker.recovered(log.bob, at(11));
    let next = log.publish(0, 12);
    log.both(12, next);
    let hole = Finding::Hole { client: 1, channel: ROOM, expected: 11, got: 12 };
    assert!(log.checker.finish().contains(&hole));
}

#[test]
fn what_comes_twice_after_a_comeback_is_found() {
    let (mut log, payload) = bob_comes_back();
    log.checker.recovered(log.bob, at(11));
    log.receive(log.bob, 11, payload);
    log.receive(log.bob, 11, payload);
    assert_eq!(log.one_finding(), Finding::Duplicate { channel: ROOM, offset: 11, payload });
}

#[test]
fn a_comeback_to_another_life_of_the_channel_is_found() {
    let (mut log, _) = bob_comes_back();
    log.checker.recovered(log.bob, Position { epoch: 100, offset: 11 });
    log.checker.ended(log.bob);
    assert!(matches!(log.one_finding(), Finding::FalsePosition { client: 1, .. }));
}

#[test]
fn what_is_told_to_be_gone_is_a_gap_or_another_life() {
    let (mut log, _) = bob_comes_back();
    assert_eq!(log.checker.unrecovered(log.bob, at(11)), log.bob);
    assert_eq!(log.checker.finish(), []);

    let (mut log, _) = bob_comes_back();
    let again = log.checker.unrecovered(log.bob, Position { epoch: 100, offset: 0 });
    assert_ne!(again, log.bob);
    assert_eq!(log.checker.finish(), []);
}

#[test]
fn a_gap_where_histories_hold_all_is_found() {
    let (mut log, _) = bob_comes_back();
    log.checker.keeps_all = true;
    log.checker.unrecovered(log.bob, at(11));
    let forgotten = Finding::Forgotten { client: 1, channel: ROOM, from: at(10), to: at(11) };
    assert_eq!(log.one_finding(), forgotten);
}

#[test]
fn where_only_the_latest_counts_it_must_come_and_nothing_older_after_it() {
    let skipping = || {
        let mut log = log();
        log.checker.conflates = |room| room == ROOM;
        let payloads: Vec<_> = (11..=14).map(|offset| log.publish(0, offset)).collect();
        log.receive(log.bob, 12, payloads[1]);
        log.receive(log.ann, 14, payloads[3]);
        (log, payloads)
    };
    let (mut log, payloads) = skipping();
    log.receive(log.bob, 14, payloads[3]);
    assert_eq!(log.checker.tally().skipped, 3);
    assert_eq!(log.checker.finish(), []);

    let (log, _) = skipping();
    assert!(log.checker.finish().contains(&Finding::Behind {
        client: 1,
        channel: ROOM,
        offset: 12,
        head: 14
    }));

    let (mut log, payloads) = skipping();
    log.receive(log.bob, 11, payloads[0]);
    log.receive(log.bob, 14, payloads[3]);
    assert_eq!(
        log.one_finding(),
        Finding::Duplicate { channel: ROOM, offset: 11, payload: payloads[0] },
        "it went back"
    );
}
