//! Reads the answers of an HTTP/1.1 server (RFC 9112): heads, and bodies by length, in chunks or until the end. Any
//! split of the bytes gives the same parts. Trusts the server it measures: not a client for the open internet.

/// The answers on one connection, one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Status,
    Fields(Fields),
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

#[derive(Debug)]
struct Fields {
    status: u16,
    is_event_stream: bool,
    is_chunked: bool,
    length: Option<u64>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'i> {
    /// An answer begins.
    Head {
        /// The status code.
        status: u16,
        /// Whether its body is text/event-stream.
        is_event_stream: bool,
    },
    /// Bytes of its body.
    Body(&'i [u8]),
    /// It is complete; the next one begins.
    End,
}

/// The server does not speak HTTP/1.1 as we read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// A line of the head or of the framing.
    #[error("the server's HTTP is not understood: {0}")]
    Line(&'static str),
}

/// Bytes of one line: heads of servers are a few hundred bytes.
const LINE_BYTES_MAX: usize = 8192;

impl Reader {
    /// The next part of `input`, which shrinks; nothing when all of it was taken.
    ///
    /// # Errors
    /// What is no answer ends the connection.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Part<'i>>, BadResponse> {
        loop {
            match &mut self.state {
                State::Length(0) => {
                    self.state = State::Status;
                    return Ok(Some(Part::End));
                }
                State::Length(left) | State::ChunkData(left) if *left > 0 => {
                    let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    return Ok(take(input, count));
                }
                State::UntilClose => return Ok(take(input, input.len())),
                State::ChunkData(_) => self.state = State::ChunkEnd,
                State::Status
                | State::Fields(_)
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailers
                | State::Length(_) => {
                    if !self.read_line(input)? {
                        return Ok(None);
                    }
                    let line = std::mem::take(&mut self.line);
                    let part = self.on_line(&line)?;
                    self.line = line;
                    self.line.clear();
                    if part.is_some() {
                        return Ok(part);
                    }
                }
            }
        }
    }

    /// Collects a line without its end; whether it is complete.
    fn read_line(&mut self, input: &mut &[u8]) -> Result<bool, BadResponse> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (piece, rest) = input.split_at(end.map_or(input.len(), |at| at + 1));
        self.line.extend_from_slice(piece);
        *input = rest;
        if self.line.len() > LINE_BYTES_MAX {
            return Err(BadResponse::Line("a line is too long"));
        }
        if end.is_none() {
            return Ok(false);
        }
        self.line.pop();
        self.line.pop_if(|last| *last == b'\r');
        Ok(true)
    }

    fn on_line(&mut self, line: &[u8]) -> Result<Option<Part<'static>>, BadResponse> {
        match &mut self.state {
            State::Status => self.state = State::Fields(Fields::of(line)?),
            State::Fields(fields) if line.is_empty() => {
                let (state, part) = fields.end();
                self.state = state;
                return Ok(part);
            }
            State::Fields(fields) => fields.field(line)?,
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    size => State::ChunkData(size),
                }
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(BadResponse::Line("a chunk is longer than it says")),
            State::Trailers if line.is_empty() => {
                self.state = State::Status;
                return Ok(Some(Part::End));
            }
            State::Trailers => {}
            State::Length(_) | State::UntilClose | State::ChunkData(_) => {
                unreachable!("bodies have no lines")
            }
        }
        Ok(None)
    }
}

impl Fields {
    fn of(status_line: &[u8]) -> Result<Self, BadResponse> {
        let status = status_line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status = status.ok_or(BadResponse::Line("no status line"))?;
        Ok(Self { status, is_event_stream: false, is_chunked: false, length: None })
    }

    fn field(&mut self, line: &[u8]) -> Result<(), BadResponse> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(BadResponse::Line("no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            self.length = Some(length.ok_or(BadResponse::Line("no length"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
            self.is_event_stream = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
        }
        Ok(())
    }

    /// The head is complete: how the body is framed. An interim answer is passed over.
    fn end(&self) -> (State, Option<Part<'static>>) {
        let head = Part::Head { status: self.status, is_event_stream: self.is_event_stream };
        let state = match (self.status, self.length) {
            (100..200, _) => return (State::Status, None),
            (204 | 304, _) => State::Length(0),
            _ if self.is_chunked => State::ChunkSize,
            (_, Some(length)) => State::Length(length),
            (_, None) => State::UntilClose,
        };
        (state, Some(head))
    }
}

fn take<'i>(input: &mut &'i [u8], count: usize) -> Option<Part<'i>> {
    let (body, rest) = input.split_at(count);
    *input = rest;
    (count > 0).then_some(Part::Body(body))
}

/// The size before the extensions of a chunk.
fn chunk_size(line: &[u8]) -> Result<u64, BadResponse> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(digits).ok();
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(BadResponse::Line("no chunk size"))
}

/// Whole answers: what a connection that publishes waits for.
#[derive(Debug, Default)]
pub struct Answers {
    reader: Reader,
    status: u16,
    body: Vec<u8>,
}

impl Answers {
    /// Takes the next bytes and tells the status and the body of every answer that they complete.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut on_answer: impl FnMut(u16, &[u8]),
    ) -> Result<(), BadResponse> {
        while let Some(part) = self.reader.next(&mut input)? {
            match part {
                Part::Head { status, .. } => self.status = status,
                Part::Body(bytes) => self.body.extend_from_slice(bytes),
                Part::End => {
                    on_answer(self.status, &self.body);
                    self.body.clear();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(u16, String)>;

    fn answers(pieces: &[&[u8]]) -> Result<Seen, BadResponse> {
        let (mut answers, mut seen) = (Answers::default(), Seen::new());
        for piece in pieces {
            answers.feed(piece, |status, body| seen.push((status, String::from_utf8_lossy(body).into())))?;
        }
        Ok(seen)
    }

    const PIPELINED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX: y\r\n\r\nhello\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\na\r\n\r\nA;x=1\r\n0123456789\r\n0\r\nT: u\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n";

    #[test]
    fn any_split_of_the_bytes_gives_the_same_answers() {
        let whole = answers(&[PIPELINED]).unwrap();
        let expected = [(201, "hello"), (204, ""), (200, "a\r\n0123456789"), (404, "")];
        assert_eq!(whole, expected.map(|(status, body)| (status, body.to_owned())));
        for cut in 0..=PIPELINED.len() {
            let (left, right) = PIPELINED.split_at(cut);
            assert_eq!(answers(&[left, b"", right]).unwrap(), whole, "cut at byte {cut}");
        }
        let bytes: Vec<&[u8]> = PIPELINED.chunks(1).collect();
        assert_eq!(answers(&bytes).unwrap(), whole);
    }

    #[test]
    fn a_stream_without_a_length_has_no_end() {
        let mut reader = Reader::default();
        let mut input =
            &b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n: hi\n\n"[..];
        let head = Part::Head { status: 200, is_event_stream: true };
        assert_eq!(reader.next(&mut input), Ok(Some(head)));
        assert_eq!(reader.next(&mut input), Ok(Some(Part::Body(b": hi\n\n"))));
        assert_eq!(reader.next(&mut input), Ok(None));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let long = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; LINE_BYTES_MAX]].concat();
        let bad: [&[u8]; 7] = [
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 2x0 OK\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            &long,
        ];
        for bytes in bad {
            assert!(
                answers(&[bytes]).is_err(),
                "{:?}",
                String::from_utf8_lossy(&bytes[..40.min(bytes.len())])
            );
        }
    }
}
