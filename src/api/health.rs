//! The answers of the health endpoints, as the original library shaped them. Never measures anything itself.

use serde_json::json;

use crate::config::Config;
use crate::limits::Level;
use crate::observe::counters::Board;

/// Whether the process lives: whoever can answer does.
pub fn live() -> String {
    json!({ "status": "alive" }).to_string()
}

/// Whether new connections are welcome: the status code and the body.
pub fn ready(board: &Board) -> (u16, String) {
    let is_shedding = board.overload_level() >= Level::Shed.number();
    match (board.draining(), is_shedding) {
        (false, false) => (200, json!({ "status": "ready" }).to_string()),
        (false, true) => (503, json!({ "status": "overloaded" }).to_string()),
        (true, _) => (503, json!({ "status": "draining" }).to_string()),
    }
}

/// Everything: the status code and the body. `timestamp` in seconds since the Unix epoch.
pub fn health(config: &Config, board: &Board, timestamp: u64, response_time_ms: f64) -> (u16, String) {
    let draining = board.draining();
    let websocket = if config.websocket_enabled {
        json!({ "status": "healthy", "connections": board.open() })
    } else {
        json!({ "status": "disabled" })
    };
    let monitor = match config.monitoring_security_enabled {
        true => json!({ "status": "healthy", "threats_detected": board.threats() }),
        false => json!({ "status": "disabled" }),
    };
    let body = json!({
        "status": if draining { "draining" } else { "healthy" },
        "timestamp": timestamp,
        "version": env!("CARGO_PKG_VERSION"),
        "environment": config.app_env.as_str(),
        "protocols": { "websocket": websocket },
        "monitoring": { "security_monitor": monitor },
        "shards": board.shards(),
        "overload_level": board.overload_level(),
        "response_time_ms": response_time_ms,
    });
    (if draining { 503 } else { 200 }, body.to_string())
}
