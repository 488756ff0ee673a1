//! What tables of the configuration file give to channels: options, defaults from variables, errors, and their origin.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::time::Duration;

use highper_realtime::config::{CHANNEL_OPTIONS, ChannelRules, Config, SlowConsumer, Sources, print};

fn file(text: &str) -> Sources {
    Sources::new().file("realtime.toml", text)
}

fn error_lines(sources: Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_namespace_has_its_options_and_the_defaults_of_the_variables() {
    let text = "history_size = 5\nhistory_ttl = 60\n\n[namespaces.\"chat:\"]\nhistory_size = 100\npresence = true\n\
        member_events = true\ntransports = [\"websocket\", \"api\"]\nslow_consumer = \"drop_oldest\"\n\n\
        [namespaces.'news:']\nclient_publish = false\nclient_subscribe = false\nhistory_ttl = '2h'\n";
    // The environment beats the variables of the file, and the namespaces that keep quiet follow it.
    let sources = file(text).environment([("REALTIME_HISTORY_SIZE", "7")]);
    let config = Config::load(sources).unwrap().config;
    let defaults =
        ChannelRules { history_size: 7, history_ttl: Duration::from_secs(60), ..ChannelRules::default() };
    assert_eq!(config.namespaces.rules("lobby"), &defaults);
    let chat = ChannelRules {
        history_size: 100,
        presence: true,
        member_events: true,
        sse: false,
        slow_consumer: SlowConsumer::DropOldest,
        ..defaults
    };
    assert_eq!(config.namespaces.rules("chat:1"), &chat);
    let news = ChannelRules {
        client_publish: false,
        client_subscribe: false,
        history_ttl: Duration::from_secs(7200),
        ..defaults
    };
    assert_eq!(config.namespaces.rules("news:"), &news);
}

#[test]
fn an_inline_table_says_the_same_as_a_table() {
    let one = Config::load(file("namespaces = { \"a:\" = { presence = true, history_size = 3 } }")).unwrap();
    let other = Config::load(file("[namespaces.\"a:\"]\npresence = true\nhistory_size = 3\n")).unwrap();
    assert_eq!(format!("{:?}", one.config), format!("{:?}", other.config));
    assert!(one.config.namespaces.rules("a:b").presence);
}

#[test]
fn everything_wrong_is_told_at_once_with_key_line_and_what_would_be_right() {
    let text = "history_size = -1\n[namespaces.\"chat:\"]\nhistory_size = 1_000_001\nhistory_ttl = 0\npresence = 2\n\
        histroy_size = 5\ntransports = []\nslow_consumer = 'wait'\nport = 80\n[namespaces.chat]\n[namespaces.\":\"]\n";
    let expected = [
        "REALTIME_HISTORY_SIZE=-1 (realtime.toml:1): expected a whole number from 0 to 1000000",
        "namespaces.\"chat:\".history_size=1000001 (realtime.toml:3): expected a whole number from 0 to 1000000",
        "namespaces.\"chat:\".history_ttl=0 (realtime.toml:4): expected a duration such as 30s or 500ms from 1s to \
         2592000s; a plain number counts s",
        "namespaces.\"chat:\".presence=2 (realtime.toml:5): expected true or false (1/0, yes/no, on/off)",
        "namespaces.\"chat:\".histroy_size (realtime.toml:6): expected one of history_size, history_ttl, presence, \
         member_events, client_publish, client_subscribe, transports, subscribe_hook, slow_consumer",
        "namespaces.\"chat:\".transports= (realtime.toml:7): expected a list of at least one, each one of websocket, \
         sse, api",
        "namespaces.\"chat:\".slow_consumer=wait (realtime.toml:8): expected one of disconnect, drop_oldest, latest_only",
        "namespaces.\"chat:\".port (realtime.toml:9): expected variables to stand above the first table",
        "namespaces.\"chat\" (realtime.toml:10): expected a prefix of printable ASCII whose last character is its only \
         colon, such as chat:",
        "namespaces.\":\" (realtime.toml:11): expected a prefix of printable ASCII whose last character is its only \
         colon, such as chat:",
    ];
    assert_eq!(error_lines(file(text)), expected);
}

#[test]
fn member_events_need_presence_wherever_each_is_said() {
    let alone = "[namespaces.\"a:\"]\nmember_events = true\n";
    let expected =
        ["namespaces.\"a:\".member_events=true (realtime.toml:2): expected false without presence = true"];
    assert_eq!(error_lines(file(alone)), expected);
    let rules = |sources| *Config::load(sources).unwrap().config.namespaces.rules("a:1");
    assert!(rules(file(alone).environment([("REALTIME_PRESENCE", "1")])).member_events);
    let both = [("REALTIME_PRESENCE", "1"), ("REALTIME_MEMBER_EVENTS", "1")];
    let without = rules(file("[namespaces.\"a:\"]\npresence = false\n").environment(both));
    assert!(!without.presence && !without.member_events, "who takes presence away takes its events away");
    let all =
        rules(file("[namespaces.\"a:\"]\npresence = true\n").environment([("REALTIME_MEMBER_EVENTS", "1")]));
    assert!(all.member_events, "the variable speaks for every namespace that has presence");
    let nobody = Config::load(Sources::new().environment([("REALTIME_MEMBER_EVENTS", "1")])).unwrap();
    assert!(nobody.warnings.iter().any(|warning| warning.to_string().contains("nobody is told anything")));
}

#[test]
fn printed_configuration_names_every_option_and_its_origin() {
    let sources =
        file("[namespaces.\"chat:\"]\npresence = true\n").environment([("REALTIME_HISTORY_SIZE", "7")]);
    let printed = print::print_config(&Config::load(sources).unwrap());
    let told: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("namespaces.\"chat:\"."))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "history_size=7 # environment as REALTIME_HISTORY_SIZE",
        "history_ttl=300s # default",
        "presence=true # realtime.toml:2",
        "member_events=false # default",
        "client_publish=true # default",
        "client_subscribe=true # default",
        "transports=websocket,sse,api # default",
        "subscribe_hook=false # default",
        "slow_consumer=disconnect # default",
    ];
    assert_eq!(told, expected);
}

#[test]
fn printed_options_read_back_as_themselves() {
    let text = "[namespaces.\"chat:\"]\nhistory_ttl = '90m'\ntransports = 'sse'\n";
    let loaded = Config::load(file(text)).unwrap();
    let printed = print::print_config(&loaded);
    let options = printed.lines().filter(|line| line.starts_with("namespaces.")).map(|line| {
        let (key, value) = line.split_once("  # ").unwrap().0.trim_end().split_once('=').unwrap();
        format!("{key} = '{value}'\n")
    });
    let again = Config::load(file(&options.collect::<String>())).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

#[test]
fn the_documentation_names_every_option() {
    let docs = print::docs();
    for option in &CHANNEL_OPTIONS {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{}` |", option.name))).unwrap();
        assert!(row.contains(&option.expects()) && row.contains(option.doc), "{row}");
    }
}

#[test]
fn the_example_of_the_readme_loads_as_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n# realtime.toml\n").unwrap();
    let loaded = Config::load(file(rest.split_once("```").unwrap().0)).unwrap();
    assert_eq!(loaded.config.namespaces.iter().count(), 3);
    let rules = |name| loaded.config.namespaces.rules(name);
    assert_eq!((rules("lobby").history_size, rules("chat:1").history_size), (10, 100));
    assert!(
        rules("chat:1").member_events && !rules("news:a").client_publish && !rules("ticks:eur").websocket
    );
}
