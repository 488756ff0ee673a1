//! The demo page: a chat over WebSocket, a dashboard over Server-Sent Events, one file without outside assets. Never
//! changes while the server runs.

/// The page for a server whose WebSocket clients connect to `path` and whose event streams are at `sse_path`, if it
/// has them.
pub fn html(path: &str, sse_path: Option<&str>) -> String {
    INDEX
        .replace("{{STYLE}}", STYLE)
        .replace("{{SCRIPT}}", concat!(include_str!("chat.js"), "\n", include_str!("dashboard.js")))
        .replace("\"{{WEBSOCKET_PATH}}\"", &quoted(Some(path)))
        .replace("\"{{SSE_PATH}}\"", &quoted(sse_path))
}

/// What the page may load and do: nothing from outside, and connections to where it came from.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'";

/// The text as JavaScript, `null` for none.
fn quoted(text: Option<&str>) -> String {
    // Inside a script no `</` may stand, whatever the path is.
    serde_json::to_string(&text).expect("a string is JSON").replace('<', "\\u003c")
}

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_knows_its_paths_and_loads_nothing_from_outside() {
        let page = html("/live\"</script>", Some("/events</script>"));
        assert!(page.contains(r#"const path = "/live\"\u003c/script>";"#));
        assert!(page.contains(r#"const ssePath = "/events\u003c/script>";"#));
        assert!(!page.contains("{{") && !page.contains("http://") && !page.contains("https://"));
        assert_eq!(page.matches("</script").count(), 1, "the script ends where the page says");
    }

    #[test]
    fn the_page_says_when_there_are_no_event_streams() {
        let page = html("/ws", None);
        assert!(page.contains("const ssePath = null;") && page.contains("Server-Sent Events are off"));
    }

    #[test]
    fn what_scripts_ask_for_stands_in_the_page_once() {
        let page = html("/ws", Some("/sse"));
        for (at, found) in page.match_indices("$(\"") {
            let id = page[at + found.len()..].split('"').next().expect("a split has a first part");
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}
