//! What a server tells its webhook: connections, members, and each channel once, however many shards it has.

use std::collections::VecDeque;
use std::time::Duration;

use highper_realtime::config::{Bounds, DriverKind, Shards, Value as _};
use highper_realtime::{CloseCode, Config, Endpoint};
use serde_json::Value;

use crate::backend::Backend;
use crate::client::{Client, wait_until};
use crate::server::{TestServer, each_driver};

/// A server that tells everything. What a client of `/as` sends first is its name.
fn start(driver: DriverKind, backend: &Backend, hold: Duration) -> TestServer {
    let change = |config: &mut Config| {
        config.shards = Shards::Count(4.try_into().unwrap());
        config.webhook_url = backend.url("", "/told");
        config.webhook_events =
            Vec::parse("connect,disconnect,join,leave,channel_occupied,channel_vacated", &Bounds::ANY)
                .unwrap();
        config.presence_hold = hold;
    };
    TestServer::with(driver, change, |server| {
        server.endpoint(Endpoint::native("/ann").on_connect(|conn| conn.set_user("ann")))
    })
}

/// Takes every request and gives the events one by one.
struct Told<'b> {
    backend: &'b Backend,
    events: VecDeque<Value>,
}

impl<'b> Told<'b> {
    fn by(backend: &'b Backend) -> Self {
        Self { backend, events: VecDeque::new() }
    }

    fn next(&mut self) -> Value {
        while self.events.is_empty() {
            let request = self.backend.next();
            let body = request.json();
            self.events.extend(body["events"].as_array().unwrap().iter().cloned());
            request.answer(200, "");
        }
        self.events.pop_front().unwrap()
    }

    /// The next events, as many as that, none of another name.
    #[track_caller]
    fn these(&mut self, count: usize, name: &str) -> Vec<Value> {
        let events: Vec<Value> = (0..count).map(|_| self.next()).collect();
        assert!(events.iter().all(|event| event["name"] == name), "{name}: {events:?}");
        events
    }

    /// The next event, of this name; a member of it.
    #[track_caller]
    fn one(&mut self, name: &str) -> Value {
        self.these(1, name).remove(0)
    }
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn a_channel_is_occupied_and_vacated_once_for_all_shards() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = start(driver, &backend, SHORT);
        let mut told = Told::by(&backend);
        let mut clients: Vec<Client> = (0..16).map(|_| Client::native(server.address())).collect();
        told.these(16, "connect");
        for client in &mut clients {
            client.join("news");
        }
        let occupied = told.one("channel_occupied");
        assert_eq!(occupied["channel"], "news");
        let joined = told.these(16, "join");
        assert!(joined.iter().all(|event| event["channel"] == "news" && event.get("user").is_none()));
        for client in &mut clients {
            client.close(CloseCode::NORMAL);
            assert_eq!(client.until_close().1, 1000);
        }
        let mut rest: Vec<Value> = (0..33).map(|_| told.next()).collect();
        let vacated = rest.pop().unwrap();
        assert_eq!((&vacated["name"], &vacated["channel"]), (&"channel_vacated".into(), &"news".into()));
        let count = |name: &str| rest.iter().filter(|event| event["name"] == name).count();
        assert_eq!((count("disconnect"), count("leave")), (16, 16), "{rest:?}");
        assert!(rest.iter().all(|event| event["name"] != "disconnect" || event["code"] == 1000));
        let counts = server.running().webhooks().unwrap();
        assert_eq!((counts.lost, counts.retried), (0, 0));
    });
}

#[test]
fn who_comes_back_in_time_was_never_away() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = start(driver, &backend, LONG);
        let mut told = Told::by(&backend);
        let open = |told: &mut Told<'_>| {
            let mut client = Client::open(server.address(), "/ann");
            assert_eq!(client.json()["type"], "welcome");
            told.one("connect");
            client.join("news");
            client
        };
        let mut client = open(&mut told);
        assert_eq!(told.one("channel_occupied")["channel"], "news");
        let joined = told.one("join");
        assert_eq!((&joined["user"], &joined["channel"]), (&"ann".into(), &"news".into()));
        for _ in 0..5 {
            client.finish();
            drop(client);
            let gone = told.one("disconnect");
            assert_eq!((&gone["user"], &gone["code"]), (&"ann".into(), &1006.into()));
            client = open(&mut told);
        }
        // Another channel's events come behind whatever this one's would have been.
        client.join("fence");
        assert_eq!(told.one("channel_occupied")["channel"], "fence");
        assert_eq!(told.one("join")["channel"], "fence");
    });
}

#[test]
fn a_user_joins_once_and_leaves_with_the_last_connection() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = start(driver, &backend, SHORT);
        let mut told = Told::by(&backend);
        let mut clients: Vec<Client> = (0..4)
            .map(|_| {
                let mut client = Client::open(server.address(), "/ann");
                assert_eq!(client.json()["type"], "welcome");
                client.join("news");
                client
            })
            .collect();
        let mut names: Vec<String> =
            (0..6).map(|_| told.next()["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["channel_occupied", "connect", "connect", "connect", "connect", "join"]);
        let mut last = clients.pop().unwrap();
        for mut client in clients {
            client.close(CloseCode::NORMAL);
            client.until_close();
        }
        told.these(3, "disconnect");
        last.text(r#"{"type":"leave","channel":"news"}"#);
        assert_eq!(last.json()["type"], "left");
        assert_eq!(told.one("leave")["user"], "ann");
        assert_eq!(told.one("channel_vacated")["channel"], "news");
    });
}

#[test]
fn a_stream_is_a_connection_too() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = start(driver, &backend, SHORT);
        let mut told = Told::by(&backend);
        let mut client = Client::connect(server.address());
        client.send(b"GET /sse?channel=news HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(told.one("connect")["transport"], "sse");
        assert_eq!(told.one("channel_occupied")["channel"], "news");
        let joined = told.one("join");
        client.finish();
        let gone = told.one("disconnect");
        assert_eq!(gone["client"], joined["client"]);
        assert_eq!(told.one("leave")["client"], joined["client"]);
        told.one("channel_vacated");
    });
}

#[test]
fn a_stop_tells_of_every_connection_before_it_ends() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = start(driver, &backend, LONG);
        let mut told = Told::by(&backend);
        let clients: Vec<Client> = (0..10).map(|_| Client::native(server.address())).collect();
        told.these(10, "connect");
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| server.stop(Duration::from_secs(30)));
            for mut client in clients {
                assert_eq!(client.until_close().1, 1012);
            }
            let gone = told.these(10, "disconnect");
            assert!(gone.iter().all(|event| event["code"] == 1012), "{gone:?}");
            stopping.join().unwrap();
        });
    });
}

#[test]
fn without_a_url_nothing_is_told() {
    let server = TestServer::start(DriverKind::Auto, |_| {});
    Client::native(server.address()).join("news");
    wait_until("the channel has a home", || server.sum(|shard| shard.homes as u64) > 0);
    assert_eq!((server.running().webhooks(), server.running().hooks()), (None, None));
}
