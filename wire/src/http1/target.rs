//! Forms of the request target (RFC 9112 §3.2) and the path to route by. Never decodes, never follows a target.

use super::Refusal;
use super::fields::is_host;

/// Checks the form of a `target` that holds visible ASCII only.
///
/// The asterisk-form is for OPTIONS (RFC 9112 §3.2.4), but other methods use it too (`M-SEARCH *`) and it is no path
/// of ours: whoever routes it finds nothing.
pub(super) fn check(target: &str) -> Result<(), Refusal> {
    if target.starts_with('/') || target == "*" {
        return Ok(());
    }
    match absolute(target) {
        Some((authority, _rest)) if is_host(authority.as_bytes()) => Ok(()),
        Some(_) | None => Err(Refusal::Target),
    }
}

/// Path and query of a target that passed [`check`]; the query is without its `?`.
pub(super) fn path_and_query(target: &str) -> (&str, Option<&str>) {
    let rest = match absolute(target) {
        Some((_authority, rest)) => rest,
        None => target,
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    // RFC 9110 §4.2.3: an empty path of an http URI is the same as "/".
    (if path.is_empty() { "/" } else { path }, query)
}

/// Authority of an absolute-form target.
pub(super) fn authority(target: &str) -> Option<&str> {
    absolute(target).map(|(authority, _rest)| authority)
}

/// Splits `http://authority/rest`; other schemes are not ours to answer for (RFC 9110 §7.4).
fn absolute(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, behind) = target.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
    Some(behind.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_form_is_routed_by_its_path_only() {
        for (target, path, query) in [
            ("/a?b", "/a", Some("b")),
            ("/", "/", None),
            ("/a?", "/a", Some("")),
            ("/a?b?c", "/a", Some("b?c")),
            ("//evil/a", "//evil/a", None),
            ("/http://x/y", "/http://x/y", None),
            ("http://169.254.169.254/latest", "/latest", None),
            ("HTTPS://h:443", "/", None),
            ("http://h?hail=all", "/", Some("hail=all")),
            ("*", "*", None),
        ] {
            assert_eq!(path_and_query(target), (path, query), "{target}");
        }
    }

    #[test]
    fn only_known_forms_pass() {
        for target in ["/", "//x", "http://h", "http://[::1]:80/x", "https://h:1/?q"] {
            assert_eq!(check(target), Ok(()), "{target}");
        }
        for target in ["h:443", "ftp://h/", "http:///x", "http://", "http://a@b/", "http:/x", "a", "*x"] {
            assert_eq!(check(target), Err(Refusal::Target), "{target}");
        }
        assert_eq!(check("*"), Ok(()));
    }
}
