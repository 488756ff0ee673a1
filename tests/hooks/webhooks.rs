//! Webhooks: signed, in order, sent again, and counted when they are lost.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use highper_realtime::Config;
use highper_realtime::config::{Secret, WebhookEvent};
use highper_realtime::hooks::{Event, WebhookCounts, Webhooks};
use highper_realtime::message::Names;

use crate::backend::{Backend, Request};
use crate::client::{DEADLINE, wait_until};

const SECRET: &str = "k7Wq2-zPm9_Rt4vXb1Ns6Yc8Hd3Lf5Jg0";

fn start(backend: &Backend, change: impl FnOnce(&mut Config)) -> Webhooks {
    let mut config = Config {
        webhook_url: backend.url("", "/told"),
        webhook_secret: Some(Secret::new(SECRET)),
        ..Config::default()
    };
    change(&mut config);
    Webhooks::start(&config).unwrap().expect("a webhook is configured")
}

fn post(webhooks: &Webhooks, names: &Names, numbers: std::ops::Range<u32>) {
    for number in numbers {
        webhooks.post(Event::Occupied(names.parse(&number.to_string()).unwrap()));
    }
}

/// The numbers that a request tells.
fn numbers(request: &Request) -> Vec<u32> {
    let body = request.json();
    let events = body["events"].as_array().unwrap().iter();
    events.map(|event| event["channel"].as_str().unwrap().parse().unwrap()).collect()
}

fn counts(sent: u64, retried: u64, lost: u64) -> WebhookCounts {
    WebhookCounts { sent, retried, lost, queued: 0 }
}

/// What somebody else's HMAC says.
fn signature(request: &Request) -> String {
    const PROGRAM: &str = "import hashlib, hmac, sys\n\
        print(hmac.new(sys.argv[1].encode(), sys.stdin.buffer.read(), hashlib.sha256).hexdigest())";
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed for the other tests too");
    let timestamp = request.field("x-realtime-timestamp").unwrap();
    let mut input = python.stdin.take().unwrap();
    input.write_all(&[timestamp.as_bytes(), b".", &request.body].concat()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    format!("sha256={}", String::from_utf8(output.stdout).unwrap().trim_end())
}

#[test]
fn a_webhook_is_signed() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |_| {});
    post(&webhooks, &names, 0..2);
    let request = backend.next();
    assert!(request.head.starts_with("POST /told HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.field("content-type"), Some("application/json"));
    assert_eq!(request.field("x-realtime-signature"), Some(&*signature(&request)));
    let timestamp: u64 = request.field("x-realtime-timestamp").unwrap().parse().unwrap();
    let time_ms = request.json()["time_ms"].as_u64().unwrap();
    assert!(timestamp >= time_ms / 1000);
    let event = &request.json()["events"][0];
    assert_eq!((&event["name"], &event["channel"]), (&"channel_occupied".into(), &"0".into()));
    assert!(event["time_ms"].as_u64().unwrap() <= time_ms);
    request.answer(204, "");
    wait_until("it is taken", || webhooks.counts() == counts(2, 0, 0));
}

#[test]
fn without_a_secret_it_is_not_signed() {
    let backend = Backend::start();
    let webhooks = start(&backend, |config| config.webhook_secret = None);
    post(&webhooks, &Names::new(1), 0..1);
    let request = backend.next();
    assert_eq!(request.field("x-realtime-signature"), None);
    assert!(request.field("x-realtime-delivery").is_some());
    request.answer(200, "");
}

#[test]
fn only_what_is_listed_is_told() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| config.webhook_events = vec![WebhookEvent::ChannelVacated]);
    assert!(!webhooks.wants(WebhookEvent::ChannelOccupied));
    post(&webhooks, &names, 0..3);
    webhooks.post(Event::Vacated(names.parse("3").unwrap()));
    let request = backend.next();
    assert_eq!(numbers(&request), [3]);
    request.answer(200, "");
    let none = Config { webhook_url: backend.url("", "/"), webhook_events: Vec::new(), ..Config::default() };
    assert!(Webhooks::start(&none).unwrap().is_none());
    assert!(Webhooks::start(&Config::default()).unwrap().is_none());
}

#[test]
fn events_travel_together_and_in_order() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| config.webhook_batch = 100);
    post(&webhooks, &names, 0..250);
    let mut told = Vec::new();
    while told.len() < 250 {
        let request = backend.next();
        let batch = numbers(&request);
        assert!((1..=100).contains(&batch.len()), "{}", batch.len());
        told.extend(batch);
        request.answer(200, "");
    }
    assert!(told.into_iter().eq(0..250));
    wait_until("all are taken", || webhooks.counts() == counts(250, 0, 0));
}

#[test]
fn what_is_not_taken_is_sent_again_under_the_same_number_before_anything_else() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |_| {});
    post(&webhooks, &names, 0..1);
    let first = backend.next();
    let (body, delivery) = (first.body.clone(), first.field("x-realtime-delivery").unwrap().to_owned());
    first.answer(503, "");
    post(&webhooks, &names, 1..3);
    // A broken connection is a failure too.
    drop(again(&backend, &body, &delivery));
    again(&backend, &body, &delivery).answer(200, "");
    let next = backend.next();
    assert_eq!(numbers(&next), [1, 2]);
    assert_ne!(next.field("x-realtime-delivery"), Some(&*delivery));
    next.answer(200, "");
    wait_until("all are taken", || webhooks.counts() == counts(3, 2, 0));
}

fn again(backend: &Backend, body: &[u8], delivery: &str) -> Request {
    let again = backend.next();
    assert_eq!(again.body, body);
    assert_eq!(again.field("x-realtime-delivery"), Some(delivery));
    assert_eq!(again.field("x-realtime-signature"), Some(&*signature(&again)));
    again
}

#[test]
fn a_full_queue_loses_the_oldest_and_counts_them() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| config.webhook_queue = 10);
    post(&webhooks, &names, 0..1);
    let first = backend.next();
    post(&webhooks, &names, 1..26);
    assert_eq!(webhooks.counts(), WebhookCounts { sent: 0, retried: 0, lost: 15, queued: 11 });
    first.answer(200, "");
    let rest = backend.next();
    assert!(numbers(&rest).into_iter().eq(16..26), "the newest are there");
    rest.answer(200, "");
    wait_until("they are taken", || webhooks.counts() == counts(11, 0, 15));
}

#[test]
fn what_nobody_takes_in_time_is_lost_and_the_next_goes_on() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| {
        config.webhook_retry = Duration::from_nanos(1);
        config.webhook_batch = 2;
    });
    post(&webhooks, &names, 0..3);
    let request = backend.next();
    assert_eq!(numbers(&request), [0, 1]);
    request.answer(500, "");
    let request = backend.next();
    assert_eq!(numbers(&request), [2]);
    request.answer(200, "");
    wait_until("it goes on", || webhooks.counts() == counts(1, 0, 2));
}

#[test]
fn a_stop_sends_what_waits_once_more() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| config.webhook_batch = 2);
    post(&webhooks, &names, 0..2);
    backend.next().answer(503, "");
    post(&webhooks, &names, 2..5);
    std::thread::scope(|scope| {
        scope.spawn(|| webhooks.stop(DEADLINE));
        for expected in [[0, 1].as_slice(), &[2, 3], &[4]] {
            let request = backend.next();
            assert_eq!(numbers(&request), expected);
            request.answer(200, "");
        }
    });
    assert_eq!(webhooks.counts(), counts(5, 1, 0));
    post(&webhooks, &names, 5..6);
    assert_eq!(webhooks.counts().lost + webhooks.counts().queued, 1, "it is told that nobody hears it");
}

#[test]
fn a_stop_gives_up_on_a_backend_that_does_not_take_the_last_try() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |config| config.webhook_batch = 2);
    post(&webhooks, &names, 0..2);
    backend.next().answer(503, "");
    post(&webhooks, &names, 2..5);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| webhooks.stop(DEADLINE));
        wait_until("it ends", || {
            if let Some(request) = backend.waiting() {
                assert_eq!(numbers(&request), [0, 1]);
                request.answer(503, "");
            }
            stopping.is_finished()
        });
    });
    let counts = webhooks.counts();
    assert_eq!((counts.sent, counts.lost, counts.queued), (0, 5, 0));
}

#[test]
fn a_stop_without_grace_waits_for_nobody() {
    let (backend, names) = (Backend::start(), Names::new(1));
    let webhooks = start(&backend, |_| {});
    post(&webhooks, &names, 0..1);
    let _never_answered = backend.next();
    webhooks.stop(Duration::ZERO);
    assert_eq!(webhooks.counts(), WebhookCounts { sent: 0, retried: 0, lost: 0, queued: 1 });
}
