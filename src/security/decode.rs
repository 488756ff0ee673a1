//! Percent-encoding undone (RFC 3986 §2.1), once or as often as an attacker did it. Never fails: what is no escape
//! stays as it is.

/// Which classes of bytes a text has: one look at each byte decides what else is worth looking for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// `%`, the beginning of an escape.
    pub const PERCENT: Self = Self(1);
    /// `.`
    pub const DOT: Self = Self(1 << 1);
    /// `/` and `\`
    pub const SEPARATOR: Self = Self(1 << 2);
    /// `'`, `"` and a backtick.
    pub const QUOTE: Self = Self(1 << 3);
    /// `<`
    pub const ANGLE: Self = Self(1 << 4);
    /// What SQL is written with beside words: `( ) ; # * = > | & ! , @ \`.
    pub const SQL: Self = Self(1 << 5);
    /// White space, and `+`, which is a blank in a query.
    pub const BLANK: Self = Self(1 << 6);
    /// `-`
    pub const DASH: Self = Self(1 << 7);
    /// `:`
    pub const COLON: Self = Self(1 << 8);
    /// Control characters.
    pub const CONTROL: Self = Self(1 << 9);
    /// Bytes beyond ASCII.
    pub const HIGH: Self = Self(1 << 10);

    /// The classes of a text.
    pub fn of(text: &[u8]) -> Self {
        Self(text.iter().fold(0, |marks, byte| marks | CLASSES[usize::from(*byte)]))
    }

    /// Whether it has a byte of any of these classes.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Undoes percent-encoding, `+` too if it is a blank; true if there was any.
pub fn percent(text: &[u8], plus_is_blank: bool, out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut changed = false;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            (b'+', _) if plus_is_blank => {
                out.push(b' ');
                changed = true;
                continue;
            }
            _ => None,
        };
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
                changed = true;
            }
            None => out.push(*byte),
        }
    }
    changed
}

/// The string literals of a JSON text that are no keys, their escapes undone; at most `bytes_max` bytes of each. A
/// text that is no JSON gives whatever stands between its quotes.
pub fn for_each_string(
    text: &[u8],
    bytes_max: usize,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]) -> bool,
) {
    let mut rest = text;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'"') {
        let (end, is_plain) = string_end(&rest[begin + 1..]);
        let string = &rest[begin + 1..begin + 1 + end];
        rest = rest.get(begin + 2 + end..).unwrap_or_default();
        if rest.trim_ascii_start().first() == Some(&b':') {
            continue;
        }
        let cut = &string[..string.len().min(bytes_max)];
        let goes_on = if is_plain {
            each(cut)
        } else {
            unescape(cut, scratch);
            each(scratch)
        };
        if !goes_on {
            return;
        }
    }
}

/// Where a string ends, and whether it has no escape.
fn string_end(text: &[u8]) -> (usize, bool) {
    let mut at = 0;
    let mut is_plain = true;
    while at < text.len() {
        match text[at] {
            b'"' => return (at, is_plain),
            b'\\' => {
                is_plain = false;
                at += 2;
            }
            _ => at += 1,
        }
    }
    (text.len(), is_plain)
}

/// Undoes the escapes of RFC 8259 §7; what is beyond ASCII becomes one byte, which no matcher looks at.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some((letter, behind)) = after.split_first() else { return };
        rest = behind;
        match letter {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let Some((digits, behind)) = behind.split_at_checked(4) else { return };
                let value =
                    digits.iter().try_fold(0u32, |value, digit| Some(value << 4 | u32::from(hex(*digit)?)));
                out.push(
                    value.and_then(|value| u8::try_from(value).ok()).filter(u8::is_ascii).unwrap_or(0x80),
                );
                rest = behind;
            }
            other => out.push(*other),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'%' => Marks::PERCENT.0,
            b'.' => Marks::DOT.0,
            b'/' => Marks::SEPARATOR.0,
            b'\\' => Marks::SEPARATOR.0 | Marks::SQL.0,
            b'\'' | b'"' | b'`' => Marks::QUOTE.0,
            b'<' => Marks::ANGLE.0,
            b'(' | b')' | b';' | b'#' | b'*' | b'=' | b'>' | b'|' | b'&' | b'!' | b',' | b'@' => Marks::SQL.0,
            b' ' | b'+' => Marks::BLANK.0,
            b'-' => Marks::DASH.0,
            b':' => Marks::COLON.0,
            b'\t' | b'\n' | b'\r' => Marks::CONTROL.0 | Marks::BLANK.0,
            0..=31 | 127 => Marks::CONTROL.0,
            128.. => Marks::HIGH.0,
            _ => 0,
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        let mut out = Vec::new();
        percent(text.as_bytes(), true, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn strings(text: &str) -> Vec<String> {
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        for_each_string(text.as_bytes(), 100, &mut scratch, |string| {
            found.push(String::from_utf8_lossy(string).into_owned());
            true
        });
        found
    }

    #[test]
    fn escapes_are_undone_and_the_rest_is_kept() {
        assert_eq!(decoded("a%20b+c"), "a b c");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(decoded("%2525"), "%25");
    }

    #[test]
    fn values_of_json_are_found_and_keys_are_not() {
        assert_eq!(strings(r#"{"a":"b","c":["d",{"e" : "f"}],"n":1}"#), ["b", "d", "f"]);
        assert_eq!(strings(r#"{"a":"say \"hi\"\n<b>"}"#), ["say \"hi\"\n<b>"]);
        assert_eq!(strings(r#"["\"#), [""]);
        assert_eq!(strings(r#""open"#), ["open"]);
        assert_eq!(strings("no quotes"), Vec::<String>::new());
    }

    #[test]
    fn marks_tell_what_there_is() {
        assert!(Marks::of(b"a'b").any(Marks::QUOTE));
        assert!(!Marks::of(b"eyJhbGciOi.J_-x").any(Marks::QUOTE.or(Marks::SQL).or(Marks::BLANK)));
    }
}
