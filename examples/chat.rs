//! A chat with its own rules: the first message of a connection is its name, every later one goes to the room.
//! Run it with `cargo run --release --example chat`, then talk to ws://localhost:8080/chat.

use std::time::Duration;

use highper_realtime::{CloseCode, Connection, Endpoint, Message, Outcome, Server};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::from_env()?.endpoint(
        Endpoint::raw("/chat").on_connect(greet).on_message(talk).on_close(|conn, _code| {
            if let Some(name) = conn.user().map(str::to_owned) {
                // Nobody is there to be told that this failed.
                let _ = conn.publish("room", json!({ "left": name }));
            }
        }),
    );
    server.run()?;
    Ok(())
}

fn greet(conn: &mut Connection<'_>) -> Outcome {
    conn.send(json!({ "hello": "say who you are" }))?;
    conn.every(Duration::from_secs(60), |conn| conn.send(json!({ "still": "here" })));
    Ok(())
}

fn talk(conn: &mut Connection<'_>, message: Message<'_>) -> Outcome {
    if !message.is_text() {
        conn.close(CloseCode::UNSUPPORTED, "text only");
        return Ok(());
    }
    let text = message.text().to_owned();
    match conn.user().map(str::to_owned) {
        None => {
            conn.set_user(&text)?;
            conn.join("room")?;
            conn.publish("room", json!({ "joined": text }))
        }
        Some(name) => conn.publish("room", json!({ "from": name, "text": text })),
    }
}
