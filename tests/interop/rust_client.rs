//! The checks of tungstenite, a WebSocket implementation in Rust that others wrote: echo, sub-protocol, control
//! frames, the close handshake, and the native dialect across shards. It knows no compression. Never starts a server.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, Message, WebSocket, client};

/// A check and its name.
type Check = (&'static str, fn(SocketAddr));

/// All of them.
pub const CHECKS: [Check; 9] = [
    ("echoes every kind and size", echoes_every_kind_and_size),
    ("joins fragments", joins_fragments),
    ("answers pings and sends its own", answers_pings_and_sends_its_own),
    ("takes the first sub-protocol", takes_the_first_subprotocol),
    ("answers a close with its code and reason", answers_a_close_with_its_code_and_reason),
    ("closes what breaks the rules", closes_what_breaks_the_rules),
    ("carries channels across shards", carries_channels_across_shards),
    ("refuses and lives on", refuses_and_lives_on),
    ("delivers thousands in order", delivers_thousands_in_order),
];

type Socket = WebSocket<TcpStream>;

fn dial(address: SocketAddr, path: &str, protocols: &str) -> (Socket, Response) {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("it is a URL");
    if !protocols.is_empty() {
        let value = protocols.parse().expect("it is a header's value");
        request.headers_mut().insert("Sec-WebSocket-Protocol", value);
    }
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("it is not zero");
    stream.set_write_timeout(Some(ANSWER_WITHIN)).expect("it is not zero");
    client(request, stream).expect("the server accepts")
}

fn open(address: SocketAddr, path: &str) -> Socket {
    dial(address, path, "").0
}

/// The next message that is not the server's ping.
fn next(socket: &mut Socket) -> Message {
    loop {
        match socket.read().expect("a message comes") {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

fn event(socket: &mut Socket) -> Value {
    serde_json::from_str(next(socket).to_text().expect("events are text")).expect("events are JSON")
}

fn ask(socket: &mut Socket, request: Value) -> Value {
    socket.send(Message::text(request.to_string())).expect("the server reads");
    event(socket)
}

// ── the echo endpoint ──

fn echoes_every_kind_and_size(address: SocketAddr) {
    let mut socket = open(address, "/echo");
    for text in ["", "a", "héllo 😀 \0", &"x".repeat(125), &"x".repeat(126), &"é".repeat(MEBIBYTE / 2)] {
        socket.send(Message::text(text)).expect("the server reads");
        assert!(next(&mut socket) == Message::text(text), "{} bytes of text", text.len());
    }
    for length in [0, 1, 65_535, 65_536, MEBIBYTE] {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        socket.send(Message::binary(bytes.clone())).expect("the server reads");
        assert!(next(&mut socket) == Message::binary(bytes), "{length} bytes");
    }
}

fn joins_fragments(address: SocketAddr) {
    let mut socket = open(address, "/echo");
    let mut send = |text: &str, opcode, fin| {
        let frame = Frame::message(text.to_owned(), OpCode::Data(opcode), fin);
        socket.send(Message::Frame(frame)).expect("the server reads");
    };
    send("hé", Data::Text, false);
    send("", Data::Continue, false);
    send("llo 😀", Data::Continue, true);
    assert_eq!(next(&mut socket), Message::text("héllo 😀"));
}

fn answers_pings_and_sends_its_own(address: SocketAddr) {
    let mut socket = open(address, "/echo");
    for payload in [&b""[..], b"probe", &[b'p'; 125]] {
        socket.send(Message::Ping(payload.to_vec().into())).expect("the server reads");
        assert_eq!(next(&mut socket), Message::Pong(payload.to_vec().into()));
    }
    // A second one comes only if the answer to the first, which tungstenite sends while it reads, arrived.
    for _ in 0..2 {
        assert!(matches!(socket.read().expect("a ping comes"), Message::Ping(_)));
    }
}

fn takes_the_first_subprotocol(address: SocketAddr) {
    let chosen = |protocols| {
        let (_, response) = dial(address, "/echo", protocols);
        response.headers().get("Sec-WebSocket-Protocol").map(|value| value.as_bytes().to_vec())
    };
    assert_eq!(chosen("chat.v2, chat.v1").as_deref(), Some(&b"chat.v2"[..]));
    // tungstenite itself refuses an answer to an offer that was not made.
    assert_eq!(chosen(""), None);
}

fn answers_a_close_with_its_code_and_reason(address: SocketAddr) {
    for (code, reason) in [(1000, ""), (1001, "away"), (3000, "done"), (4999, "é")] {
        let mut socket = open(address, "/echo");
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        socket.close(Some(frame.clone())).expect("the server reads");
        assert_eq!(next(&mut socket), Message::Close(Some(frame)));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "the server closes the connection");
    }
    let mut socket = open(address, "/echo");
    socket.close(None).expect("the server reads");
    assert_eq!(next(&mut socket), Message::Close(None));
}

fn closes_what_breaks_the_rules(address: SocketAddr) {
    let text = |bytes: &[u8]| Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true));
    let deep = format!(r#"{{"type":"publish","channel":"c","data":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    for (path, code, message) in [
        ("/echo", CloseCode::Invalid, text(b"caf\xe9")),
        (
            "/echo",
            CloseCode::Protocol,
            Message::Frame(Frame::message("x", OpCode::Data(Data::Continue), true)),
        ),
        ("/ws", CloseCode::Policy, Message::text(deep)),
        ("/ws", CloseCode::Unsupported, Message::binary(vec![0])),
    ] {
        let mut socket = open(address, path);
        socket.send(message).expect("the server reads");
        let closed = loop {
            match next(&mut socket) {
                Message::Close(frame) => break frame,
                Message::Text(_) | Message::Binary(_) => {}
                other => panic!("{other:?} in the place of a close"),
            }
        };
        assert_eq!(closed.expect("the server says why").code, code);
    }
}

// ── the native dialect ──

/// A client and the name that the server gave it.
struct Native {
    socket: Socket,
    name: String,
}

/// One client on each of the two shards.
fn one_on_each_shard(address: SocketAddr) -> [Native; 2] {
    let mut found = [None, None];
    for _ in 0..SPREAD_MAX {
        let mut socket = open(address, "/ws");
        let welcome = event(&mut socket);
        assert_eq!((&welcome["type"], &welcome["heartbeat"]), (&json!("welcome"), &json!(2)));
        let name = welcome["connection"].as_str().expect("connections have names").to_owned();
        let shard =
            usize::try_from(welcome["shard"].as_u64().expect("shards have numbers")).expect("it is small");
        found[shard] = Some(Native { socket, name });
        if let [Some(_), Some(_)] = &found {
            return found.map(|client| client.expect("both were found"));
        }
    }
    panic!("one shard got all connections");
}

fn carries_channels_across_shards(address: SocketAddr) {
    let mut clients = one_on_each_shard(address);
    for home in 0..4 {
        let channel = format!("rust-across-{home}");
        let joins = clients.each_mut().map(|client| {
            let joined = ask(&mut client.socket, json!({ "type": "join", "channel": channel, "id": "j" }));
            assert_eq!((&joined["type"], &joined["id"]), (&json!("joined"), &json!("j")));
            joined["offset"].as_u64().expect("channels have offsets")
        });
        for sender in [0, 1] {
            let publish = json!({ "type": "publish", "channel": channel, "data": { "sender": sender } });
            clients[sender].socket.send(Message::text(publish.to_string())).expect("the server reads");
            let offset = joins[1] + sender as u64 + 1;
            let from = clients[sender].name.clone();
            for client in &mut clients {
                let wanted = format!(
                    r#"{{"type":"message","channel":"{channel}","offset":{offset},"data":{{"sender":{sender}}},"from":"{from}"}}"#
                );
                assert_eq!(next(&mut client.socket), Message::text(wanted));
            }
        }
        for (id, client) in clients.iter_mut().enumerate() {
            let left = ask(&mut client.socket, json!({ "type": "leave", "channel": channel, "id": id }));
            assert_eq!(left, json!({ "type": "left", "channel": channel, "id": id }));
        }
    }
}

fn refuses_and_lives_on(address: SocketAddr) {
    let [Native { mut socket, .. }, _] = one_on_each_shard(address);
    for (text, code) in [
        (r#"{"type":"join","channel":"a b"}"#, "bad_channel"),
        (r#"{"type":"dance"}"#, "unknown_type"),
        (r#"{"type":"leave","channel":"rust-never-joined"}"#, "not_joined"),
        ("{", "bad_json"),
    ] {
        socket.send(Message::text(text)).expect("the server reads");
        let refusal = event(&mut socket);
        assert_eq!((&refusal["type"], &refusal["code"]), (&json!("error"), &json!(code)), "{text}");
    }
    assert_eq!(ask(&mut socket, json!({ "type": "ping", "id": 1.5 })), json!({ "type": "pong", "id": 1.5 }));
}

fn delivers_thousands_in_order(address: SocketAddr) {
    let [mut publisher, mut subscriber] = one_on_each_shard(address);
    let joined = ask(&mut subscriber.socket, json!({ "type": "join", "channel": "rust-order" }));
    let start = joined["offset"].as_u64().expect("channels have offsets");
    for number in 0..IN_ORDER {
        let publish = json!({ "type": "publish", "channel": "rust-order", "data": number });
        publisher.socket.send(Message::text(publish.to_string())).expect("the server reads");
    }
    for number in 0..IN_ORDER {
        let message = event(&mut subscriber.socket);
        let got = (&message["type"], &message["data"], &message["offset"]);
        assert_eq!(got, (&json!("message"), &json!(number), &json!(start + number + 1)));
    }
}

const MEBIBYTE: usize = 1 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const IN_ORDER: u64 = 2000;

/// Connections until both shards have one: the kernel spreads them by chance.
const SPREAD_MAX: usize = 64;
