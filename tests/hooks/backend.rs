//! A web backend in the test process: hands every request to the test and answers as the test says. Speaks just enough
//! HTTP, with TLS if it is asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use highper_realtime::config::{Bounds, Url, Value as _};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::client::{DEADLINE, field};

/// A backend. Its threads end with the test process.
pub struct Backend {
    address: SocketAddr,
    scheme: &'static str,
    requests: Receiver<Request>,
}

/// A request and the way to answer it. Dropped without an answer it breaks the connection.
pub struct Request {
    /// Request line and fields.
    pub head: String,
    pub body: Vec<u8>,
    answer: Sender<String>,
}

impl Backend {
    pub fn start() -> Self {
        Self::listen("http", serve)
    }

    /// With the certificate of `certificates/`.
    pub fn start_tls() -> Self {
        let chain = CertificateDer::pem_slice_iter(include_bytes!("certificates/backend.pem"));
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/backend.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        Self::listen("https", move |stream, to| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(rustls::StreamOwned::new(session, stream), to);
        })
    }

    fn listen(
        scheme: &'static str,
        serve: impl Fn(TcpStream, &Sender<Request>) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to, requests) = channel();
        thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    let (serve, to, stream) = (serve.clone(), to.clone(), stream.unwrap());
                    thread::Builder::new().spawn(move || serve(stream, &to)).unwrap();
                }
            })
            .unwrap();
        Self { address, scheme, requests }
    }

    /// The URL of a path, which may begin with user and password.
    pub fn url(&self, credentials: &str, path: &str) -> Option<Url> {
        Url::parse(&format!("{}://{credentials}{}{path}", self.scheme, self.address), &Bounds::ANY)
    }

    /// The next request.
    #[track_caller]
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(DEADLINE).expect("the backend is asked")
    }

    /// A request that is there already.
    pub fn waiting(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }
}

impl Request {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("bodies are JSON")
    }

    pub fn answer(self, status: u16, body: &str) {
        self.answer_with(status, "", body);
    }

    /// With fields of its own, each ended by CRLF.
    pub fn answer_with(self, status: u16, fields: &str, body: &str) {
        let len = body.len();
        let answer = format!("HTTP/1.1 {status} As Told\r\nContent-Length: {len}\r\n{fields}\r\n{body}");
        // Who asked may have given up.
        let _ = self.answer.send(answer);
    }
}

fn serve(stream: impl Read + Write, to: &Sender<Request>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let len = field(&head, "content-length").map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let (answer, told) = channel();
        if to.send(Request { head, body, answer }).is_err() {
            return;
        }
        let Ok(answer) = told.recv() else { return };
        if stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}
