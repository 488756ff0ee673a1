//! Server-Sent Events over real sockets, on two shards and both drivers: what a stream begins with, what it carries,
//! how it goes on where it was, and attacks S1 to S3 and S5 on it.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/api.rs"]
mod api;
#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::io::Write;
use std::time::Duration;

use api::Api;
use client::{Answer, Client, field, status, wait_until};
use highper_realtime::config::{ByteSize, ChannelRules, DriverKind};
use highper_wire::sse::cursor;
use serde_json::json;
use server::{TestServer, each_driver};
use stream::{Seen, Stream};

/// Histories of 100 publications.
fn server(driver: DriverKind) -> TestServer {
    TestServer::start(driver, |config| config.history_size = 100)
}

/// The answer to a request for a stream that is refused.
#[track_caller]
fn refused(server: &TestServer, target: &str, fields: &str) -> Answer {
    let mut client = Client::connect(server.address());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    let answer = client.answer();
    assert!(answer.status >= 400, "{}", answer.head);
    answer
}

#[test]
fn s5_a_stream_is_neither_kept_nor_changed_on_its_way() {
    each_driver(|driver| {
        let server = server(driver);
        let mut stream = Stream::open(server.address(), "/sse?channel=news");
        for (name, value) in [
            ("content-type", Some("text/event-stream; charset=utf-8")),
            ("cache-control", Some("no-store, no-transform")),
            ("x-accel-buffering", Some("no")),
            ("x-content-type-options", Some("nosniff")),
            ("content-length", None),
            ("transfer-encoding", None),
        ] {
            assert_eq!(field(&stream.head, name), value, "{name}");
        }
        stream.joined(1);
        assert!(stream.raw.starts_with(b"retry: 3000\nid: "), "{:?}", String::from_utf8_lossy(&stream.raw));
        let mut client = Client::connect(server.address());
        client.send(b"HEAD /sse?channel=news HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.head();
        assert_eq!((status(&head), field(&head, "content-type")), (200, field(&stream.head, "content-type")));
        assert_eq!(client.rest(), b"", "a HEAD has no body");
    });
}

#[test]
fn a_request_that_cannot_be_granted_is_told_why() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.max_channels_per_connection = 3;
            let rules = ChannelRules { sse: false, ..ChannelRules::default() };
            config.namespaces.insert("ws:", rules).unwrap();
        });
        for (target, status, word) in [
            ("/sse", 400, "channel"),
            ("/sse?", 400, "channel"),
            ("/sse?channels=a", 400, "channel"),
            ("/sse?channel=", 400, "channel"),
            ("/sse?channel=a&channel=two%20words", 400, "channel"),
            ("/sse?channel=a%0d%0ab", 400, "channel"),
            ("/sse?channel=%01everyone", 400, "channel"),
            ("/sse?channel=a&channel=b&channel=c&channel=d", 400, "at most 3"),
            ("/sse?channel=a&format=xml", 400, "format"),
            ("/sse?channel=a&last_event_id=!", 400, "last_event_id"),
            ("/sse?channel=ws:a", 403, "ws:a"),
            ("/sse/more?channel=a", 404, "path"),
        ] {
            let answer = refused(&server, target, "");
            let body = String::from_utf8(answer.body).unwrap();
            assert_eq!(answer.status, status, "{target}: {body}");
            assert!(body.contains(word), "{target}: {body}");
        }
        let long = format!("/sse?channel={}", "c".repeat(256));
        assert_eq!(refused(&server, &long, "").status, 400);
        let mut client = Client::connect(server.address());
        client.send(b"POST /sse?channel=a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
        let answer = client.answer();
        assert_eq!((answer.status, field(&answer.head, "allow")), (405, Some("GET, HEAD, OPTIONS")));
        // A channel named twice is one.
        Stream::open(server.address(), "/sse?channel=a&channel=b&channel=a&channel=c").joined(3);
    });
}

#[test]
fn where_streams_are_off_is_nothing() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.sse_enabled = false);
        assert_eq!(refused(&server, "/sse?channel=a", "").status, 404);
    });
}

#[test]
fn one_id_goes_on_in_every_channel() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let target = "/sse?channel=a&channel=b&channel=c";
        // A channel lives on without subscribers if it keeps something.
        api.call("publish", &json!({ "channel": "c", "data": 1 }));
        let mut stream = Stream::open(server.address(), target);
        stream.joined(3);
        let publish = |api: &mut Api, channel: &str, data: u32| {
            api.call("publish", &json!({ "channel": channel, "data": data }));
        };
        publish(&mut api, "a", 1);
        publish(&mut api, "b", 1);
        let mut seen = [stream.json(), stream.json()];
        seen.sort_by_key(|message| message["channel"].to_string());
        assert_eq!(
            (&seen[0]["channel"], &seen[0]["offset"], &seen[0]["data"]),
            (&json!("a"), &json!(1), &json!(1))
        );
        assert_eq!((&seen[1]["channel"], &seen[1]["offset"]), (&json!("b"), &json!(1)));
        let id = stream.id();
        assert!(id.len() <= 256, "{id}");
        drop(stream);
        for data in 2..5 {
            publish(&mut api, "a", data);
            publish(&mut api, "c", data);
        }
        // By the field, by the query, and by both: then the field counts.
        let asked = [
            (target.to_owned(), format!("Last-Event-ID: {id}\r\n")),
            (format!("{target}&last_event_id={id}"), String::new()),
            (format!("{target}&last_event_id=!"), format!("Last-Event-ID: {id}\r\n")),
        ];
        for (turn, (target, fields)) in asked.into_iter().enumerate() {
            let mut stream = Stream::with(server.address(), &target, &fields);
            let missed: Vec<_> = (0..6 + turn).map(|_| stream.json()).collect();
            for channel in ["a", "c"] {
                let of_channel = missed.iter().filter(|message| message["channel"] == channel);
                let data: Vec<_> = of_channel.map(|message| message["data"].as_u64().unwrap()).collect();
                assert_eq!(data, [2, 3, 4], "{channel}");
            }
            publish(&mut api, "b", 9);
            let next = stream.json();
            assert_eq!(next["channel"], "b", "nothing comes twice: {next}");
        }
    });
}

#[test]
fn silence_is_broken_by_comments() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.sse_keep_alive_interval = Duration::from_millis(20);
        });
        let mut stream = Stream::open(server.address(), "/sse?channel=a");
        stream.joined(1);
        stream.until_raw(": \n\n: \n\n: \n\n");
        Api::connect(server.address()).call("publish", &json!({ "channel": "a", "data": 1 }));
        assert_eq!(stream.json()["data"], 1, "comments are no events");
    });
}

#[test]
fn who_never_reads_is_closed_as_slow() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.outbox_bytes = ByteSize::new(64 * 1024));
        let client = Client::narrow(server.address(), 4096);
        let mut stream = Stream::on(client.stream().try_clone().unwrap(), "/sse?channel=a", "", b"");
        stream.joined(1);
        let (mut api, data) = (Api::connect(server.address()), "x".repeat(32 * 1024));
        wait_until("it is closed", || {
            api.call("publish", &json!({ "channel": "a", "data": data }));
            server.sum(|shard| shard.counters.slow) == 1
        });
        let offsets: Vec<_> =
            stream.rest().iter().map(|event| event.json()["offset"].as_u64().unwrap()).collect();
        assert!(offsets.iter().copied().eq(1..=offsets.len() as u64), "no hole before the end: {offsets:?}");
        wait_until("it is out", || server.sum(|shard| shard.open as u64) == 0);
    });
}

#[test]
fn bytes_behind_the_request_mean_nothing() {
    let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        for behind in [
            "GET /sse?channel=b HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD /sse?channel=b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST /api/publish HTTP/1.1\r\nHost: h\r\nContent-Length: 24\r\n\r\n{\"channel\":\"a\",\"data\":0}",
            "no request at all\r\n\r\n",
            upgrade,
        ] {
            let before = server.sum(|shard| shard.counters.streams);
            let socket = std::net::TcpStream::connect(server.address()).unwrap();
            let mut stream = Stream::on(socket, "/sse?channel=a", "", behind.as_bytes());
            stream.joined(1);
            stream.socket().write_all(behind.as_bytes()).unwrap();
            assert_eq!(server.sum(|shard| shard.counters.streams), before + 1, "{behind:?}");
            api.call("publish", &json!({ "channel": "b", "data": "no" }));
            api.call("publish", &json!({ "channel": "a", "data": "yes" }));
            assert_eq!(stream.json()["data"], "yes", "{behind:?}");
            assert!(!String::from_utf8_lossy(&stream.raw).contains("HTTP/1.1"), "{behind:?}");
            drop(stream);
            wait_until("it is gone", || server.sum(|shard| shard.open as u64) == 0);
        }
    });
}

#[test]
fn an_event_that_is_too_long_is_a_gap_now_and_later() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.history_size = 100;
            config.sse_max_event_size = ByteSize::new(256);
        });
        let mut api = Api::connect(server.address());
        for target in ["/sse?channel=a", "/sse?channel=a&channel=b"] {
            let mut live = Stream::open(server.address(), target);
            let before = live.joined(target.matches("channel").count());
            for data in ["first", &"x".repeat(300), "last"] {
                api.call("publish", &json!({ "channel": "a", "data": data }));
            }
            // Who listens and who comes back are told the same.
            let later = Stream::again(server.address(), target, &before);
            for mut stream in [live, later] {
                assert_eq!(stream.json()["data"], "first");
                let gap = stream.next();
                assert_eq!(
                    (gap.event.as_str(), gap.json()),
                    ("gap", json!({ "type": "gap", "channels": ["a"] }))
                );
                assert_eq!(stream.json()["data"], "last");
                let mut after_gap = Stream::again(server.address(), target, &gap.id);
                assert_eq!(after_gap.json()["data"], "last", "its id goes on behind it");
            }
        }
    });
}

#[test]
fn raw_streams_carry_data_alone() {
    each_driver(|driver| {
        let server = server(driver);
        let mut stream = Stream::open(server.address(), "/sse?channel=a&format=raw");
        let id = stream.joined(1);
        let mut api = Api::connect(server.address());
        api.call(
            "publish",
            &json!({ "channel": "a", "data": { "n": 1 }, "event": "number", "tags": { "t": "u" } }),
        );
        let event = stream.next();
        assert_eq!((event.event.as_str(), event.data.as_str()), ("number", r#"{"n":1}"#));
        let mut again = Stream::again(server.address(), "/sse?channel=a&format=raw", &id);
        assert_eq!(again.next(), event, "late, it is the same");
        let mut native = Stream::again(server.address(), "/sse?channel=a", &id);
        let event = native.next();
        assert_eq!(event.event, "number");
        assert_eq!(
            event.json(),
            json!({ "type": "message", "channel": "a", "offset": 1, "data": { "n": 1 }, "from": "", "tags": { "t": "u" } })
        );
    });
}

#[test]
fn a_stream_ends_when_the_server_stops() {
    each_driver(|driver| {
        let server = server(driver);
        let mut stream = Stream::open(server.address(), "/sse?channel=a");
        stream.joined(1);
        // It reads while the server says goodbye, and closes its side too.
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || stream.rest());
            server.stop(Duration::from_secs(10));
            assert_eq!(reader.join().unwrap(), []);
        });
    });
}

#[test]
fn a_handler_sends_publishes_and_repeats() {
    each_driver(|driver| {
        let build = |server: highper_realtime::Server| {
            server.sse("/events", |stream| {
                stream.set_user("ann")?;
                stream.send(json!({ "n": 1 }))?;
                stream.send_text("two\nlines")?;
                stream.send_event("third", 3)?;
                assert!(stream.send_binary(b"bytes").is_err(), "a stream carries text");
                assert!(stream.send_event("bad\nname", 1).is_err(), "a name has no line ends");
                stream.join("a")?;
                stream.publish("a", "published")?;
                stream.broadcast("to all")?;
                stream.to_users(["ann", "bob"], "to ann")?;
                let mut turn = 0;
                stream.every(Duration::from_millis(10), move |stream| {
                    turn += 1;
                    if turn <= 3 { stream.send_event("turn", turn) } else { Ok(()) }
                });
                Ok(())
            })
        };
        let server = TestServer::with(driver, |_| {}, build);
        let mut stream = Stream::open(server.address(), "/events?channel=a");
        let mut seen: Vec<(String, String)> = Vec::new();
        while seen.len() < 9 {
            let Seen { event, data, .. } = stream.next();
            seen.push((event, data));
        }
        let at = |event: &str, data: &str| {
            let place = seen.iter().position(|(name, text)| name == event && text == data);
            place.unwrap_or_else(|| panic!("no {event} {data} in {seen:?}"))
        };
        let own = [
            ("message", r#"{"n":1}"#),
            ("message", "two\nlines"),
            ("third", "3"),
            ("turn", "1"),
            ("turn", "2"),
        ];
        assert!(own.map(|(event, data)| at(event, data)).is_sorted(), "{seen:?}");
        for data in ["published", "to all", "to ann"] {
            let is_it =
                |(_, text): &(String, String)| text.contains(&format!(r#","data":"{data}","from":""#));
            assert_eq!(seen.iter().filter(|event| is_it(event)).count(), 1, "{data} in {seen:?}");
        }
        assert_eq!(server.sum(|shard| shard.counters.handler_errors + shard.counters.panics), 0);
    });
}

#[test]
fn s1_names_with_line_ends_are_refused_and_never_written() {
    each_driver(|driver| {
        let server = server(driver);
        let mut stream = Stream::open(server.address(), "/sse?channel=a");
        stream.joined(1);
        let mut api = Api::connect(server.address());
        for event in ["m\nevent: admin", "m\rdata: x", "m\r\n\r\n", "\n", "m\0", "a\u{0}b"] {
            let (status, answer) = api.ask("publish", &json!({ "channel": "a", "data": 1, "event": event }));
            assert_eq!((status, &answer["error"]["field"]), (400, &json!("event")), "{event:?}");
        }
        api.call("publish", &json!({ "channel": "a", "data": "fine", "event": "m: é" }));
        let event = stream.next();
        assert_eq!((event.event.as_str(), &event.json()["data"]), ("m: é", &json!("fine")));
        // One tells that it joined.
        assert_eq!(stream.raw.windows(6).filter(|window| window == b"event:").count(), 2);
    });
}

#[test]
fn s2_every_line_end_in_data_begins_a_line_of_data() {
    each_driver(|driver| {
        let server = server(driver);
        let mut stream = Stream::open(server.address(), "/sse?channel=a&format=raw");
        stream.joined(1);
        let data = "{\"a\":\r1,\r\n\"b\":\n2,\n\n\r\r\"id\":\"\\nid: 7\"}";
        let body = format!(r#"{{"channel":"a","data":{data}}}"#);
        let mut api = Api::connect(server.address());
        api.0.send(api::request("publish", "", &body).as_bytes());
        assert_eq!(api.answer().0, 200);
        let event = stream.next();
        assert_eq!(event.data, data.replace("\r\n", "\n").replace('\r', "\n"));
        assert!(!stream.raw.contains(&b'\r'));
    });
}

#[test]
fn s3_ids_of_other_places_are_gaps_and_bad_ones_are_refused() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        for data in 1..4 {
            api.call("publish", &json!({ "channel": "secret", "data": data }));
            api.call("publish", &json!({ "channel": "a", "data": data }));
        }
        let place = api.call("history", &json!({ "channel": "a" }));
        let epoch = u32::from_str_radix(place["epoch"].as_str().unwrap(), 16).unwrap();
        let known = id_of("a", epoch, 2);
        for (id, why) in [
            (id_of("a", epoch ^ 1, 1), "another life of the channel"),
            (id_of("a", epoch, 4), "what was not published yet"),
            (id_of("a", epoch, u64::MAX), "the last offset there is"),
            (id_of("secret", epoch, 1), "another channel's place"),
        ] {
            let mut stream = Stream::again(server.address(), "/sse?channel=a", &id);
            let gap = stream.next();
            assert_eq!((gap.event.as_str(), &gap.json()["channels"]), ("gap", &json!(["a"])), "{why}");
            assert_eq!(gap.id, id_of("a", epoch, 3), "{why}");
        }
        for bad in ["0", "!", "a b", "41", &known[1..], &format!("{known}A"), &"A".repeat(2049), "../../etc"]
        {
            assert_eq!(
                refused(&server, "/sse?channel=a", &format!("Last-Event-ID: {bad}\r\n")).status,
                400,
                "{bad:?}"
            );
        }
        let control = refused(&server, "/sse?channel=a", "Last-Event-ID: a\0b\r\n");
        assert_eq!(control.status, 400);
        let mut client = Client::connect(server.address());
        client.try_send(b"GET /sse?channel=a HTTP/1.1\r\nHost: h\r\nLast-Event-ID: ");
        client.try_send(&vec![b'A'; 1 << 20]);
        assert_eq!(status(&client.head()), 431);
        let mut stream = Stream::again(server.address(), "/sse?channel=a", &known);
        assert_eq!(stream.json()["data"], 3, "the right one goes on");
        // An empty one is none.
        let mut stream = Stream::again(server.address(), "/sse?channel=a", "");
        stream.joined(1);
        assert_eq!(stream.id(), id_of("a", epoch, 3));
    });
}

/// The id of a stream that is in one channel.
fn id_of(channel: &str, epoch: u32, offset: u64) -> String {
    let mut id = Vec::new();
    cursor::write(&mut id, std::iter::once((channel, epoch, offset)));
    String::from_utf8(id).unwrap()
}
