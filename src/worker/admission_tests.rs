//! Admission between real shards in the simulator: limits hold over all of them and nothing is counted for ever.

use std::net::IpAddr;
use std::time::Duration;

use highper_shards::driver::sim::{Client, Random};

use crate::limits::Subject;
use crate::worker::rig::{Rig, retry_after, status};

fn address() -> Subject {
    Subject::Network(IpAddr::from([192, 0, 2, 1]).into())
}

fn want(rig: &mut Rig, wanted: &[(Subject, u32)]) {
    rig.shards.iter_mut().for_each(|shard| shard.logic().wanted = wanted.to_vec());
}

/// Connections that are counted for a subject, at its home.
fn count(rig: &mut Rig, subject: &Subject) -> u64 {
    let subject = subject.clone();
    rig.sum(move |worker| worker.admissions.count(worker.shared.names.hash_of(&subject), &subject).into())
}

#[test]
fn s4_of_fifty_from_one_address_ten_stay() {
    for shards in 1..=4 {
        let mut rig = Rig::new(shards, shards as u16, 1024, |_| {});
        want(&mut rig, &[(address(), 10)]);
        let clients: Vec<Client> = (0..50).map(|_| rig.connect()).collect();
        rig.run_for(Duration::from_secs(1));
        let refused: Vec<bool> = clients.iter().map(|client| client.state().readable > 0).collect();
        assert_eq!(refused.iter().filter(|refused| **refused).count(), 40, "{shards} shards");
        for (client, _) in clients.iter().zip(&refused).filter(|(_, refused)| **refused) {
            let (head, _) = rig.answer(client);
            assert_eq!(status(&head), 429);
            assert!((5..15).contains(&retry_after(&head).unwrap()), "{head}");
        }
        assert_eq!(
            (count(&mut rig, &address()), rig.sum(|worker| worker.counters.limited_addresses)),
            (10, 40)
        );
        // One of the ten leaves: one more may come.
        let mut clients: Vec<_> = clients.into_iter().zip(refused).filter(|(_, refused)| !refused).collect();
        clients.pop();
        rig.run_for(Duration::from_secs(1));
        assert_eq!(count(&mut rig, &address()), 9);
        let late = rig.connect();
        rig.run_for(Duration::from_secs(1));
        assert_eq!((late.state().readable, count(&mut rig, &address())), (0, 10));
        drop((clients, late));
        rig.run_for(Duration::from_secs(10));
        assert_eq!(rig.sum(|worker| worker.admissions.len() as u64), 0);
    }
}

#[test]
fn of_two_subjects_both_must_have_room() {
    let mut rig = Rig::new(7, 3, 64, |_| {});
    let user = Subject::User("ann".into());
    want(&mut rig, &[(address(), 100), (user.clone(), 3)]);
    let clients: Vec<Client> = (0..20).map(|_| rig.connect()).collect();
    rig.run_for(Duration::from_secs(1));
    assert_eq!(rig.sum(|worker| worker.counters.limited_users), 17);
    assert_eq!(
        (count(&mut rig, &address()), count(&mut rig, &user)),
        (3, 3),
        "who is refused counts nowhere"
    );
    drop(clients);
    rig.run_for(Duration::from_secs(10));
    assert_eq!(rig.sum(|worker| worker.admissions.len() as u64), 0);
}

#[test]
fn whatever_the_order_nothing_is_counted_for_ever() {
    let (mut tries, mut refused) = (0, 0);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        // Lanes of two messages are full most of the time.
        let lane = if seed % 4 < 2 { 2 } else { 64 };
        let mut rig = Rig::new(seed, 3, lane, |_| {});
        let users: Vec<Subject> = ["ann", "bob", "cid", "dan"].map(|name| Subject::User(name.into())).into();
        let mut clients = Vec::new();
        for _ in 0..100 {
            let user = users[random.below(4) as usize].clone();
            want(&mut rig, &[(address(), 12), (user, 5)]);
            match random.below(3) {
                0 | 1 => clients.extend((0..random.below(6)).map(|_| rig.connect())),
                _ if clients.is_empty() => {}
                _ => {
                    let client = clients.swap_remove(random.below(clients.len() as u64) as usize);
                    if random.below(2) == 0 {
                        client.reset();
                    }
                }
            }
            rig.run_for(Duration::from_micros(random.below(1500)));
            assert!(count(&mut rig, &address()) <= 12, "seed {seed}");
        }
        clients.clear();
        rig.run_for(Duration::from_secs(20));
        assert_eq!(rig.sum(|worker| worker.admissions.len() as u64), 0, "seed {seed}");
        assert_eq!(rig.sum(|worker| worker.outstanding.iter().sum::<usize>() as u64), 0, "seed {seed}");
        tries += rig.sum(|worker| worker.counters.refused);
        refused += rig.sum(|worker| worker.counters.limited_addresses + worker.counters.limited_users);
    }
    assert!(tries > 100 && refused > 100, "{tries} found a full lane, {refused} a full subject");
}
