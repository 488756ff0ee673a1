//! Countries by their two letters. Never knows which of them exist.

use super::{Bounds, Value};

/// A country, ISO 3166-1 alpha-2, in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of two letters, of any case.
    pub fn of(code: &str) -> Option<Self> {
        let [one, two] = code.as_bytes() else { return None };
        let both = [one.to_ascii_uppercase(), two.to_ascii_uppercase()];
        both.iter().all(u8::is_ascii_uppercase).then_some(Self(both))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("they are letters of ASCII")
    }
}

impl Value for Country {
    fn expects(_: &Bounds) -> String {
        "a country by two letters (ISO 3166) such as DE".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        Self::of(raw)
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_are_a_country() {
        assert_eq!(Country::of("de"), Country::of("DE"));
        for wrong in ["", "D", "DEU", "D1", "ß", "*"] {
            assert_eq!(Country::of(wrong), None, "{wrong}");
        }
    }
}
