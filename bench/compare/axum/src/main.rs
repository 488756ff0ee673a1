//! axum as a peer: /echo returns each message, who connects to /topic is subscribed, and each message sent to
//! /publish is delivered to all of them. What came in with one read is answered with one flush.
//! Usage: compare-axum PORT [THREADS]

use std::convert::identity;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::broadcast;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Publications a slow subscriber may be behind.
const BEHIND_MAX: usize = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(9002, |port| port.parse().expect("PORT is a number"));
    let threads = arguments.next().map_or(1, |threads| threads.parse().expect("THREADS is a number"));
    // On one core the runtime without work stealing is the faster one.
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_io().build().expect("the runtime starts").block_on(serve(port));
}

async fn serve(port: u16) {
    let (publications, _) = broadcast::channel::<Message>(BEHIND_MAX);
    let app = Router::new()
        .route("/echo", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)))
        .route("/topic", get(topic))
        .route("/publish", get(publish))
        .with_state(publications);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    println!("pid {} port {port}", std::process::id());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await.expect("the server runs");
}

fn payload(message: Message) -> Option<Message> {
    matches!(message, Message::Text(_) | Message::Binary(_)).then_some(message)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if let Some(message) = payload(message)
                && socket.feed(message).await.is_err()
            {
                return;
            }
            next = socket.next().now_or_never().and_then(identity).and_then(Result::ok);
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

async fn topic(
    State(all): State<broadcast::Sender<Message>>,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    let mut publications = all.subscribe();
    upgrade.on_upgrade(async move |mut socket| {
        loop {
            let message = tokio::select! {
                message = publications.recv() => message,
                incoming = socket.recv() => match incoming {
                    Some(Ok(_)) => continue,
                    _ => return,
                },
            };
            let mut next = message.ok();
            if next.is_none() {
                return;
            }
            while let Some(message) = next {
                if socket.feed(message).await.is_err() {
                    return;
                }
                next = publications.try_recv().ok();
            }
            if socket.flush().await.is_err() {
                return;
            }
        }
    })
}

async fn publish(
    State(all): State<broadcast::Sender<Message>>,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if let Some(message) = payload(message) {
                // Nobody is subscribed: there is nothing to deliver.
                let _ = all.send(message);
            }
        }
    })
}
