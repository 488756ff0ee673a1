//! Requests in Centrifugo's shape, and every kind of answer.

use highper_shards::ShardId;
use highper_shards::token::Token;
use serde_json::{Value, json};

use super::*;

fn client() -> SlotId {
    SlotId { shard: ShardId(1), token: Token { generation: 2, index: 3 } }
}

fn body(question: &Question) -> Value {
    serde_json::from_slice(&question.body()).unwrap()
}

#[test]
fn a_question_has_the_shape_of_centrifugo() {
    let cookie = Header { name: "cookie".into(), value: "session=\"1\"".into() };
    let connect = Question::Connect {
        client: client(),
        transport: Transport::WebSocket,
        remote_addr: Some([10, 0, 0, 7].into()),
        headers: vec![cookie],
        data: Some(br#"{"a":1}"#.as_slice().into()),
    };
    let expected = json!({
        "client": client().to_string(), "transport": "websocket", "protocol": "json", "encoding": "json",
        "remote_addr": "10.0.0.7", "headers": { "cookie": "session=\"1\"" }, "data": { "a": 1 },
    });
    assert_eq!(body(&connect), expected);
    let subscribe = Question::Subscribe {
        client: client(),
        transport: Transport::Events,
        user: "ann".into(),
        channel: "news".into(),
        data: None,
    };
    let expected = json!({
        "client": client().to_string(), "transport": "sse", "protocol": "json", "encoding": "json",
        "user": "ann", "channel": "news",
    });
    assert_eq!(body(&subscribe), expected);
}

#[test]
fn a_backend_accepts_a_connection() {
    let full = br#"{"result":{"user":"42","expire_at":1700000000,"info":{"name": "Ann"},"data":[1],
        "channels":["a","b:c"],"permissions":{"publish":["a"]},"meta":{},"caps":[]}}"#;
    let expected = Admission {
        user: "42".into(),
        expires_at: Some(1_700_000_000),
        info: Some(br#"{"name": "Ann"}"#.as_slice().into()),
        data: Some(b"[1]".as_slice().into()),
        channels: vec!["a".into(), "b:c".into()],
        permissions: Some(br#"{"publish":["a"]}"#.as_slice().into()),
    };
    let accept = |admission| HookAnswer::Connect(ConnectVerdict::Accept(Box::new(admission)));
    assert_eq!(Hook::Connect.read(full).unwrap(), accept(expected));
    let anonymous = br#"{"result":{"expire_at":0,"info":null}}"#;
    assert_eq!(Hook::Connect.read(anonymous).unwrap(), accept(Admission::default()));
    let expired = Hook::Connect.read(br#"{"result":{"user":"a","expire_at":-5}}"#).unwrap();
    let admission = Admission { user: "a".into(), expires_at: Some(1), ..Admission::default() };
    assert_eq!(expired, accept(admission), "long past is not never");
}

#[test]
fn a_backend_refuses() {
    let error = br#"{"error":{"code":1000,"message":"no"}}"#;
    let refuse = ConnectVerdict::Refuse { code: 1000, message: "no".into() };
    assert_eq!(Hook::Connect.read(error).unwrap(), HookAnswer::Connect(refuse));
    let refuse = SubscribeVerdict::Refuse { code: 1000, message: "no".into() };
    assert_eq!(Hook::Subscribe.read(error).unwrap(), HookAnswer::Subscribe(refuse));
    let disconnect = br#"{"result":{},"disconnect":{"code":4500,"reason":"banned"}}"#;
    let refuse = ConnectVerdict::Refuse { code: 4500, message: "banned".into() };
    assert_eq!(
        Hook::Connect.read(disconnect).unwrap(),
        HookAnswer::Connect(refuse),
        "a result beside it is none"
    );
    let end = SubscribeVerdict::Disconnect { code: 4500, reason: "banned".into() };
    assert_eq!(Hook::Subscribe.read(disconnect).unwrap(), HookAnswer::Subscribe(end));
}

#[test]
fn a_backend_accepts_a_subscription() {
    let accept = SubscribeVerdict::Accept { info: Some(b"{}".as_slice().into()), expires_at: Some(9) };
    let read = Hook::Subscribe.read(br#"{"result":{"info":{},"expire_at":9}}"#).unwrap();
    assert_eq!(read, HookAnswer::Subscribe(accept));
}

#[test]
fn what_means_nothing_is_no_verdict() {
    let too_long = format!(r#"{{"result":{{"channels":["{}"]}}}}"#, "x".repeat(256));
    for bad in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"result":null}"#,
        r#"{"result":true}"#,
        r#"{"result":{"user":7}}"#,
        r#"{"result":{}} trailing"#,
        r#"{"error":{"message":"no code"}}"#,
        r#"{"error":{"code":-1}}"#,
        r#"{"result":{"channels":[""]}}"#,
        &too_long,
    ] {
        assert!(Hook::Connect.read(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Hook::Connect.read(b"{\"result\":{\"user\":\"\xff\"}}").is_err(), "no UTF-8");
}
