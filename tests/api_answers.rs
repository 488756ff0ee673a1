//! Answers of the server API without a server: outcomes become the JSON that the SDKs read, whatever order they
//! come in.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use highper_realtime::api::server::reply::Node;
use highper_realtime::api::server::{Call, Job, Outcome, Refusal, parse};
use highper_realtime::message::{
    Answer, Extras, Found, Member, Names, Numbered, Position, Publication, Totals,
};
use highper_shards::token::Token;
use highper_shards::{ShardId, SlotId};
use serde_json::{Value, json};

const NODE: Node<'static> = Node { epoch_seed: 0xAB, name: Some("one"), uptime_secs: 7 };

#[track_caller]
fn call<'a>(method: &str, body: &'a str) -> Call<'a> {
    parse(method, body.as_bytes()).unwrap_or_else(|refusal| panic!("{method} {body}: {refusal:?}"))
}

/// The status and body that outcomes, in the order of their parts, give.
fn answered(call: &Call<'_>, outcomes: Vec<Outcome>) -> (u16, String) {
    let mut job = Job::new(call);
    for (part, outcome) in outcomes.into_iter().enumerate() {
        assert!(!job.is_done());
        job.put(part as u16, outcome);
    }
    written(&job)
}

fn written(job: &Job) -> (u16, String) {
    assert!(job.is_done());
    let mut out = Vec::new();
    let status = job.write(&mut out, &NODE);
    (status, String::from_utf8(out).unwrap())
}

#[track_caller]
fn assert_answer(call: &Call<'_>, outcomes: Vec<Outcome>, expected: &Value) {
    let (status, body) = answered(call, outcomes);
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
    assert_eq!((status, &body), (200, expected));
}

fn place(offset: u64) -> Outcome {
    Outcome::Published(Some(Position { epoch: 0x1F, offset }))
}

fn busy() -> Outcome {
    Outcome::Refused(Refusal::try_again())
}

#[test]
fn results_are_what_sdks_read() {
    let publish = call("publish", r#"{"channel":"c","data":1}"#);
    assert_answer(&publish, vec![place(5)], &json!({"result": {"offset": 5, "epoch": "0000001f"}}));
    assert_answer(&publish, vec![Outcome::Published(None)], &json!({"result": {}}));
    let disconnect = call("disconnect", r#"{"user":"u"}"#);
    assert_answer(&disconnect, vec![Outcome::Done], &json!({"result": {}}));
    let refused = vec![Outcome::Refused(Refusal::not_available())];
    let (status, body) = answered(&call("presence", r#"{"channel":"c"}"#), refused);
    assert_eq!((status, &body[..20]), (200, r#"{"error":{"code":108"#));
    let (status, body) = answered(&publish, vec![busy()]);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["temporary"]),
        (503, &json!(111), &json!(true))
    );

    let slot = SlotId { token: Token { index: 2, generation: 3 }, shard: ShardId(1) };
    let members = vec![(slot, Member { user: "a\"b".into(), info: Some(br#"{"x":1}"#.as_slice().into()) })];
    let presence = call("presence", r#"{"channel":"c"}"#);
    let client = slot.to_string();
    let expected = json!({"result": {"presence": {
        &client: {"client": client, "user": "a\"b", "conn_info": {"x": 1}}}}});
    assert_answer(&presence, vec![Answer::Presence(members).into()], &expected);
    let stats = call("presence_stats", r#"{"channel":"c"}"#);
    let answer = Answer::PresenceStats { connections: 3, users: 2 };
    assert_answer(&stats, vec![answer.into()], &json!({"result": {"num_clients": 3, "num_users": 2}}));
}

#[test]
fn surveys_add_up_over_all_shards() {
    let names = Names::new(3);
    let found = |list: &[(&str, u64)]| {
        Found::Channels(list.iter().map(|(name, count)| (names.parse(name).unwrap(), *count)).collect())
    };
    let mut job = Job::new(&call("channels", "{}"));
    for part in [found(&[("b\"", 1), ("a", 2)]), found(&[]), found(&[("a", 3)])] {
        assert!(!job.is_done());
        job.add(0, part, 3);
    }
    let (_, body) = written(&job);
    assert_eq!(body, r#"{"result":{"channels":{"a":{"num_clients":5},"b\"":{"num_clients":1}}}}"#);

    let mut job = Job::new(&call("info", "{}"));
    for _ in 0..3 {
        let totals = Totals { clients: 1, users: 2, channels: 3, subscriptions: 4 };
        job.add(0, Found::Totals(totals), 3);
    }
    let body: Value = serde_json::from_str(&written(&job).1).unwrap();
    let expected = json!({"uid": "00000000000000ab", "name": "one", "version": env!("CARGO_PKG_VERSION"),
        "num_clients": 3, "num_users": 6, "num_channels": 9, "num_subs": 12, "uptime": 7});
    assert_eq!(body, json!({"result": {"nodes": [expected]}}));
}

fn page(epoch: u64) -> Outcome {
    let extras = Extras { tags: Some(br#"{"t":"1"}"#.as_slice().into()), ..Extras::default() };
    let tagged = Publication { extras: Some(extras.into()), ..Publication::new(None, &b"[1]"[..]) };
    let publications = vec![
        Numbered { offset: 4, publication: Publication::new(None, &b"{\"a\":1}"[..]) },
        Numbered { offset: 5, publication: tagged },
    ];
    Answer::History { position: Position { epoch, offset: 5 }, publications }.into()
}

#[test]
fn a_page_of_history_is_of_the_epoch_that_was_asked_for() {
    let expected = json!({"publications": [
        {"offset": 4, "data": {"a": 1}}, {"offset": 5, "data": [1], "tags": {"t": "1"}}],
        "offset": 5, "epoch": "0000001f"});
    let all = r#"{"channel":"c","limit":10}"#;
    let since = r#"{"channel":"c","limit":10,"since":{"offset":3,"epoch":"0000001f"}}"#;
    for body in [all, since] {
        assert_answer(&call("history", body), vec![page(0x1F)], &json!({"result": expected}));
    }
    // Numbering has started again: an empty page would look like the end of what there is.
    let (status, body) = answered(&call("history", since), vec![page(0x20)]);
    assert_eq!((status, &body[..20]), (200, r#"{"error":{"code":112"#), "{body}");
    let foreign = since.replace("0000001f", "bRTq");
    let (_, body) = answered(&call("history", &foreign), vec![page(0x1F)]);
    assert!(body.starts_with(r#"{"error":{"code":112"#), "{body}");
    let batch = format!(r#"{{"commands":[{{"history":{since}}},{{"history":{all}}}]}}"#);
    let (_, body) = answered(&call("batch", &batch), vec![page(0x20), page(0x1F)]);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["replies"][0]["error"]["code"], 112);
    assert_eq!(body["replies"][1], json!({"history": expected}));
}

#[test]
fn answers_in_any_order_give_the_same_response() {
    let batch = r#"{"commands":[{"publish":{"channel":"c","data":1}},{"broadcast":{"channels":["c","d"],"data":1}},
        {"to_users":{"users":["u","v"],"data":1}},{"disconnect":{"user":"u"}}]}"#;
    let call = call("batch", batch);
    let outcome = |part: u16| match part {
        0 => place(1),
        1 => busy(),
        2 => place(2),
        4 => busy(),
        _ => Outcome::Done,
    };
    let error: Value = serde_json::to_value(Refusal::try_again()).unwrap();
    let expected = json!({"replies": [
        {"publish": {"offset": 1, "epoch": "0000001f"}},
        {"broadcast": {"responses": [{"error": error}, {"result": {"offset": 2, "epoch": "0000001f"}}]}},
        {"error": error},
        {"disconnect": {}}]});
    let mut order: Vec<u16> = (0..6).collect();
    // Heap's algorithm, by counting: every order of six parts.
    let mut counts = [0; 6];
    let check = |order: &[u16]| {
        let mut job = Job::new(&call);
        for part in order {
            assert!(!job.is_done());
            job.put(*part, outcome(*part));
            job.put(*part, Outcome::Done);
        }
        let body: Value = serde_json::from_str(&written(&job).1).unwrap();
        assert_eq!(body, expected, "{order:?}");
    };
    check(&order);
    let mut at = 1;
    while at < order.len() {
        if counts[at] < at {
            order.swap(if at % 2 == 0 { 0 } else { counts[at] }, at);
            check(&order);
            counts[at] += 1;
            at = 1;
        } else {
            counts[at] = 0;
            at += 1;
        }
    }
}

#[test]
fn older_calls_in_lines_are_answered_in_lines() {
    let body = "{\"method\":\"publish\",\"params\":{\"channel\":\"c\",\"data\":1}}\n{\"method\":\"broadcast\",\
        \"params\":{\"channels\":[\"c\"],\"data\":1}}\n{\"method\":\"disconnect\",\"params\":{\"user\":\"u\"}}\n";
    let (status, written) = answered(&call("", body), vec![place(1), place(2), busy()]);
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = serde_json::to_value(Refusal::try_again()).unwrap();
    let result = |offset: u64| json!({"result": {"offset": offset, "epoch": "0000001f"}});
    let expected = [result(1), json!({"result": {"responses": [result(2)]}}), json!({"error": error})];
    assert_eq!((status, lines), (200, expected.to_vec()));
}
