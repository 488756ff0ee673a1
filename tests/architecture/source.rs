//! A source file as the rules read it: code without comments and literals, comments beside it, line by line. Knows
//! Rust's tokens well enough for that; never its grammar, and never a rule.

/// One file of the tree.
pub struct Source {
    /// Its path from the root of the repository, with slashes.
    pub path: String,
    /// Its text as it is.
    pub text: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What the compiler acts on; comments and the insides of literals are blanks.
    pub code: String,
    /// The text of comments.
    pub comment: String,
    /// Whether it stands in a module that only tests have.
    pub in_tests: bool,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Number of its first line, from 1.
    pub line: usize,
    /// Lines from its signature to its closing brace, both counted.
    pub lines: usize,
}

/// What a token is to a rule.
#[derive(Clone, Copy)]
enum Part {
    Code,
    Literal,
    Comment,
}

impl Source {
    /// Reads a file. One that is not Rust is all comment.
    pub fn new(path: &str, text: &str) -> Self {
        let mut source = Self { path: path.to_owned(), text: text.to_owned(), lines: Vec::new() };
        if path.ends_with(".rs") {
            source.lines = lex(text);
            source.mark_tests();
        } else {
            let whole = |line: &str| Line { comment: line.to_owned(), ..Line::default() };
            source.lines = text.lines().map(whole).collect();
        }
        source
    }

    /// The code of the whole file, for what may span lines.
    pub fn code(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.code)).collect()
    }

    /// The number of the line that holds this place of [`Source::code`], from 1.
    pub fn line_of(&self, at: usize) -> usize {
        let mut end = 0;
        let before = self.lines.iter().take_while(|line| {
            end += line.code.len() + 1;
            end <= at
        });
        before.count() + 1
    }

    /// Every function that has a body.
    pub fn functions(&self) -> Vec<Function> {
        let code = self.code();
        let found = words(&code).filter(|(_, word)| *word == "fn").filter_map(|(at, _)| {
            let rest = code[at + 2..].trim_start();
            let name: String = rest.chars().take_while(|c| is_word(*c) || *c == '$').collect();
            let open = body(&code, at).filter(|_| !name.is_empty())?;
            let line = self.line_of(at);
            Some(Function { name, line, lines: self.line_of(closing(&code, open)) - line + 1 })
        });
        found.collect()
    }

    fn mark_tests(&mut self) {
        let code = self.code();
        let mut from = 0;
        while let Some(found) = code[from..].find("#[cfg(test)]") {
            let at = from + found;
            from = at + 1;
            if let Some(open) = body(&code, at) {
                let (first, last) = (self.line_of(at), self.line_of(closing(&code, open)));
                self.lines[first - 1..last].iter_mut().for_each(|line| line.in_tests = true);
            }
        }
    }
}

/// The words of a text, each with its place.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split(|c: char| !is_word(c));
    pieces.map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).filter(|(_, w)| !w.is_empty())
}

/// What names are made of.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Place of the brace that opens the body of an item, if it has one before its semicolon.
fn body(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    // Of the brackets in front of a body only these can hold a semicolon or a brace: `[u8; 4]`, `(x: [u8; 4])`.
    let end = code[from..].char_indices().find(|(_, c)| {
        depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        depth == 0 && matches!(c, ';' | '{')
    });
    end.filter(|(_, c)| *c == '{').map(|(at, _)| from + at)
}

/// Place of the brace that closes the one at `open`; the end if nothing does.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    let found = code[open..].char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    found.map_or(code.len() - 1, |(at, _)| open + at)
}

fn lex(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let (mut rest, mut before) = (text, ' ');
    while !rest.is_empty() {
        let (part, len) = token(rest, before);
        for c in rest[..len].chars() {
            before = c;
            let line = lines.last_mut().expect("there is always a line");
            match (c, part) {
                ('\n', _) => lines.push(Line::default()),
                (c, Part::Code) => line.code.push(c),
                (_, Part::Literal) => line.code.push(' '),
                (c, Part::Comment) => line.comment.push(c),
            }
        }
        rest = &rest[len..];
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// What a text begins with, and the bytes it takes.
fn token(rest: &str, before: char) -> (Part, usize) {
    if rest.starts_with("//") {
        (Part::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Part::Comment, block_comment(rest))
    } else if let Some(len) = raw_text(rest).filter(|_| !is_word(before)) {
        (Part::Literal, len)
    } else if rest.starts_with('"') {
        (Part::Literal, quoted(rest))
    } else if let Some(len) = character(rest) {
        (Part::Literal, len)
    } else {
        (Part::Code, rest.chars().next().map_or(0, char::len_utf8))
    }
}

/// Comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, with `b` or `c` before; not `r#name`.
fn raw_text(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let opened = inner.trim_start_matches('#');
    let hashes = &inner[..inner.len() - opened.len()];
    let content = opened.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let len = content.find(&end).map_or(content.len(), |at| at + end.len());
    Some(rest.len() - content.len() + len)
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// `'x'` or `'\n'`; not the `'x` of a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    if first == '\\' {
        return inner.char_indices().skip(2).find(|(_, c)| *c == '\'').map(|(at, _)| at + 2);
    }
    inner[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}
