//! Questions: what a backend sees, what becomes of its answers, and what of questions that it does not answer.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use highper_realtime::Config;
use highper_realtime::handler::Transport;
use highper_realtime::hooks::{Busy, HookCounts, Hooks, Question};
use highper_realtime::message::hook::{Admission, ConnectVerdict, HookAnswer, SubscribeVerdict};
use highper_shards::token::Token;
use highper_shards::{ShardId, SlotId};
use highper_wire::http1::{Event, Limits, Reader};
use serde_json::json;

use crate::backend::Backend;
use crate::client::{DEADLINE, wait_until};

const CLIENT: SlotId = SlotId { shard: ShardId(0), token: Token { generation: 1, index: 2 } };

fn start(backend: &Backend, change: impl FnOnce(&mut Config)) -> Hooks {
    let (hook_connect, hook_subscribe) = (backend.url("", "/connect"), backend.url("", "/subscribe"));
    let mut config = Config { hook_connect, hook_subscribe, hook_timeout: DEADLINE, ..Config::default() };
    change(&mut config);
    Hooks::start(&config).unwrap().expect("a hook is configured")
}

/// Asks whether a plain connection may open.
fn ask(hooks: &Hooks) -> Result<Receiver<HookAnswer>, Busy> {
    ask_for(
        hooks,
        Question::Connect {
            client: CLIENT,
            transport: Transport::WebSocket,
            remote_addr: None,
            headers: Vec::new(),
            data: None,
        },
    )
}

fn ask_for(hooks: &Hooks, question: Question) -> Result<Receiver<HookAnswer>, Busy> {
    let (to, answer) = channel();
    hooks.ask(question, move |answer| to.send(answer).unwrap_or_default())?;
    Ok(answer)
}

#[track_caller]
fn answer(answer: &Receiver<HookAnswer>) -> HookAnswer {
    answer.recv_timeout(DEADLINE).expect("every question is answered")
}

const UNAVAILABLE: HookAnswer = HookAnswer::Connect(ConnectVerdict::Unavailable);

fn accepted(user: &str) -> HookAnswer {
    let admission = Admission { user: user.into(), ..Admission::default() };
    HookAnswer::Connect(ConnectVerdict::Accept(Box::new(admission)))
}

const ACCEPT: &str = r#"{"result":{"user":"ann"}}"#;

#[test]
fn a_backend_sees_the_fields_it_may_see_and_no_other() {
    let backend = Backend::start();
    let hooks = start(&backend, |config| config.hook_connect = backend.url("back:s%40me@", "/connect?a=b"));
    let request = b"GET /ws HTTP/1.1\r\nHost: site\r\nCookie: a=1\r\nX-Secret: no\r\ncookie: b=2\r\n\
        Authorization: Bearer t\r\nUser-Agent: caf\xe9\r\nX-Request-Id: 7\r\nX-Request-Id: 8\r\n\r\n";
    let (mut reader, mut input) = (Reader::new(), request.as_slice());
    let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut input) else {
        panic!("it is a request")
    };
    let question = Question::Connect {
        client: CLIENT,
        transport: Transport::WebSocket,
        remote_addr: Some([192, 0, 2, 1].into()),
        headers: hooks.shown(&head),
        data: None,
    };
    let told = ask_for(&hooks, question).unwrap();
    let request = backend.next();
    assert!(request.head.starts_with("POST /connect?a=b HTTP/1.1\r\n"), "{}", request.head);
    let expected = json!({
        "client": CLIENT.to_string(), "transport": "websocket", "protocol": "json", "encoding": "json",
        "remote_addr": "192.0.2.1",
        "headers": {
            "cookie": "a=1; b=2", "authorization": "Bearer t", "user-agent": "caf\u{fffd}",
            "x-request-id": "7, 8",
        },
    });
    assert_eq!(request.json(), expected);
    assert_eq!(request.field("content-type"), Some("application/json"));
    assert_eq!(request.field("cookie"), Some("a=1; b=2"), "a session is found by its cookie");
    assert_eq!(request.field("x-request-id"), Some("7, 8"));
    assert_eq!(request.field("authorization"), Some("Basic YmFjazpzQG1l"), "the URL's, not the client's");
    assert_eq!(request.field("x-secret"), None);
    request.answer(200, ACCEPT);
    assert_eq!(answer(&told), accepted("ann"));
}

#[test]
fn fields_of_a_client_cannot_break_the_exchange() {
    let backend = Backend::start();
    let hooks = start(&backend, |_| {});
    let header =
        |name: &str, value: &str| highper_realtime::hooks::Header { name: name.into(), value: value.into() };
    let headers = vec![
        header("content-length", "7"),
        header("Transfer-Encoding", "chunked"),
        header("host", "elsewhere"),
        header("cookie", "bad\u{1}"),
        header("x-request-id", "9"),
    ];
    let question = Question::Connect {
        client: CLIENT,
        transport: Transport::Events,
        remote_addr: None,
        headers,
        data: None,
    };
    let told = ask_for(&hooks, question).unwrap();
    let request = backend.next();
    assert_eq!(request.field("transfer-encoding"), None);
    assert_ne!(request.field("host"), Some("elsewhere"));
    assert_eq!(request.field("cookie"), None);
    assert_eq!(request.field("x-request-id"), Some("9"));
    assert_eq!(request.json()["headers"]["cookie"], "bad\u{1}");
    request.answer(200, ACCEPT);
    assert_eq!(answer(&told), accepted("ann"));
}

#[test]
fn a_backend_is_asked_whether_a_client_may_join() {
    let backend = Backend::start();
    let hooks = start(&backend, |_| {});
    let question = || Question::Subscribe {
        client: CLIENT,
        transport: Transport::WebSocket,
        user: "ann".into(),
        channel: "news".into(),
        data: Some(b"[1]".as_slice().into()),
    };
    let told = ask_for(&hooks, question()).unwrap();
    let request = backend.next();
    assert!(request.head.starts_with("POST /subscribe HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!((&request.json()["user"], &request.json()["channel"]), (&json!("ann"), &json!("news")));
    assert_eq!(request.json()["data"], json!([1]));
    request.answer(200, r#"{"error":{"code":403,"message":"not yours"}}"#);
    let refuse = SubscribeVerdict::Refuse { code: 403, message: "not yours".into() };
    assert_eq!(answer(&told), HookAnswer::Subscribe(refuse));
    let told = ask_for(&hooks, question()).unwrap();
    backend.next().answer(500, "");
    assert_eq!(answer(&told), HookAnswer::Subscribe(SubscribeVerdict::Unavailable));
    assert_eq!(hooks.counts(), HookCounts { refused: 1, failed: 1, ..HookCounts::default() });
}

#[test]
fn what_is_no_verdict_makes_a_question_unavailable() {
    let backend = Backend::start();
    let hooks = start(&backend, |_| {});
    let padded = |len: usize| format!("{}{ACCEPT}", " ".repeat(len - ACCEPT.len()));
    let elsewhere = backend.url("", "/elsewhere").unwrap();
    let location = format!("Location: {}\r\n", elsewhere.expose());
    let cases = [
        (200, "", "Warning: deprecated".to_owned(), false),
        (200, "", padded(64 * 1024), true),
        (200, "", padded(64 * 1024 + 1), false),
        (201, "", ACCEPT.to_owned(), false),
        (307, &*location, ACCEPT.to_owned(), false),
        (403, "", ACCEPT.to_owned(), false),
    ];
    let count = cases.len() as u64;
    for (status, fields, body, is_verdict) in cases {
        let told = ask(&hooks).unwrap();
        backend.next().answer_with(status, fields, &body);
        let expected = if is_verdict { accepted("ann") } else { UNAVAILABLE };
        assert_eq!(answer(&told), expected, "{status} {} bytes", body.len());
    }
    assert!(backend.waiting().is_none(), "no redirect is followed");
    assert_eq!(hooks.counts(), HookCounts { accepted: 1, failed: count - 1, ..HookCounts::default() });
}

#[test]
fn a_broken_connection_and_silence_make_it_unavailable() {
    let backend = Backend::start();
    let hooks = start(&backend, |config| config.hook_timeout = Duration::from_millis(200));
    let told = ask(&hooks).unwrap();
    drop(backend.next());
    assert_eq!(answer(&told), UNAVAILABLE);
    let told = ask(&hooks).unwrap();
    let _never_answered = backend.next();
    assert_eq!(answer(&told), UNAVAILABLE);
    assert_eq!(hooks.counts().failed, 2);
}

#[test]
fn a_full_queue_is_busy_and_whoever_waits_is_answered() {
    let backend = Backend::start();
    let hooks = start(&backend, |config| config.hook_concurrency = 1);
    let mut told = vec![ask(&hooks).unwrap()];
    let first = backend.next();
    // The one thread is busy, and four may wait.
    told.extend((0..4).map(|_| ask(&hooks).unwrap()));
    assert_eq!(ask(&hooks).err(), Some(Busy));
    first.answer(200, ACCEPT);
    for _ in 0..4 {
        backend.next().answer(200, ACCEPT);
    }
    assert!(told.iter().all(|told| answer(told) == accepted("ann")));
    assert_eq!(hooks.counts(), HookCounts { accepted: 5, busy: 1, ..HookCounts::default() });
}

#[test]
fn time_in_the_queue_counts() {
    let backend = Backend::start();
    let hooks = start(&backend, |config| {
        config.hook_concurrency = 1;
        config.hook_timeout = Duration::from_millis(200);
    });
    let told: Vec<_> = (0..5).filter_map(|_| ask(&hooks).ok()).collect();
    let _never_answered = backend.next();
    assert!(told.iter().all(|told| answer(told) == UNAVAILABLE));
    let counts = hooks.counts();
    assert_eq!(counts.failed + counts.expired, told.len() as u64);
    assert!(counts.expired > 0, "{counts:?}");
}

#[test]
fn questions_are_asked_at_once_up_to_the_limit() {
    let backend = Backend::start();
    let hooks = start(&backend, |config| config.hook_concurrency = 3);
    let told: Vec<_> = (0..4).map(|_| ask(&hooks).unwrap()).collect();
    let first = [backend.next(), backend.next(), backend.next()];
    assert!(backend.waiting().is_none());
    for request in first {
        request.answer(200, ACCEPT);
    }
    backend.next().answer(200, ACCEPT);
    assert!(told.iter().all(|told| answer(told) == accepted("ann")));
}

#[test]
fn a_backend_that_fails_is_left_alone_and_tried_again() {
    let backend = Backend::start();
    let hooks = start(&backend, |_| {});
    for _ in 0..5 {
        let told = ask(&hooks).unwrap();
        backend.next().answer(503, "");
        assert_eq!(answer(&told), UNAVAILABLE);
    }
    wait_until("the breaker opens", || hooks.counts().open_breakers == 1);
    assert_eq!(answer(&ask(&hooks).unwrap()), UNAVAILABLE);
    assert!(backend.waiting().is_none(), "nobody was asked");
    assert_eq!(hooks.counts().skipped, 1);
    // The backend of the other hook has a breaker of its own.
    let subscribe = Question::Subscribe {
        client: CLIENT,
        transport: Transport::Events,
        user: "".into(),
        channel: "a".into(),
        data: None,
    };
    let told = ask_for(&hooks, subscribe).unwrap();
    backend.next().answer(200, r#"{"result":{}}"#);
    let accept = SubscribeVerdict::Accept { info: None, expires_at: None };
    assert_eq!(answer(&told), HookAnswer::Subscribe(accept));
    let mut probe = None;
    wait_until("a question is let through", || {
        let told = ask(&hooks).unwrap();
        match answer_now(&told) {
            Some(answer) => assert_eq!(answer, UNAVAILABLE),
            None => probe = Some(told),
        }
        probe.is_some()
    });
    assert_eq!(answer(&ask(&hooks).unwrap()), UNAVAILABLE, "one is enough");
    backend.next().answer(200, ACCEPT);
    assert_eq!(answer(&probe.unwrap()), accepted("ann"));
    wait_until("the breaker closes", || hooks.counts().open_breakers == 0);
}

/// The answer, if it comes without the backend.
fn answer_now(told: &Receiver<HookAnswer>) -> Option<HookAnswer> {
    told.recv_timeout(Duration::from_millis(100)).ok()
}

#[test]
fn clients_cannot_open_the_breaker_by_what_they_are() {
    let backend = Backend::start();
    let hooks = start(&backend, |_| {});
    for _ in 0..30 {
        let told = ask(&hooks).unwrap();
        backend.next().answer(401, "who are you");
        assert_eq!(answer(&told), UNAVAILABLE);
    }
    let told = ask(&hooks).unwrap();
    backend.next().answer(200, ACCEPT);
    assert_eq!(answer(&told), accepted("ann"));
}

#[test]
fn https_is_spoken_with_whom_the_certificates_vouch_for() {
    let backend = Backend::start_tls();
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hooks/certificates/authority.pem");
    let hooks = start(&backend, |config| config.hook_ca_file = Some(authority.into()));
    let told = ask(&hooks).unwrap();
    backend.next().answer(200, ACCEPT);
    assert_eq!(answer(&told), accepted("ann"));
    let strangers = start(&backend, |_| {});
    assert_eq!(answer(&ask(&strangers).unwrap()), UNAVAILABLE, "the web does not know this authority");
    assert!(backend.waiting().is_none());
}

#[test]
fn without_a_hook_nothing_is_started() {
    assert!(Hooks::start(&Config::default()).unwrap().is_none());
    let missing = Config {
        hook_connect: Backend::start().url("", "/"),
        hook_ca_file: Some("/nonexistent/ca.pem".into()),
        ..Config::default()
    };
    let told = Hooks::start(&missing).err().unwrap().to_string();
    assert!(told.starts_with("REALTIME_HOOK_CA_FILE=/nonexistent/ca.pem: "), "{told}");
}
