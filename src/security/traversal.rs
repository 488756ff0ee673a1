//! Paths that climb: `..` in every disguise, NUL bytes, files of the system. Looks at segments after decoding; never
//! at the file system, which this server does not serve.

use super::decode;

/// How often an attacker encodes: what is encoded more often no server decodes.
const ROUNDS_MAX: usize = 3;

/// What is wrong with a path or a value, or nothing. `scratch` keeps its memory.
pub fn check(text: &[u8], scratch: &mut [Vec<u8>; 2]) -> Option<&'static str> {
    let found = check_plain(text);
    if found.is_some() || !text.contains(&b'%') {
        return found;
    }
    let [one, two] = scratch;
    decode::percent(text, false, one);
    for _ in 0..ROUNDS_MAX {
        if let Some(found) = check_plain(one).or_else(|| check_overlong(one)) {
            return Some(found);
        }
        if !one.contains(&b'%') || !decode::percent(one, false, two) {
            return None;
        }
        std::mem::swap(one, two);
    }
    None
}

fn check_plain(text: &[u8]) -> Option<&'static str> {
    if text.contains(&0) {
        return Some("NUL byte");
    }
    let mut segments = text.split(|byte| matches!(byte, b'/' | b'\\')).peekable();
    let mut is_first = true;
    while let Some(segment) = segments.next() {
        // `..;` is a parent for servers that take parameters off segments; a lone `..` at the end is prose.
        let is_parent = segment == b".." || segment.starts_with(b"..;");
        if is_parent && !(is_first && segments.peek().is_none()) {
            return Some("parent segment");
        }
        is_first = false;
    }
    SYSTEM_FILES.iter().any(|file| has_file(text, file)).then_some("file of the system")
}

/// Overlong UTF-8 (RFC 3629 §3 forbids it) of `.`, `/` and `\`.
fn check_overlong(text: &[u8]) -> Option<&'static str> {
    let is_overlong =
        |pair: &[u8]| matches!(pair, [0xC0, 0x80..=0xBF] | [0xC1, 0x80..=0xBF] | [0xE0, 0x80..=0x9F]);
    let is_disguise = text.windows(2).any(is_overlong)
        // `%c0.` and `%c0/`: decoders that look at the low bits only.
        || text.windows(2).any(|pair| matches!(pair, [0xC0 | 0xC1, b'.' | b'/' | b'\\']));
    is_disguise.then_some("overlong UTF-8")
}

/// A name at the beginning of the text or behind a separator or a scheme.
fn has_file(text: &[u8], file: &[u8]) -> bool {
    let same = |at: usize| {
        text[at..].len() >= file.len()
            && text[at..at + file.len()].iter().zip(file).all(|(one, other)| match other {
                b'/' => matches!(one, b'/' | b'\\'),
                other => one.eq_ignore_ascii_case(other),
            })
    };
    (0..text.len()).any(|at| {
        let begins = at == 0 || matches!(text[at - 1], b'/' | b'\\' | b':' | b'=');
        begins && same(at)
    })
}

/// Files that attackers read to prove that they can. No path of this server begins so.
const SYSTEM_FILES: [&[u8]; 14] = [
    b"/etc/passwd",
    b"/etc/shadow",
    b"/etc/hosts",
    b"/etc/group",
    b"/proc/self/",
    b"/proc/version",
    b"/var/log/",
    b"/root/.ssh",
    b"/windows/win.ini",
    b"/windows/system32",
    b"c:/boot.ini",
    b"c:/windows/",
    b"web-inf/",
    b".git/config",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&'static str> {
        check(text.as_bytes(), &mut [Vec::new(), Vec::new()])
    }

    #[test]
    fn ordinary_paths_and_prose_do_not_climb() {
        for text in [
            "/",
            "/ws",
            "/a..b/c",
            "/a/...",
            "/.well-known/x",
            "..",
            "wait..",
            "so.. what/ever",
            "v1..v2",
            "a/./b",
            "/files/report.2026.pdf",
            "100%",
            "50%/50%",
            "http://example.org/a/b",
            "/gr%C3%BC%C3%9Fe",
            "C:/Users/ann",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn every_disguise_is_seen_through() {
        for text in [
            "../x",
            "/a/../b",
            "/a/..",
            "..\\x",
            "/%2e%2e/x",
            "/..%2fx",
            "/%252e%252e%252fx",
            "/%25252e%25252e/x",
            "/%c0%ae%c0%ae/x",
            "/..%c0%afx",
            "/%c0%2e%c0%2e/x",
            "/%e0%80%ae%e0%80%ae/x",
            "/..;/x",
            "/a%00.png",
            "file:///etc/passwd",
            "/etc/passwd",
            "\\windows\\win.ini",
            "/..%5cx",
            "C:\\boot.ini",
            "/.git/config",
        ] {
            assert!(found(text).is_some(), "{text}");
        }
    }
}
