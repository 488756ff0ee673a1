//! Promises about frames that may be lost: whoever reads what is left knows of every hole.

use super::*;

const LIMIT: usize = 400;

fn label(loss: Loss, topic: u32, number: u32) -> Option<Label> {
    Some(Label { loss, topic, number })
}

/// A frame whose text says what it is.
fn frame(tx: &mut Tx, text: &str) -> Frame {
    tx.frame(|out| out.extend_from_slice(text.as_bytes()))
}

fn push(tx: &mut Tx, outbox: &mut Outbox, text: &str, label: Option<Label>) -> Result<bool, OutboxFull> {
    let frame = frame(tx, text);
    tx.push_event(outbox, None, frame, label, 20)
}

fn gap(lost: Lost, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("<{}:{}>", lost.topic, lost.number).as_bytes());
}

/// Everything that waits, as it would be sent.
fn rest(tx: &mut Tx, outbox: &mut Outbox) -> String {
    let mut all = String::new();
    while let Some(frame) = tx.take(outbox) {
        all.push_str(std::str::from_utf8(&frame).unwrap());
        tx.paid(outbox, frame.len());
        tx.recycle(frame);
    }
    assert_eq!((outbox.bytes(), tx.queued(), tx.held()), (0, 0, 0));
    all
}

#[test]
fn the_oldest_make_room_and_a_word_stands_where_they_were() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    push(&mut tx, &mut outbox, "[kept]", None).unwrap();
    for (text, number) in [("aaaa", 1), ("bbbb", 2), ("cccc", 3)] {
        push(&mut tx, &mut outbox, text, label(Loss::Oldest, 7, number)).unwrap();
    }
    assert_eq!(push(&mut tx, &mut outbox, "dddd", label(Loss::Oldest, 7, 4)), Err(OutboxFull));
    let lost = tx.drop_oldest(&mut outbox, 14, gap).unwrap();
    assert_eq!((lost.topic, lost.number, lost.count), (7, 1, 1));
    assert_eq!(outbox.bytes(), "[kept]<7:1>bbbbcccc".len());
    let lost = tx.drop_oldest(&mut outbox, 0, gap).unwrap();
    assert_eq!((lost.number, lost.count), (3, 2), "both, and the word before becomes part of theirs");
    assert_eq!(tx.drop_oldest(&mut outbox, 0, gap), None, "nothing else may be lost");
    push(&mut tx, &mut outbox, "dddd", label(Loss::Oldest, 7, 4)).unwrap();
    assert_eq!(rest(&mut tx, &mut outbox), "[kept]<7:3>dddd");
}

#[test]
fn a_word_stays_before_what_was_queued_behind_it() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    for (text, label) in
        [("aaaa", label(Loss::Oldest, 1, 1)), ("[at 1]", None), ("bbbb", label(Loss::Oldest, 1, 2))]
    {
        push(&mut tx, &mut outbox, text, label).unwrap();
    }
    while tx.drop_oldest(&mut outbox, 0, gap).is_some() {}
    assert_eq!(rest(&mut tx, &mut outbox), "<1:1>[at 1]<1:2>");
}

#[test]
fn who_has_no_word_for_it_gets_none() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    for number in 1..=3 {
        push(&mut tx, &mut outbox, "aaaa", label(Loss::Oldest, 1, number)).unwrap();
    }
    assert_eq!(tx.drop_oldest(&mut outbox, 4, |_, _| {}).map(|lost| lost.count), Some(2));
    assert_eq!(rest(&mut tx, &mut outbox), "aaaa");
}

#[test]
fn of_each_topic_only_the_latest_waits() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    for (text, topic) in [("a1", 1), ("b1", 2), ("a2", 1), ("a3", 1), ("b2", 2)] {
        push(&mut tx, &mut outbox, text, label(Loss::Latest, topic, 0)).unwrap();
    }
    push(&mut tx, &mut outbox, "kept", None).unwrap();
    assert_eq!(push(&mut tx, &mut outbox, "a4", label(Loss::Latest, 1, 0)), Ok(true));
    assert_eq!(rest(&mut tx, &mut outbox), "b2kepta4");
    assert_eq!(push(&mut tx, &mut outbox, "a5", label(Loss::Latest, 1, 0)), Ok(false), "a4 is gone out");
}

#[test]
fn what_is_in_flight_stays() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    push(&mut tx, &mut outbox, "a1", label(Loss::Latest, 1, 1)).unwrap();
    let in_flight = tx.take(&mut outbox).unwrap();
    assert_eq!(push(&mut tx, &mut outbox, "a2", label(Loss::Latest, 1, 2)), Ok(false));
    assert_eq!((&in_flight[..], tx.held(), outbox.bytes()), (&b"a1"[..], 4, 4));
    tx.paid(&mut outbox, 2);
    tx.recycle(in_flight);
    assert_eq!(rest(&mut tx, &mut outbox), "a2");
}

#[test]
fn nothing_is_written_behind_what_may_be_lost() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    push(&mut tx, &mut outbox, "a1", label(Loss::Latest, 1, 1)).unwrap();
    tx.write(&mut outbox, 100, |out| out.extend_from_slice(b"[pong]")).unwrap();
    push(&mut tx, &mut outbox, "a2", label(Loss::Latest, 1, 2)).unwrap();
    assert_eq!(rest(&mut tx, &mut outbox), "[pong]a2");
}

#[test]
fn what_is_kept_is_lost_no_more() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    push(&mut tx, &mut outbox, "a", label(Loss::Oldest, 1, 1)).unwrap();
    push(&mut tx, &mut outbox, "bb", label(Loss::Latest, 2, 1)).unwrap();
    push(&mut tx, &mut outbox, "cccc", None).unwrap();
    assert_eq!((tx.kept(&outbox), tx.has_loose(&outbox)), (4, true));
    tx.keep(&outbox, 1);
    tx.keep(&outbox, 2);
    assert_eq!((tx.kept(&outbox), tx.has_loose(&outbox)), (7, false));
    assert_eq!(tx.drop_oldest(&mut outbox, 0, gap), None);
    assert!(!tx.drop_latest(&mut outbox, 2));
    assert_eq!(rest(&mut tx, &mut outbox), "abbcccc");
}

#[test]
fn a_frame_of_many_is_held_once_and_owed_by_each() {
    let mut tx = Tx::new();
    let shared = frame(&mut tx, "0123456789");
    let mut outboxes: Vec<Outbox> = (0..5).map(|_| Outbox::new()).collect();
    for outbox in &mut outboxes {
        tx.push(outbox, shared.clone(), 100).unwrap();
    }
    tx.recycle(shared);
    assert_eq!((tx.queued(), tx.held()), (50, 10));
    let in_flight = tx.take(&mut outboxes[0]).unwrap();
    outboxes[1..].iter_mut().for_each(|outbox| tx.forget(outbox));
    assert_eq!((tx.queued(), tx.held()), (10, 10), "the send holds it");
    tx.forget(&mut outboxes[0]);
    assert_eq!((tx.queued(), tx.held()), (0, 10), "the kernel still reads it");
    tx.recycle(in_flight);
    assert_eq!(tx.held(), 0);
}

/// A reader of many topics whose frames have openings with the place in each, as streams of many channels have, or
/// none, as others have.
struct Reader {
    has_openings: bool,
    /// Numbers that were queued.
    queued: [u32; TOPICS],
    /// Up to where each topic has come, or was told to be lost.
    known: [u32; TOPICS],
    /// Topics of which a loss was told since.
    told: [bool; TOPICS],
    claims: Option<Vec<u32>>,
    words: u32,
    text: String,
}

const TOPICS: usize = 4;

impl Reader {
    /// Odd topics are told of, even ones have their latest only, but the first is never lost.
    fn label(topic: usize, number: u32) -> Option<Label> {
        match topic {
            0 => None,
            2 => label(Loss::Latest, 2, number),
            _ => label(Loss::Oldest, topic as u32, number),
        }
    }

    fn publish(&mut self, tx: &mut Tx, outbox: &mut Outbox, topic: usize, len: usize) -> bool {
        self.queued[topic] += 1;
        let number = self.queued[topic];
        let shared = frame(tx, &format!("m {topic} {number} {}\n", "x".repeat(len)));
        let opening = self.has_openings.then(|| frame(tx, &format!("o {:?}\n", self.queued)));
        let label = Self::label(topic, number);
        let bytes = shared.len() + opening.as_ref().map_or(0, |opening| opening.len());
        if outbox.bytes() + bytes > LIMIT {
            let has_openings = self.has_openings;
            while outbox.bytes() + bytes > LIMIT
                && tx
                    .drop_oldest(outbox, LIMIT - bytes, |Lost { topic, number, .. }, out| {
                        let number = if has_openings { String::new() } else { number.to_string() };
                        out.extend_from_slice(format!("w {topic} {number}\n").as_bytes());
                    })
                    .is_some()
            {}
        }
        let most = if label.is_some() && !tx.has_loose(outbox) { usize::MAX } else { LIMIT };
        tx.push_event(outbox, opening, shared, label, most).is_ok()
    }

    fn read(&mut self, bytes: &[u8]) {
        self.text.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some(end) = self.text.find('\n') {
            let line: String = self.text.drain(..=end).collect();
            self.on_line(line.trim_end());
        }
    }

    fn on_line(&mut self, line: &str) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        if words[0] == "o" {
            let claims = line[2..].trim_matches(['[', ']']).split(", ");
            self.claims = Some(claims.map(|number| number.parse().unwrap()).collect());
            return;
        }
        let topic: usize = words[1].parse().unwrap();
        let number = words.get(2).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        match (words[0], number) {
            ("m", Some(number)) if topic == 2 => {
                assert!(number > self.known[topic], "the latest never goes back");
                self.known[topic] = number;
            }
            ("m", Some(number)) => {
                assert_eq!(number, self.known[topic] + 1, "topic {topic}: a hole that was not told");
                self.known[topic] = number;
            }
            ("w", Some(number)) => {
                assert!(number > self.known[topic], "topic {topic}: a word about nothing");
                self.known[topic] = number;
                self.words += 1;
            }
            ("w", None) => {
                self.told[topic] = true;
                self.words += 1;
            }
            other => panic!("{other:?}"),
        }
        for (topic, claim) in self.claims.take().into_iter().flatten().enumerate() {
            let is_told = std::mem::take(&mut self.told[topic]);
            if is_told {
                assert!(claim > self.known[topic], "topic {topic}: a word about nothing");
                self.known[topic] = claim;
            }
            // The latest may be claimed before it comes: what was left out is older than what comes.
            assert!(claim == self.known[topic] || topic == 2, "topic {topic}: {claim} was never told");
        }
    }
}

#[test]
fn every_hole_is_told_whatever_the_order() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % most as u64) as usize
    };
    let (mut words, mut refused) = (0, 0);
    for round in 0..400 {
        let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
        let mut reader = Reader {
            has_openings: round % 2 == 0,
            queued: [0; TOPICS],
            known: [0; TOPICS],
            told: [false; TOPICS],
            claims: None,
            words: 0,
            text: String::new(),
        };
        let mut in_flight: Option<Frame> = None;
        let topics = 1 + below(TOPICS);
        for _ in 0..400 {
            match below(8) {
                0 => {
                    if let Some(frame) = in_flight.take().or_else(|| tx.take(&mut outbox)) {
                        tx.paid(&mut outbox, frame.len());
                        reader.read(&frame);
                        tx.recycle(frame);
                    }
                }
                1 if in_flight.is_none() => in_flight = tx.take(&mut outbox),
                _ => {
                    let topic = below(topics);
                    if !reader.publish(&mut tx, &mut outbox, topic, below(40)) {
                        refused += 1;
                        reader.queued[topic] -= 1;
                        // The connection of a reader who lost the latest is closed.
                        if topic == 2 {
                            break;
                        }
                    }
                }
            }
            // One over the limit, and words that are longer than what they stand for.
            assert!(outbox.bytes() < LIMIT + 100 + 400, "{} bytes", outbox.bytes());
        }
        while let Some(frame) = in_flight.take().or_else(|| tx.take(&mut outbox)) {
            tx.paid(&mut outbox, frame.len());
            reader.read(&frame);
            tx.recycle(frame);
        }
        assert_eq!((outbox.bytes(), tx.queued(), tx.held()), (0, 0, 0));
        words += reader.words;
    }
    assert!(words > 1000 && refused > 10, "{words} words, {refused} refused");
}
