//! The Date field's form of time (IMF-fixdate, RFC 9110 §5.6.7). The time is an argument; no clock is read.

/// A time as `Sun, 06 Nov 1994 08:49:37 GMT`. Made once a second and written into every answer of that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date([u8; 29]);

impl Date {
    /// `unix_seconds` since 1970-01-01T00:00:00Z; from the year 10000 on it stays at the last second of 9999.
    pub fn from_unix(unix_seconds: u64) -> Self {
        let seconds = unix_seconds.min(LAST_SECOND);
        let (days, second_of_day) = (seconds / DAY, seconds % DAY);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
        // 1970-01-01 was a Thursday.
        let weekday = (days % 7) as usize;
        text[..3].copy_from_slice(&WEEKDAYS[weekday * 3..weekday * 3 + 3]);
        two_digits(&mut text[5..7], day);
        let month = month as usize - 1;
        text[8..11].copy_from_slice(&MONTHS[month * 3..month * 3 + 3]);
        two_digits(&mut text[12..14], year / 100);
        two_digits(&mut text[14..16], year % 100);
        two_digits(&mut text[17..19], second_of_day / 3600);
        two_digits(&mut text[20..22], second_of_day / 60 % 60);
        two_digits(&mut text[23..25], second_of_day % 60);
        Self(text)
    }

    /// The 29 bytes of the text.
    pub fn as_bytes(&self) -> &[u8; 29] {
        &self.0
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day since 1970-01-01 in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years that start on 1 March of a year divisible by 400, so that a leap day ends a year.
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn two_digits(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

const DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z: the form has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;
const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(str::from_utf8(Date::from_unix(seconds).as_bytes()), Ok(text));
        }
    }
}
