//! permessage-deflate is agreed exactly when an offer allows it, and never by accident.

use highper_wire::ws::extension::{Agreement, BadResponse, OFFER, Settings, agreed, negotiate};

const ANY: Settings = Settings { server_window_bits_max: 15 };

fn accept(values: &[&str]) -> Option<Agreement> {
    negotiate(values.iter().copied(), &ANY)
}

/// Window bits and response.
fn answer(values: &[&str]) -> Option<(u8, &'static str)> {
    accept(values).map(|agreement| (agreement.server_window_bits, agreement.response()))
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn w10_abused_parameters_are_declined() {
    for offer in [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=\"\"",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=1000000000000000000000",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=\"\"",
        "permessage-deflate; client_max_window_bits=-9",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; mystery",
        "permessage-deflate; Server_No_Context_Takeover",
        "permessage-deflate; =9",
        "permessage-deflate;",
        "permessage-deflate; ; client_max_window_bits",
        "permessage-deflate server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=\"10\\",
        "permessage-deflate; server_max_window_bits= ",
        "x-webkit-deflate-frame",
        "permessage-deflate2",
        "",
        " , ,",
        "é",
        "permessage-deflate; server_max_window_bits=\u{661}0",
    ] {
        assert_eq!(accept(&[offer]), None, "{offer:?}");
    }
}

#[test]
fn w10_every_prefix_and_every_changed_byte_is_judged_without_panic() {
    let offer =
        "foo; a=\"b\\c\", permessage-deflate; client_max_window_bits=\"1\\5\"; server_max_window_bits=10";
    for end in 0..=offer.len() {
        accept(&[&offer[..end]]);
        for byte in (0..=0x7fu8).filter(|_| end < offer.len()) {
            let mut changed = offer.as_bytes().to_vec();
            changed[end] = byte;
            accept(&[std::str::from_utf8(&changed).unwrap()]);
        }
    }
}

#[test]
fn a_good_offer_is_answered_with_what_was_agreed() {
    assert_eq!(answer(&["permessage-deflate"]), Some((15, PLAIN)));
    assert_eq!(answer(&["PerMessage-Deflate"]), Some((15, PLAIN)));
    assert_eq!(answer(&["permessage-deflate; client_max_window_bits"]), Some((15, PLAIN)));
    assert_eq!(answer(&["permessage-deflate; client_max_window_bits=8"]), Some((15, PLAIN)));
    assert_eq!(answer(&["permessage-deflate;client_max_window_bits=\"15\""]), Some((15, PLAIN)));
    assert_eq!(answer(&[OFFER]), Some((15, PLAIN)));
    for bits in 9..=15 {
        for offer in [
            format!("permessage-deflate; server_max_window_bits={bits}"),
            format!("permessage-deflate\t;\tserver_max_window_bits\t=\t\"{bits}\"; client_max_window_bits"),
        ] {
            let response = format!("{PLAIN}; server_max_window_bits={bits}");
            assert_eq!(answer(&[&offer]), Some((bits, &response[..])), "{offer}");
        }
    }
    let quoted = "permessage-deflate; server_max_window_bits=\"\\1\\2\"";
    assert_eq!(accept(&[quoted]).map(|agreement| agreement.server_window_bits), Some(12));
}

#[test]
fn the_first_acceptable_offer_wins() {
    let both = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=11";
    assert_eq!(accept(&[both]).map(|agreement| agreement.server_window_bits), Some(11));
    let headers =
        ["foo; bar=\"permessage-deflate, x\"", ",, permessage-deflate; mystery", "permessage-deflate"];
    assert_eq!(answer(&headers), Some((15, PLAIN)));
    let order = ["permessage-deflate; server_max_window_bits=10", "permessage-deflate"];
    assert_eq!(accept(&order).map(|agreement| agreement.server_window_bits), Some(10));
    assert_eq!(answer(&["permessage-deflate, \"broken"]), Some((15, PLAIN)));
    assert_eq!(answer(&["\"broken, permessage-deflate", "permessage-deflate"]), Some((15, PLAIN)));
}

#[test]
fn the_server_may_use_a_smaller_window_than_it_may() {
    let settings = Settings { server_window_bits_max: 11 };
    let agreement = |offer| negotiate(std::iter::once(offer), &settings).unwrap();
    assert_eq!(agreement("permessage-deflate").server_window_bits, 11);
    assert_eq!(agreement("permessage-deflate").response(), PLAIN);
    let limited = agreement("permessage-deflate; server_max_window_bits=15");
    assert_eq!(limited.server_window_bits, 11);
    assert!(limited.response().ends_with("server_max_window_bits=11"));
    assert_eq!(agreement("permessage-deflate; server_max_window_bits=9").server_window_bits, 9);
}

#[test]
fn the_client_takes_only_what_it_offered() {
    let check = |values: &[&str]| agreed(values.iter().copied());
    assert_eq!(check(&[]), Ok(false));
    assert_eq!(check(&[PLAIN]), Ok(true));
    assert_eq!(
        check(&["permessage-deflate; server_no_context_takeover; server_max_window_bits=8"]),
        Ok(true)
    );
    assert_eq!(check(&["permessage-deflate"]), Err(BadResponse::ContextTakeover));
    assert_eq!(check(&[PLAIN, PLAIN]), Err(BadResponse::NotOffered));
    assert_eq!(check(&["foo"]), Err(BadResponse::NotOffered));
    assert_eq!(check(&["\"permessage-deflate\""]), Err(BadResponse::Malformed));
    for parameter in
        ["client_max_window_bits=15", "server_max_window_bits", "server_max_window_bits=16", "mystery"]
    {
        assert_eq!(check(&[&format!("{PLAIN}; {parameter}")]), Err(BadResponse::BadParameter), "{parameter}");
    }
}
