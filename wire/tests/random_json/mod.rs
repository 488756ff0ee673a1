//! Random JSON by seed, with every escape, spacing and kind of number. Never judges it.

/// Any value, at most so many levels deep.
pub fn write_value(random: &mut Random, text: &mut String, levels: usize) {
    match random.below(if levels == 0 { 4 } else { 6 }) {
        0 => text.push_str(["true", "false", "null"][random.below(3)]),
        1 => write_number(random, text),
        2 | 3 => write_string(random, text),
        4 => {
            text.push('[');
            for at in 0..random.below(4) {
                text.push_str(if at == 0 { "" } else { "," });
                write_space(random, text);
                write_value(random, text, levels - 1);
                write_space(random, text);
            }
            write_space(random, text);
            text.push(']');
        }
        _ => write_object(random, text, levels - 1),
    }
}

/// An object, its values at most so many levels deep.
pub fn write_object(random: &mut Random, text: &mut String, levels: usize) {
    text.push('{');
    for at in 0..random.below(5) {
        text.push_str(if at == 0 { "" } else { "," });
        write_space(random, text);
        write_string(random, text);
        write_space(random, text);
        text.push(':');
        write_space(random, text);
        write_value(random, text, levels);
        write_space(random, text);
    }
    write_space(random, text);
    text.push('}');
}

fn write_number(random: &mut Random, text: &mut String) {
    text.push_str(["", "-"][random.below(2)]);
    text.push_str(["0", "7", "10", "9007199254740993", "123456789012345678901234567890"][random.below(5)]);
    text.push_str(["", ".0", ".50", ".000000000000000000000001"][random.below(4)]);
    text.push_str(["", "e0", "E+10", "e-007", "e2"][random.below(5)]);
}

fn write_string(random: &mut Random, text: &mut String) {
    const PIECES: [&str; 20] = [
        "a",
        "b",
        "type",
        "id",
        "0123456789abcdef",
        "{",
        "]",
        ",",
        ":",
        " ",
        "é",
        "😀",
        "\u{7f}",
        "\\\"",
        "\\\\",
        "\\/",
        "\\n",
        "\\u0041",
        "\\ud83d\\uDE00",
        "\\u0000",
    ];
    text.push('"');
    for _ in 0..random.below(6) {
        text.push_str(PIECES[random.below(PIECES.len())]);
    }
    text.push('"');
}

fn write_space(random: &mut Random, text: &mut String) {
    text.push_str(["", "", "", "", " ", "\n", "\t\r", "    "][random.below(8)]);
}

/// SplitMix64, begun from a seed.
pub struct Random(pub u64);

impl Random {
    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
