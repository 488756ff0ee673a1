//! Patterns of channel names: `*` is any text, `?` one character. Never takes more than linear time for each star.

/// Whether a name matches a pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and up to where of the name it reaches.
    let mut star = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            Some(_) | None => match star {
                None => return false,
                Some((place, reached)) => {
                    star = Some((place, reached + 1));
                    (at, seen) = (place + 1, reached + 1);
                }
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*c", "abbc"),
            ("?", "a"),
            ("*b*", "abc"),
            ("", ""),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", ""), ("?", ""), ("a*c", "abcd"), ("b*", "ab"), ("*b", "abc")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_time_to_speak_of() {
        assert!(!matches(&"*a".repeat(100), &"b".repeat(255)));
    }
}
