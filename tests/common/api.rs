//! Calls of the server API for tests, over one keep-alive connection.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;

use serde_json::Value;

use crate::client::{Answer, Client};

/// A connection of a web backend.
pub struct Api(pub Client);

/// A request to the API as bytes; `fields` with their line ends.
pub fn request(method: &str, fields: &str, body: &str) -> String {
    let len = body.len();
    format!("POST /api/{method} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {len}\r\n\r\n{body}")
}

impl Api {
    pub fn connect(address: SocketAddr) -> Self {
        Self(Client::connect(address))
    }

    /// One call and its whole answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, body: &Value) -> (u16, Value) {
        self.0.send(request(method, "", &body.to_string()).as_bytes());
        self.answer()
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> (u16, Value) {
        let Answer { status, head, body } = self.0.answer();
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        (status, serde_json::from_slice(&body).expect("the API answers JSON"))
    }

    /// The result of one call, which must succeed.
    #[track_caller]
    pub fn call(&mut self, method: &str, body: &Value) -> Value {
        let (status, mut answer) = self.ask(method, body);
        assert_eq!(status, 200, "{method} {body}: {answer}");
        assert!(answer["error"].is_null(), "{method} {body}: {answer}");
        answer["result"].take()
    }
}
