//! Arbitrary bytes as a request and as a message under the eyes of the detector: no panic, and what is told is short
//! and printable.
#![no_main]

use highper_realtime::security::{Detector, Finding};
use highper_shards::Moment;
use highper_wire::http1::{Event, Limits, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut detector = Detector::new(&[]);
    judge(detector.message(Moment::ZERO, bytes));
    let mut head = b"GET /".to_vec();
    head.extend_from_slice(bytes);
    head.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
    look(&mut detector, &head);
    look(&mut detector, bytes);
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    let text = format!("GET /?q={escaped} HTTP/1.1\r\nHost: h\r\nCookie: a={escaped}\r\nReferer: /?a={escaped}\r\n\r\n");
    look(&mut detector, text.as_bytes());
});

fn look(detector: &mut Detector, mut input: &[u8]) {
    let limits = Limits { head_bytes_max: 1 << 20, ..Limits::default() };
    if let Ok(Some(Event::Request(head))) = Reader::new().next(&limits, &mut input) {
        judge(detector.request(Moment::ZERO, &head));
    }
}

fn judge(found: Option<Finding>) {
    if let Some(found) = found {
        assert!(found.detail.len() <= 512 && !found.detail.contains(|c: char| c.is_control()));
    }
}
