//! The configuration file: the flat part of TOML, `key = value` with strings, integers, floats, booleans and arrays
//! of them. Tables are refused: every variable stands at the top. Never knows which keys exist.

use std::collections::HashMap;

/// One `key = value` of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    /// Arrays are joined by commas.
    pub(super) value: String,
    /// The line it starts on, from 1.
    pub(super) line: usize,
}

/// A line that is not understood, and what would be.
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) expected: &'static str,
}

/// Reads the whole file; goes on at the next line after a fault, so that all faults come at once.
pub(super) fn parse(text: &str) -> (Vec<Pair>, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    let mut seen = HashMap::new();
    loop {
        reader.skip_blank(true);
        if reader.rest.is_empty() {
            return (pairs, faults);
        }
        let line = reader.line;
        match reader.pair() {
            Ok(pair) if seen.insert(pair.key.to_ascii_uppercase(), line).is_some() => {
                faults.push(Fault { line, expected: "each key once" });
            }
            Ok(pair) => pairs.push(pair),
            Err(expected) => {
                faults.push(Fault { line: reader.line, expected });
                reader.skip_line();
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn pair(&mut self) -> Result<Pair, &'static str> {
        let line = self.line;
        if self.rest.starts_with('[') {
            return Err("keys at the top level, no tables");
        }
        let key = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if key.is_empty() {
            return Err("a key of letters, digits and _");
        }
        self.skip_blank(false);
        self.eat('=').ok_or("an = after the key")?;
        self.skip_blank(false);
        let value = if self.eat('[').is_some() { self.array()? } else { self.scalar()? };
        self.skip_blank(false);
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '\r']) {
            return Err("nothing but a comment after the value");
        }
        Ok(Pair { key: key.to_owned(), value, line })
    }

    fn array(&mut self) -> Result<String, &'static str> {
        let mut items = Vec::new();
        loop {
            self.skip_blank(true);
            if self.eat(']').is_some() {
                return Ok(items.join(","));
            }
            items.push(self.scalar()?);
            self.skip_blank(true);
            if self.eat(',').is_none() && !self.rest.starts_with(']') {
                return Err("a comma or ] after an item of an array");
            }
        }
    }

    fn scalar(&mut self) -> Result<String, &'static str> {
        if self.rest.starts_with("\"\"\"") || self.rest.starts_with("'''") {
            return Err("a string on one line, with \\n for line breaks");
        }
        if self.eat('"').is_some() {
            return self.basic_string();
        }
        if self.eat('\'').is_some() {
            let text = self.take_while(|c| c != '\'' && c != '\n');
            return self.eat('\'').map(|()| text.to_owned()).ok_or("a ' at the end of the string");
        }
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
        let is_bool = matches!(word, "true" | "false");
        if is_bool || is_number(word) {
            Ok(word.replace('_', ""))
        } else {
            Err("a quoted string, a number, true or false, or an array")
        }
    }

    fn basic_string(&mut self) -> Result<String, &'static str> {
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| c != '"' && c != '\\' && c != '\n'));
            if self.eat('"').is_some() {
                return Ok(text);
            }
            self.eat('\\').ok_or("a \" at the end of the string")?;
            let escape = self.rest.chars().next().ok_or("a character after \\")?;
            self.rest = &self.rest[escape.len_utf8()..];
            text.push(match escape {
                '"' | '\\' => escape,
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'u' => self.unicode(4)?,
                'U' => self.unicode(8)?,
                _ => return Err("one of the escapes \\\" \\\\ \\n \\t \\r \\uXXXX \\UXXXXXXXX"),
            });
        }
    }

    fn unicode(&mut self, length: usize) -> Result<char, &'static str> {
        let code = self
            .rest
            .get(..length)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32)
            .ok_or("the hexadecimal number of a character")?;
        self.rest = &self.rest[length..];
        Ok(code)
    }

    /// Skips blanks and a comment; with `lines` also line ends and whole comment lines.
    fn skip_blank(&mut self, lines: bool) {
        loop {
            self.take_while(|c| c == ' ' || c == '\t');
            if self.rest.starts_with('#') {
                self.take_while(|c| c != '\n');
            }
            let end = ["\r\n", "\n"].into_iter().find(|end| self.rest.starts_with(end));
            match end {
                Some(end) if lines => {
                    self.rest = &self.rest[end.len()..];
                    self.line += 1;
                }
                Some(_) | None => return,
            }
        }
    }

    fn skip_line(&mut self) {
        self.take_while(|c| c != '\n');
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }
}

/// An integer or a float as TOML writes them in base ten, with `_` only between digits.
fn is_number(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let digits = |part: &str| {
        !part.is_empty()
            && part.split('_').all(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}
