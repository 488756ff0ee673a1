//! Where addresses are, by the operator's MaxMind database, and which countries may connect. The file is read once,
//! at the start; never fetched, never written.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader, geoip2};

use crate::config::{Config, Country};

/// The database, shared by all shards.
pub struct Geo {
    reader: Reader<Vec<u8>>,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Location {
    /// The country.
    pub country: Option<Country>,
    /// Degrees north and east; databases of countries have none.
    pub place: Option<(f32, f32)>,
}

impl Geo {
    /// Reads the database that the configuration names, if it names one.
    ///
    /// # Errors
    /// The file cannot be read, or is no such database.
    pub fn open(config: &Config) -> Result<Option<Self>, MaxMindDbError> {
        let Some(path) = &config.monitoring_security_geo_database else { return Ok(None) };
        Self::read(path).map(Some)
    }

    fn read(path: &Path) -> Result<Self, MaxMindDbError> {
        let reader = Reader::open_readfile(path)?;
        // An error now is better than one for every client.
        reader.lookup(IpAddr::from([192, 0, 2, 1]))?.decode::<geoip2::City<'_>>()?;
        Ok(Self { reader })
    }

    /// Where an address is; nothing if the database does not know.
    pub fn locate(&self, address: IpAddr) -> Location {
        let found =
            self.reader.lookup(address.to_canonical()).and_then(|found| found.decode::<geoip2::City<'_>>());
        let Ok(Some(city)) = found else { return Location::default() };
        let code = |code: Option<&str>| Country::of(code?);
        let place = city.location.latitude.zip(city.location.longitude);
        Location {
            country: code(city.country.iso_code).or_else(|| code(city.registered_country.iso_code)),
            place: place.map(|(north, east)| (north as f32, east as f32)),
        }
    }
}

/// Which countries may connect.
#[derive(Clone, Debug, Default)]
pub struct Countries {
    allowed: Vec<Country>,
    denied: Vec<Country>,
}

impl Countries {
    /// By the configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            allowed: config.monitoring_security_countries_allowed.clone(),
            denied: config.monitoring_security_countries_denied.clone(),
        }
    }

    /// Whether any country is treated unlike another.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty()
    }

    /// Whether an address at this place may connect. Addresses of no country (this host, private networks) may; a
    /// public one that the database does not know may not, if there is a list of those that may.
    pub fn may_connect(&self, address: IpAddr, location: &Location) -> bool {
        match location.country {
            Some(country) => {
                !self.denied.contains(&country)
                    && (self.allowed.is_empty() || self.allowed.contains(&country))
            }
            None => self.allowed.is_empty() || is_private(address),
        }
    }
}

/// Addresses that no country has (RFC 1918, RFC 3927, RFC 4193, RFC 6598).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [one, two, ..] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || one == 100 && two & 0xC0 == 64
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}
