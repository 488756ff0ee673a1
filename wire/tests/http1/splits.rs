//! Any split of the bytes gives the same events.

use super::{Transcript, read};

const CONVERSATIONS: &[&str] = &[
    "GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /2 HTTP/1.1\r\nhost:h\r\nX:\r\nY: \t \r\nZ: a b \t\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /q HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
     5;a=b;c=\"d\\\"e\"\r\nhello\r\n00b\r\n world, you \r\n0;x\r\nT: u\r\nV:\r\n\r\nDELETE /d HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\x01\x02\x03",
    "GET / HTTP/1.0\r\n\r\nGET /dropped HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\nGET http://h/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nrest",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nBad\x01Name: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd",
];

fn in_bytes(bytes: &[u8]) -> Transcript {
    let pieces: Vec<_> = bytes.chunks(1).collect();
    read(&pieces)
}

#[test]
fn every_cut() {
    for text in CONVERSATIONS {
        let bytes = text.as_bytes();
        let whole = read(&[bytes]);
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at byte {cut} of {text:?}");
        }
        assert_eq!(in_bytes(bytes), whole, "byte by byte: {text:?}");
    }
}

#[test]
fn every_pair_of_cuts() {
    let bytes = CONVERSATIONS.concat();
    for text in CONVERSATIONS {
        let bytes = text.as_bytes();
        let whole = read(&[bytes]);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read(&pieces), whole, "cut at bytes {first} and {second} of {text:?}");
            }
        }
    }
    assert_eq!(in_bytes(bytes.as_bytes()), read(&[bytes.as_bytes()]));
}

/// The quick way and the strict way are different code: damaged heads must get one verdict from both.
#[test]
fn damaged_bytes_get_the_same_events_whole_and_split() {
    const DAMAGE: &[u8] = b"\r\n\t :,;\0\x7f\x80\xff/*?#%\"=0159aZHGC\x16[]@";
    let mut random = Random(0x5eed_0001);
    for round in 0..60_000 {
        let mut bytes = CONVERSATIONS[random.below(CONVERSATIONS.len())].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            let byte = DAMAGE[random.below(DAMAGE.len())];
            match random.below(4) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        let whole = read(&[&bytes]);
        let cut = random.below(bytes.len() + 1);
        let (front, back) = bytes.split_at(cut);
        let text = bytes.escape_ascii();
        assert_eq!(read(&[front, back]), whole, "round {round}, cut at byte {cut} of {text}");
        assert_eq!(in_bytes(&bytes), whole, "round {round}, byte by byte: {text}");
    }
}

/// xorshift64*, seeded in the test: the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}
