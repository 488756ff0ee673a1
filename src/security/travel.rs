//! Users who travel faster than anybody can: where each was last, in a bounded table on the user's home shard. Never
//! asks where an address is; whoever calls knows.

use std::hash::{BuildHasher, RandomState};

/// Last places of users.
pub struct Travel {
    /// Sets of [`WAYS`]; made at the first place.
    entries: Vec<Visit>,
    key: RandomState,
    /// Kilometres in an hour that nobody makes; 0 does not look.
    speed_max: u32,
}

/// Where a user was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Visit {
    /// Hash of the user's name; zero is a free place.
    user: u64,
    /// Degrees north and east.
    place: (f32, f32),
    /// Seconds since the Unix epoch.
    at_unix: u64,
}

/// A journey that nobody can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// Kilometres.
    pub distance_km: u32,
    /// In so many seconds.
    pub seconds: u64,
}

impl Travel {
    /// A table that takes more than `speed_max` km/h for impossible; 0 takes nothing for it.
    pub fn new(speed_max: u32) -> Self {
        Self { entries: Vec::new(), key: RandomState::new(), speed_max }
    }

    /// A user is at this place now.
    pub fn seen(&mut self, user: &str, place: (f32, f32), at_unix: u64) -> Option<Leap> {
        if self.speed_max == 0 {
            return None;
        }
        if self.entries.is_empty() {
            self.entries = vec![Visit::default(); SETS * WAYS];
        }
        let user = self.key.hash_one(user).max(1);
        let first = user as usize % SETS * WAYS;
        let set = &mut self.entries[first..first + WAYS];
        let visit = Visit { user, place, at_unix };
        let known = set.iter().position(|visit| visit.user == user);
        // Who was seen longest ago is forgotten.
        let at = known.unwrap_or_else(|| (0..WAYS).min_by_key(|at| set[*at].at_unix).unwrap_or_default());
        let before = std::mem::replace(&mut set[at], visit);
        known?;
        let (distance, seconds) = (distance_km(before.place, place), at_unix.saturating_sub(before.at_unix));
        // Databases know the place of an address to about this.
        let is_far = distance > DOUBT_KM;
        let is_fast = f64::from(distance) * 3600.0 > f64::from(self.speed_max) * seconds.max(1) as f64;
        (is_far && is_fast).then_some(Leap { distance_km: distance as u32, seconds })
    }
}

/// The shortest way on a sphere (haversine).
fn distance_km((north, east): (f32, f32), (other_north, other_east): (f32, f32)) -> f32 {
    let (one, other) = (north.to_radians(), other_north.to_radians());
    let (up, along) = ((one - other) / 2.0, (east - other_east).to_radians() / 2.0);
    let chord = up.sin().powi(2) + one.cos() * other.cos() * along.sin().powi(2);
    2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

const EARTH_KM: f32 = 6371.0;
const DOUBT_KM: f32 = 200.0;
const WAYS: usize = 4;
/// 16,384 users, 512 KiB on a shard that is home to one.
const SETS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: (f32, f32) = (52.52, 13.40);
    const POTSDAM: (f32, f32) = (52.40, 13.06);
    const SYDNEY: (f32, f32) = (-33.87, 151.21);

    #[test]
    fn distances_are_those_of_the_globe() {
        assert!((distance_km(BERLIN, SYDNEY) - 16_090.0).abs() < 60.0);
        assert!(distance_km(BERLIN, BERLIN) < 0.1);
        assert!((distance_km((0.0, 179.5), (0.0, -179.5)) - 111.2).abs() < 1.0, "across the date line");
    }

    #[test]
    fn nobody_flies_to_sydney_in_an_hour_but_in_a_day() {
        let mut travel = Travel::new(1000);
        assert_eq!(travel.seen("ann", BERLIN, 0), None, "the first place is no journey");
        assert_eq!(travel.seen("bob", SYDNEY, 10), None, "others are others");
        let leap = travel.seen("ann", SYDNEY, 3600).unwrap();
        assert_eq!((leap.seconds, leap.distance_km / 100), (3600, 160));
        assert_eq!(travel.seen("ann", SYDNEY, 3601), None, "she is there now");
        assert_eq!(travel.seen("ann", BERLIN, 3600 + 86_400), None, "a day is enough");
    }

    #[test]
    fn the_speed_is_an_edge_and_the_next_town_no_journey() {
        let km = distance_km(BERLIN, SYDNEY);
        let seconds = (km * 3.6) as u64;
        let mut travel = Travel::new(1000);
        travel.seen("ann", BERLIN, 0);
        assert!(travel.seen("ann", SYDNEY, seconds - 1).is_some());
        travel.seen("bob", BERLIN, 0);
        assert_eq!(travel.seen("bob", SYDNEY, seconds + 1), None);
        travel.seen("eve", BERLIN, 0);
        assert_eq!(travel.seen("eve", POTSDAM, 0), None);
    }

    #[test]
    fn zero_does_not_look_and_the_table_does_not_grow() {
        let mut off = Travel::new(0);
        off.seen("ann", BERLIN, 0);
        assert_eq!(off.seen("ann", SYDNEY, 1), None);
        let mut travel = Travel::new(1000);
        for number in 0..100_000u32 {
            travel.seen(&number.to_string(), BERLIN, u64::from(number));
        }
        assert_eq!(travel.entries.len(), SETS * WAYS);
    }
}
