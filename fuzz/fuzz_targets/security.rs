//! Arbitrary bytes as a request and as a message under the eyes of the detector: no panic, and what is told is short
//! and printable.
#![no_main]

use std::cell::RefCell;

use highper_realtime::security::detector::SLICE;
use highper_realtime::security::{Detector, Finding};
use highper_shards::Moment;
use highper_wire::http1::{Event, Limits, Reader};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Its automaton takes longer to build than a hundred requests.
    static EYES: RefCell<(Detector, Moment)> = RefCell::new((Detector::new(&[]), Moment::ZERO));
}

fuzz_target!(|bytes: &[u8]| EYES.with_borrow_mut(|(detector, now)| {
    // Each input has the whole budget.
    *now = *now + SLICE;
    judge(detector.message(*now, bytes));
    let mut head = b"GET /".to_vec();
    head.extend_from_slice(bytes);
    head.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
    look(detector, *now, &head);
    look(detector, *now, bytes);
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    let fields = format!("Host: h\r\nCookie: a={escaped}\r\nReferer: /?a={escaped}\r\n");
    look(detector, *now, format!("GET /?q={escaped} HTTP/1.1\r\n{fields}\r\n").as_bytes());
}));

fn look(detector: &mut Detector, now: Moment, mut input: &[u8]) {
    let limits = Limits { head_bytes_max: 1 << 20, ..Limits::default() };
    if let Ok(Some(Event::Request(head))) = Reader::new().next(&limits, &mut input) {
        judge(detector.request(now, &head));
    }
}

fn judge(found: Option<Finding>) {
    if let Some(found) = found {
        assert!(found.detail.len() <= 512 && !found.detail.contains(|c: char| c.is_control()));
    }
}
