//! The one permission function: what each rule denies, which comes first, and that a channel has one spelling.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use highper_realtime::auth::{Action, Claims, Denied, Identity, Pattern, Policy, permit};
use highper_realtime::config::{Anonymous, ChannelRules};

const OPEN: Policy = Policy { auth: true, anonymous: Anonymous::Full, broadcast: true };
const ACTIONS: [Action; 4] = [Action::Subscribe, Action::Publish, Action::Presence, Action::History];

fn policy(auth: bool, anonymous: Anonymous) -> Policy {
    Policy { auth, anonymous, broadcast: true }
}

fn claims(json: &str) -> Claims {
    Claims::parse(json.as_bytes()).unwrap()
}

fn user(json: &str) -> Identity {
    Identity::of(claims(json)).unwrap()
}

/// Subscribe as this user, by the default rules of channels.
fn subscribe(who: Option<&Identity>, channel: &str, policy: &Policy) -> Result<(), Denied> {
    permit(who, Action::Subscribe, channel, None, &ChannelRules::default(), policy)
}

fn lists(subscribe: &str) -> Identity {
    user(&format!(r#"{{"sub":"ann","permissions":{{"subscribe":{subscribe}}}}}"#))
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name) in [
        ("a", "a"),
        ("*", "a"),
        ("a*", "a"),
        ("a*c", "abbc"),
        ("*b*", "abc"),
        ("**", "x"),
        ("chat:*", "chat:1:2"),
        ("*a*b", "aab-ab"),
        ("a?", "a?"),
        ("!!a", "!a"),
    ] {
        assert!(Pattern::parse(pattern).unwrap().matches(name), "{pattern} {name}");
    }
    for (pattern, name) in [
        ("a", "A"),
        ("a", "ab"),
        ("a*", "ba"),
        ("a*c", "abcd"),
        ("*b", "abc"),
        ("a?", "ab"),
        ("chat:*", "chats:1"),
        ("a.b", "axb"),
        ("[ab]", "a"),
    ] {
        assert!(!Pattern::parse(pattern).unwrap().matches(name), "{pattern} {name}");
    }
    assert!(!Pattern::parse(&"*a".repeat(127)).unwrap().matches(&"b".repeat(255)), "in no time to speak of");
}

#[test]
fn reserved_names_and_what_is_closed_come_first() {
    let admin = user(r#"{"sub":"root","permissions":{"subscribe":["*"],"publish":["*"]}}"#);
    let closed = ChannelRules { client_subscribe: false, client_publish: false, ..ChannelRules::default() };
    for action in ACTIONS {
        for reserved in ["", "\u{1}all", "\u{1}@root", "a b", "é"] {
            let verdict = permit(Some(&admin), action, reserved, None, &ChannelRules::default(), &OPEN);
            assert_eq!(verdict, Err(Denied::Reserved), "{reserved:?}");
        }
        let verdict = permit(Some(&admin), action, "news", None, &closed, &OPEN);
        let is_closed = matches!(action, Action::Subscribe | Action::Publish);
        assert_eq!(verdict.is_err_and(|denied| denied == Denied::Closed), is_closed);
    }
}

#[test]
fn without_a_token_the_mode_decides() {
    let rules = ChannelRules::default();
    for (mode, allowed) in [
        (Anonymous::Refuse, &[][..]),
        (Anonymous::Subscribe, &[Action::Subscribe, Action::Presence, Action::History]),
        (Anonymous::Full, &ACTIONS),
    ] {
        for action in ACTIONS {
            let expected = if allowed.contains(&action) { Ok(()) } else { Err(Denied::Anonymous) };
            assert_eq!(
                permit(None, action, "news", None, &rules, &policy(true, mode)),
                expected,
                "{mode} {action:?}"
            );
            // A token without a user and without lists is as much as none.
            let nobody = user("{}");
            let verdict = permit(Some(&nobody), action, "news", None, &rules, &policy(true, mode));
            assert_eq!(verdict, expected, "{mode} {action:?}");
            assert_eq!(
                permit(None, action, "news", None, &rules, &policy(false, mode)),
                Ok(()),
                "without auth"
            );
            let ann = user(r#"{"sub":"ann"}"#);
            assert_eq!(permit(Some(&ann), action, "news", None, &rules, &policy(true, mode)), Ok(()));
        }
        assert!(permit(None, Action::Publish, "$a", None, &rules, &policy(true, mode)).is_err());
    }
    let reader = user(r#"{"permissions":{"subscribe":["news"]}}"#);
    let refuse = policy(true, Anonymous::Refuse);
    assert_eq!(subscribe(Some(&reader), "news", &refuse), Ok(()), "the list is what it may");
    assert_eq!(permit(Some(&reader), Action::Publish, "news", None, &rules, &refuse), Err(Denied::Anonymous));
}

#[test]
fn denials_of_a_token_come_before_what_it_allows() {
    let who = lists(r#"["*","!secret:*","!*:admin"]"#);
    for (channel, verdict) in [
        ("news", Ok(())),
        ("$private", Ok(())),
        ("secret:1", Err(Denied::Pattern)),
        ("news:admin", Err(Denied::Pattern)),
        ("secret", Ok(())),
    ] {
        assert_eq!(subscribe(Some(&who), channel, &OPEN), verdict, "{channel}");
    }
    assert_eq!(
        subscribe(Some(&lists(r#"["!secret"]"#)), "news", &OPEN),
        Err(Denied::Pattern),
        "only denials"
    );
    assert_eq!(subscribe(Some(&lists("[]")), "news", &OPEN), Err(Denied::Pattern));
    let who = lists(r#"["chat:*"]"#);
    let publish = permit(Some(&who), Action::Publish, "news", None, &ChannelRules::default(), &OPEN);
    assert_eq!(publish, Ok(()), "no list for publishing, no restriction");
    let deny = lists(r#"["*","!$*","!*#*"]"#);
    assert_eq!(subscribe(Some(&deny), "$a", &OPEN), Err(Denied::Pattern));
    assert_eq!(subscribe(Some(&deny), "chat#ann", &OPEN), Err(Denied::Pattern));
}

#[test]
fn a_channel_of_users_is_for_them_alone() {
    let (ann, admin) =
        (user(r#"{"sub":"ann"}"#), user(r#"{"sub":"root","permissions":{"subscribe":["*"]}}"#));
    for (channel, allowed) in [
        ("chat#ann", true),
        ("chat#bob,ann", true),
        ("#ann", true),
        ("chat#ann,bob", true),
        ("chat#ann2", false),
        ("chat#Ann", false),
        ("chat#bob", false),
        ("chat#", false),
        ("chat#,", false),
        ("chat#a,nn", false),
        ("chat#bob#ann", false),
        ("chat#bob#,ann", true),
    ] {
        let expected = if allowed { Ok(()) } else { Err(Denied::OtherUsers) };
        assert_eq!(subscribe(Some(&ann), channel, &OPEN), expected, "{channel}");
        assert_eq!(subscribe(None, channel, &OPEN), Err(Denied::OtherUsers), "{channel} without a token");
        assert_eq!(
            subscribe(Some(&admin), channel, &OPEN),
            Err(Denied::OtherUsers),
            "{channel} by a pattern"
        );
        let off = policy(false, Anonymous::Full);
        assert_eq!(subscribe(None, channel, &off), Err(Denied::OtherUsers), "{channel} without auth");
    }
    let odd = user(r#"{"sub":"a#b"}"#);
    assert_eq!(subscribe(Some(&odd), "chat#a#b", &OPEN), Ok(()));
    assert_eq!(subscribe(Some(&user(r#"{"sub":"b"}"#)), "chat#a#b", &OPEN), Err(Denied::OtherUsers));
}

#[test]
fn a_private_channel_needs_a_pattern_or_its_ticket() {
    let rules = ChannelRules::default();
    let ann = user(r#"{"sub":"ann"}"#);
    for action in ACTIONS {
        assert_eq!(permit(Some(&ann), action, "$a", None, &rules, &OPEN), Err(Denied::NeedsToken));
        assert_eq!(permit(None, action, "$a", None, &rules, &OPEN), Err(Denied::NeedsToken));
        assert_eq!(
            permit(None, action, "$a", None, &rules, &policy(false, Anonymous::Full)),
            Err(Denied::NeedsToken)
        );
    }
    assert_eq!(subscribe(Some(&lists(r#"["$a"]"#)), "$a", &OPEN), Ok(()));
    assert_eq!(subscribe(Some(&lists(r#"["$b"]"#)), "$a", &OPEN), Err(Denied::NeedsToken));
    let with = |who: Option<&Identity>, ticket: &str, policy: &Policy| {
        permit(who, Action::Subscribe, "$a", Some(&claims(ticket)), &rules, policy)
    };
    assert_eq!(with(Some(&ann), r#"{"sub":"ann","channel":"$a"}"#, &OPEN), Ok(()));
    for ticket in [
        r#"{"sub":"bob","channel":"$a"}"#,
        r#"{"channel":"$a"}"#,
        r#"{"sub":"ann","channel":"$A"}"#,
        r#"{"sub":"ann","channel":"$a*"}"#,
        r#"{"sub":"ann"}"#,
        r#"{"sub":"ann","channels":["$a"]}"#,
        r#"{"sub":"ann","permissions":{"subscribe":["$a"]}}"#,
    ] {
        assert_eq!(with(Some(&ann), ticket, &OPEN), Err(Denied::NeedsToken), "{ticket}");
    }
    let ours = r#"{"sub":"ann","channel":"$a"}"#;
    assert_eq!(with(Some(&lists(r#"["news"]"#)), ours, &OPEN), Ok(()), "a ticket stands for a pattern");
    assert_eq!(
        with(Some(&lists(r#"["!$a"]"#)), ours, &OPEN),
        Err(Denied::Pattern),
        "but not against a denial"
    );
    assert_eq!(with(None, ours, &OPEN), Err(Denied::NeedsToken), "somebody else's");
    assert_eq!(with(None, r#"{"channel":"$a"}"#, &OPEN), Ok(()));
    assert_eq!(with(None, r#"{"channel":"$a"}"#, &policy(true, Anonymous::Refuse)), Err(Denied::Anonymous));
    assert_eq!(with(None, r#"{"channel":"$a"}"#, &policy(false, Anonymous::Full)), Err(Denied::NeedsToken));
    let other = permit(
        Some(&ann),
        Action::Subscribe,
        "$a#bob",
        Some(&claims(r#"{"sub":"ann","channel":"$a#bob"}"#)),
        &rules,
        &OPEN,
    );
    assert_eq!(other, Err(Denied::OtherUsers), "a ticket does not make room beside the listed");
}

#[test]
fn a_broadcast_reaches_all_so_it_needs_all() {
    let rules = ChannelRules::default();
    let broadcast =
        |who: Option<&Identity>, policy: &Policy| permit(who, Action::Broadcast, "", None, &rules, policy);
    let with = |list: &str| user(&format!(r#"{{"sub":"ann","permissions":{{"publish":{list}}}}}"#));
    assert_eq!(broadcast(Some(&user(r#"{"sub":"ann"}"#)), &OPEN), Ok(()));
    assert_eq!(broadcast(Some(&with(r#"["*"]"#)), &OPEN), Ok(()));
    for list in [r#"["chat:*"]"#, r#"["*","!a"]"#, "[]", r#"["*:*"]"#] {
        assert_eq!(broadcast(Some(&with(list)), &OPEN), Err(Denied::Pattern), "{list}");
    }
    assert_eq!(broadcast(None, &OPEN), Ok(()));
    assert_eq!(broadcast(None, &policy(true, Anonymous::Subscribe)), Err(Denied::Anonymous));
    assert_eq!(broadcast(None, &policy(true, Anonymous::Refuse)), Err(Denied::Anonymous));
    assert_eq!(broadcast(None, &policy(false, Anonymous::Refuse)), Ok(()));
    let off = Policy { broadcast: false, ..OPEN };
    assert_eq!(broadcast(Some(&with(r#"["*"]"#)), &off), Err(Denied::Closed));
}

#[test]
fn j18_one_channel_has_one_spelling() {
    let rules = ChannelRules::default();
    let who = user(
        r#"{"sub":"ann","permissions":{"subscribe":["!secret:room","public","$x"],"publish":["public"]}}"#,
    );
    // What other software takes for the same name is another name here, and is not allowed by the name's pattern.
    for alias in [
        "Public",
        "PUBLIC",
        "public.",
        "public/",
        "/public",
        "./public",
        "public%20",
        "%70ublic",
        "public%2e",
        "publi\\u0063",
        "public:",
        "public;a",
        "public?x",
        "public#ann",
        "$public",
        "public\\",
    ] {
        for action in [Action::Subscribe, Action::Publish] {
            assert!(permit(Some(&who), action, alias, None, &rules, &OPEN).is_err(), "{alias}");
        }
    }
    // What could be written in two ways is no name at all.
    for alias in [
        "public ",
        " public",
        "public\t",
        "public\0",
        "public\u{7f}",
        "ｐublic",
        "publi\u{0441}",
        "pub\u{200b}lic",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{feff}public",
        "\u{ff04}x",
        "\u{1}public",
    ] {
        for action in ACTIONS {
            assert_eq!(
                permit(Some(&who), action, alias, None, &rules, &OPEN),
                Err(Denied::Reserved),
                "{alias:?}"
            );
        }
    }
    // A denied channel stays denied however it is asked for; a private one stays private.
    let all = lists(r#"["*","!secret:room"]"#);
    assert_eq!(subscribe(Some(&all), "secret:room", &OPEN), Err(Denied::Pattern));
    for action in ACTIONS {
        let verdict = permit(Some(&user(r#"{"sub":"ann"}"#)), action, "$x", None, &rules, &OPEN);
        assert_eq!(verdict, Err(Denied::NeedsToken), "the same verdict for every action");
    }
}
