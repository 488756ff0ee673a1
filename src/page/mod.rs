//! The demo page: one file without outside assets. Never changes while the server runs.

/// The page for a server whose WebSocket clients connect to `path`.
pub fn html(path: &str) -> String {
    let quoted = serde_json::to_string(path).expect("a string is JSON");
    // Inside a script no `</` may stand, whatever the path is.
    INDEX.replace("\"{{WEBSOCKET_PATH}}\"", &quoted.replace('<', "\\u003c"))
}

/// What the page may load and do: nothing from outside, and a WebSocket to where it came from.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'";

const INDEX: &str = include_str!("index.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_knows_its_path_and_loads_nothing_from_outside() {
        let page = html("/live\"</script>");
        assert!(page.contains(r#"const path = "/live\"\u003c/script>";"#));
        assert!(!page.contains("{{") && !page.contains("http://") && !page.contains("https://"));
    }
}
