//! From bytes to the layout of one head: at once when it lies whole in the input, else as it grows.
//! Both ways give the same verdict: what the quick way does not accept, the strict way judges.

use core::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::fields::{Framing, trim};
use super::head::{Layout, VERSION_AND_LINE_END, Version};
use super::syntax::{METHOD_BYTES_MAX, Mark, Syntax, is_token};
use super::{Limits, Refusal, target};

/// Parses a head that lies whole at the start of `input`. `None` says nothing: the strict way has to judge.
pub(super) fn whole(limits: &Limits, input: &[u8]) -> Option<Layout> {
    let window = &input[..input.len().min(limits.head_bytes_max)];
    let mut storage = [const { MaybeUninit::uninit() }; WHOLE_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = request.parse_with_uninit_headers(window, &mut storage) else {
        return None;
    };
    let (method, target) = (request.method?, request.path?);
    let fields = request.headers;
    // httparse skips empty lines, admits LF without CR, and UTF-8 in targets.
    let lines = fields.len() + 2;
    let is_strict =
        is_token(window[0]) && memchr_iter(b'\r', &window[..len]).count() == lines && target.is_ascii();
    let is_within = method.len() <= METHOD_BYTES_MAX
        && target.len() <= limits.target_bytes_max
        && fields.len() <= limits.headers_max;
    if !(is_strict && is_within) {
        return None;
    }
    check_method(method.as_bytes()).ok()?;
    target::check(target).ok()?;
    let version = if request.version? == 0 { Version::Http10 } else { Version::Http11 };
    let mut framing = Framing::new(version);
    for field in fields {
        framing.on_field(field.name.as_bytes(), field.value).ok()?;
    }
    let facts = framing.finish(limits).ok()?;
    Some(Layout { method_len: method.len(), target_len: target.len(), len, version, facts })
}

/// Reads a head that may come in pieces. Looks at each byte once, and at each line once more when it is complete.
#[derive(Debug, Clone)]
pub(super) struct HeadScan {
    syntax: Syntax,
    /// Bytes of the head read so far.
    at: usize,
    /// Where the line being read starts.
    line_at: usize,
    method_len: usize,
    target_len: usize,
    /// Known once the request line is complete.
    framing: Option<Framing>,
}

impl HeadScan {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            syntax: Syntax::of_head(limits),
            at: 0,
            line_at: 0,
            method_len: 0,
            target_len: 0,
            framing: None,
        }
    }

    /// Reads on. `head` holds everything since the first byte of the method, and perhaps more than the head.
    pub(super) fn advance(&mut self, limits: &Limits, head: &[u8]) -> Result<Option<Layout>, Refusal> {
        let window = &head[..head.len().min(limits.head_bytes_max)];
        while let Some(mark) = self.syntax.advance(window, &mut self.at)? {
            match mark {
                Mark::Method => {
                    self.method_len = self.at - 1;
                    check_method(&window[..self.method_len])?;
                }
                Mark::Target => self.on_target(window)?,
                Mark::RequestLine => {
                    let minor = window[self.at - 3];
                    let version = if minor == b'0' { Version::Http10 } else { Version::Http11 };
                    self.framing = Some(Framing::new(version));
                    self.line_at = self.at;
                }
                Mark::Field => {
                    let line = &window[self.line_at..self.at - 2];
                    self.line_at = self.at;
                    let colon = memchr(b':', line).expect("the grammar demands a colon");
                    self.framing_mut().on_field(&line[..colon], trim(&line[colon + 1..]))?;
                }
                Mark::End => return self.finish(limits).map(Some),
            }
        }
        if head.len() >= limits.head_bytes_max {
            let is_target = self.syntax.is_in_target();
            return Err(if is_target { Refusal::TargetTooLong } else { Refusal::HeadTooLarge });
        }
        Ok(None)
    }

    fn on_target(&mut self, window: &[u8]) -> Result<(), Refusal> {
        let target_at = self.method_len + 1;
        self.target_len = self.at - 1 - target_at;
        let target = str::from_utf8(&window[target_at..self.at - 1]).map_err(|_| Refusal::Target)?;
        target::check(target)
    }

    fn finish(&mut self, limits: &Limits) -> Result<Layout, Refusal> {
        let facts = self.framing_mut().finish(limits)?;
        let version = self.framing_mut().version();
        let (method_len, target_len, len) = (self.method_len, self.target_len, self.at);
        debug_assert!(len >= method_len + 1 + target_len + VERSION_AND_LINE_END + 2);
        Ok(Layout { method_len, target_len, len, version, facts })
    }

    fn framing_mut(&mut self) -> &mut Framing {
        self.framing.as_mut().expect("the request line comes before any field")
    }
}

/// Methods that tell by themselves that this is no request for us.
fn check_method(method: &[u8]) -> Result<(), Refusal> {
    match method {
        b"CONNECT" => Err(Refusal::Connect),
        b"PRI" => Err(Refusal::Http2),
        _ => Ok(()),
    }
}

/// Fields of a head that is parsed at once: browsers send about 20. The strict way takes what has more.
const WHOLE_FIELDS_MAX: usize = 64;
