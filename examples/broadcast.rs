//! Publishing from outside the shards: a thread of the application tells every subscriber of `clock` the time.
//! Run it with `cargo run --release --example broadcast`, then join `clock` on the page at http://localhost:8080/.

use std::time::Duration;

use highper_realtime::Server;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let running = Server::from_env()?.start()?;
    println_address(&running.summary());
    let broadcaster = running.broadcaster();
    for tick in 0u64.. {
        // A full mailbox refuses: the next tick will do.
        let _ = broadcaster.to_channel("clock", json!({ "name": "clock", "text": format!("tick {tick}") }));
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]
fn println_address(summary: &str) {
    println!("{summary}");
}
