//! Where clients are: a database of addresses decides who may connect and finds users who travel too fast.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/mmdb.rs"]
mod mmdb;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use highper_realtime::config::{Bounds, Country, Host, SecurityMode, Value};
use highper_realtime::security::{Finding, Geo, Kind, Monitor, Severity};
use highper_realtime::{Config, Server};
use highper_shards::Moment;
use highper_wire::http1::{Event, Limits, Reader};
use mmdb::Network;

const BERLIN: [u8; 4] = [198, 51, 100, 7];
const SYDNEY: [u8; 4] = [203, 0, 113, 7];
const NOWHERE: [u8; 4] = [192, 0, 2, 7];

fn database(name: &str) -> PathBuf {
    let networks = [
        Network { base: [198, 51, 100, 0], bits: 24, country: "DE", place: (52.52, 13.40) },
        Network { base: [203, 0, 113, 0], bits: 24, country: "AU", place: (-33.87, 151.21) },
    ];
    mmdb::write(name, &networks)
}

fn countries(list: &str) -> Vec<Country> {
    Vec::parse(list, &Bounds::ANY).unwrap()
}

fn monitor(name: &str, change: impl FnOnce(&mut Config)) -> Box<Monitor> {
    let mut config = Config {
        monitoring_security_mode: SecurityMode::Block,
        monitoring_security_geo_database: Some(database(name)),
        ..Config::default()
    };
    change(&mut config);
    let geo = Geo::open(&config).unwrap().map(Arc::new);
    Monitor::new(&config, geo).unwrap()
}

/// What is found in a request from this address.
fn request(monitor: &mut Monitor, address: impl Into<IpAddr>) -> Option<Finding> {
    let mut input: &[u8] = b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n";
    match Reader::new().next(&Limits::default(), &mut input) {
        Ok(Some(Event::Request(head))) => monitor.request(Moment::ZERO, &head, Some(address.into())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_are_found_in_the_database() {
    let monitor = monitor("places.mmdb", |_| {});
    let here = monitor.locate(BERLIN.into()).unwrap();
    assert_eq!((here.country, here.place), (Country::of("DE"), Some((52.52, 13.40))));
    let mapped: IpAddr = "::ffff:198.51.100.7".parse().unwrap();
    assert_eq!(monitor.locate(mapped).unwrap(), here);
    for unknown in [NOWHERE.into(), IpAddr::from([127, 0, 0, 1]), "2001:db8::1".parse().unwrap()] {
        assert_eq!(monitor.locate(unknown).unwrap().country, None, "{unknown}");
    }
}

#[test]
fn countries_that_are_denied_may_not_connect() {
    let mut monitor = monitor("denied.mmdb", |config| {
        config.monitoring_security_countries_denied = countries("au,KP");
    });
    let found = request(&mut monitor, SYDNEY).unwrap();
    assert_eq!((found.kind, found.severity, &*found.detail), (Kind::GeoDenied, Severity::High, "AU"));
    assert!(monitor.is_blocking(found.severity));
    for address in [BERLIN, NOWHERE, [127, 0, 0, 1]] {
        assert_eq!(request(&mut monitor, address), None, "{address:?}");
    }
}

#[test]
fn with_a_list_of_those_that_may_nobody_else_may_but_private_networks() {
    let mut monitor = monitor("allowed.mmdb", |config| {
        config.monitoring_security_countries_allowed = countries("DE");
    });
    for address in [SYDNEY, NOWHERE] {
        assert_eq!(request(&mut monitor, address).unwrap().kind, Kind::GeoDenied, "{address:?}");
    }
    for address in [BERLIN, [127, 0, 0, 1], [10, 1, 2, 3], [100, 64, 0, 1], [192, 168, 1, 1]] {
        assert_eq!(request(&mut monitor, address), None, "{address:?}");
    }
    assert_eq!(request(&mut monitor, "fd00::1".parse::<IpAddr>().unwrap()), None);
}

#[test]
fn a_user_in_two_places_at_once_is_an_anomaly() {
    let mut monitor = monitor("travel.mmdb", |_| {});
    let [berlin, sydney] =
        [BERLIN, SYDNEY].map(|address| monitor.locate(address.into()).unwrap().place.unwrap());
    assert_eq!(monitor.travelled("ann", berlin, 1000), None);
    let found = monitor.travelled("ann", sydney, 1600).unwrap();
    assert_eq!((found.kind, found.severity), (Kind::GeoAnomaly, Severity::Medium));
    assert!(found.detail.ends_with(" km in 600 s"), "{found:?}");
    assert_eq!(monitor.travelled("ann", berlin, 1600 + 2 * 86_400), None);
}

#[test]
fn a_bad_file_stops_the_start_and_names_the_variable() {
    let bad = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bad.mmdb");
    std::fs::write(&bad, b"this is no database").unwrap();
    for file in [bad, "/nonexistent/geo.mmdb".into()] {
        let config = Config {
            host: Host::Ip([127, 0, 0, 1].into()),
            port: 0,
            monitoring_security_geo_database: Some(file.clone()),
            ..Config::default()
        };
        let Err(error) = Server::new(config).start() else { panic!("it started") };
        let text = error.to_string();
        assert!(text.starts_with("MONITORING_SECURITY_GEO_DATABASE="), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
}
