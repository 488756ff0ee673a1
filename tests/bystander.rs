//! While somebody attacks, a well-behaved client of the same shard loses nothing, keeps its order, and is not made to
//! wait. Names begin with the row of the threat. How long it waits is printed; only `just bystander` judges it strictly.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "common/attacks.rs"]
mod attacks;
#[path = "common/client.rs"]
mod client;
#[path = "common/cores.rs"]
mod cores;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/process.rs"]
mod process;
#[path = "common/steady.rs"]
mod steady;

use std::time::Duration;

use attacks::{ATTACKS, Attack, Field};
use highper_shards::Moment;
use highper_shards::clock::unix_millis;
use process::Process;
use serde_json::json;
use steady::{Latencies, Steady};

/// What is borne on a machine that runs other tests too.
const GENEROUS: Duration = Duration::from_secs(2);
/// What is promised, where server and clients have a core each.
const PROMISED: Duration = Duration::from_millis(50);

/// How long an attack may take to do its worst.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of one shard, so that the bystander is where the attack is.
fn server_for(attack: &Attack, driver: &str, core: Option<&str>) -> Process {
    let mut variables = vec![("REALTIME_IO_DRIVER", driver), ("REALTIME_SHARDS", "1")];
    variables.extend(core.map(|core| ("REALTIME_CPU_LIST", core)));
    variables.extend_from_slice(attack.variables);
    match attack.descriptors {
        Some(descriptors) => Process::limited(&variables, descriptors),
        None => Process::start(&variables),
    }
}

/// At least `messages` beside an attack that has done its worst at least once.
fn beside(attack: &Attack, process: &Process, messages: u64) -> Latencies {
    let field = Field::new(process.address());
    let expires = unix_millis() / 1000 + 600;
    let token = issuer::token(json!({"sub": "ann", "exp": expires}));
    let bystander = Steady::open(process.address(), &format!("/ws?token={token}"));
    let until = Moment::now() + PATIENCE;
    let (latencies, done) = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| (attack.run)(&field));
        let latencies = bystander.talk(|sent| {
            assert!(Moment::now() < until, "{}: only {} times", attack.name, field.done());
            let goes_on = sent < messages || field.done() < attack.least;
            goes_on && !attacker.is_finished()
        });
        field.end();
        attacker.join().expect("the attack goes on until it is told");
        (latencies, field.done())
    });
    assert!(latencies.len() as u64 >= messages, "the attack ended before its time");
    println!("{} {}: done {done} times", attack.name, attack.what);
    latencies
}

fn loses_nothing(name: &str) {
    let attack = ATTACKS.iter().find(|attack| attack.name == name).unwrap();
    for driver in ["uring", "epoll"] {
        let process = server_for(attack, driver, None);
        let mut latencies = beside(attack, &process, 150);
        println!("{driver}: {}", latencies.show());
        assert!(latencies.per_mille(990) < GENEROUS, "{driver}: {}", latencies.show());
    }
}

#[test]
fn h1_beside_slow_heads() {
    loses_nothing("H1");
}

#[test]
fn w4_beside_a_flood_of_fragments() {
    loses_nothing("W4");
}

#[test]
fn w5_beside_a_flood_of_pings() {
    loses_nothing("W5");
}

#[test]
fn w8_beside_bombs() {
    loses_nothing("W8");
}

#[test]
fn w12_beside_slow_readers() {
    loses_nothing("W12");
}

#[test]
fn j14_beside_bad_tokens() {
    loses_nothing("J14");
}

#[test]
fn s4_beside_one_who_holds_connections() {
    loses_nothing("S4");
}

#[test]
fn r1_beside_one_who_takes_every_descriptor() {
    loses_nothing("R1");
}

#[test]
fn r6_beside_a_flood_of_bad_frames() {
    loses_nothing("R6");
}

#[test]
#[ignore = "judges time and wants two cores for itself: just bystander"]
fn a_bystander_waits_less_than_promised_beside_every_attack() {
    let mut late = Vec::new();
    for driver in ["uring", "epoll"] {
        for attack in ATTACKS {
            let process = server_for(attack, driver, Some("0"));
            let mut latencies = cores::on_core(1, || beside(attack, &process, 1000));
            println!("{driver}: {}", latencies.show());
            if latencies.per_mille(990) >= PROMISED {
                late.push(format!("{driver} {} {}", attack.name, latencies.show()));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}
