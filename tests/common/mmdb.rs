//! Writes a MaxMind database (format 2.0) of a few IPv4 networks for tests. Never reads one.

use std::path::PathBuf;

/// A network and what is known of it.
pub struct Network {
    /// The first address, as a number.
    pub base: [u8; 4],
    /// Bits of the network.
    pub bits: u8,
    /// Country, two letters.
    pub country: &'static str,
    /// Degrees north and east.
    pub place: (f64, f64),
}

/// Writes the database into a file of this name and says where.
pub fn write(name: &str, networks: &[Network]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes(networks)).expect("the folder of tests is there");
    path
}

fn bytes(networks: &[Network]) -> Vec<u8> {
    let (mut tree, mut data) = (vec![[None::<Record>; 2]], Vec::new());
    for network in networks {
        let at = data.len() as u32;
        record(&mut data, network);
        insert(&mut tree, network, at);
    }
    let nodes = tree.len() as u32;
    let mut out = Vec::new();
    for record in tree.iter().flatten() {
        let number = match record {
            None => nodes,
            Some(Record::Node(node)) => *node,
            Some(Record::Data(at)) => nodes + 16 + at,
        };
        out.extend_from_slice(&number.to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut out, nodes);
    out
}

#[derive(Clone, Copy)]
enum Record {
    Node(u32),
    Data(u32),
}

fn insert(tree: &mut Vec<[Option<Record>; 2]>, network: &Network, data: u32) {
    let address = u32::from_be_bytes(network.base);
    let mut node = 0;
    for bit in 0..network.bits {
        let side = (address >> (31 - bit) & 1) as usize;
        if bit + 1 == network.bits {
            tree[node][side] = Some(Record::Data(data));
            return;
        }
        node = match tree[node][side] {
            Some(Record::Node(next)) => next as usize,
            Some(Record::Data(_)) => panic!("networks do not overlap"),
            None => {
                tree.push([None; 2]);
                tree[node][side] = Some(Record::Node(tree.len() as u32 - 1));
                tree.len() - 1
            }
        };
    }
}

fn record(out: &mut Vec<u8>, network: &Network) {
    map(out, 2);
    text(out, "country");
    map(out, 1);
    text(out, "iso_code");
    text(out, network.country);
    text(out, "location");
    map(out, 2);
    for (name, degrees) in [("latitude", network.place.0), ("longitude", network.place.1)] {
        text(out, name);
        out.push(3 << 5 | 8);
        out.extend_from_slice(&degrees.to_be_bytes());
    }
}

fn metadata(out: &mut Vec<u8>, nodes: u32) {
    let short = |out: &mut Vec<u8>, name: &str, number: u16| {
        text(out, name);
        out.push(5 << 5 | 2);
        out.extend_from_slice(&number.to_be_bytes());
    };
    map(out, 9);
    short(out, "binary_format_major_version", 2);
    short(out, "binary_format_minor_version", 0);
    short(out, "ip_version", 4);
    short(out, "record_size", 24);
    text(out, "node_count");
    out.push(6 << 5 | 4);
    out.extend_from_slice(&nodes.to_be_bytes());
    text(out, "build_epoch");
    out.extend_from_slice(&[8, 2]);
    out.extend_from_slice(&1_700_000_000u64.to_be_bytes());
    text(out, "database_type");
    text(out, "Test-City");
    text(out, "description");
    map(out, 0);
    text(out, "languages");
    out.extend_from_slice(&[0, 4]);
}

fn map(out: &mut Vec<u8>, pairs: u8) {
    out.push(7 << 5 | pairs);
}

fn text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29, "longer texts have longer lengths");
    out.push(2 << 5 | text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}
