//! What the check of a token costs, in processor time of one thread: for people to read, never a gate.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "common/tokens.rs"]
mod tokens;

use highper_realtime::auth::Verifier;
use rustix::time::{ClockId, clock_gettime};
use tokens::{ALGORITHMS, NOW, Signer, config};

/// Processor time of this thread in nanoseconds.
fn processor_time() -> u128 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u128 * 1_000_000_000 + time.tv_nsec as u128
}

#[test]
#[ignore = "figures for people: cargo test --release --test auth_cost -- --ignored --nocapture"]
fn verifications_per_second_of_a_core() {
    let lists = r#""permissions":{"subscribe":["news","chat:*"],"publish":["chat:*"]},"channels":["news"]"#;
    let payload =
        format!(r#"{{"sub":"ann","iat":{NOW},"exp":{},"info":{{"name":"Ann"}},{lists}}}"#, NOW + 60);
    for algorithm in ALGORITHMS {
        let signer = Signer::new(algorithm);
        let verifier = Verifier::new(&config(algorithm, &signer.public())).unwrap();
        let token = signer.token(algorithm, &payload);
        let rounds = 2000_u32;
        let begun = processor_time();
        for _ in 0..rounds {
            std::hint::black_box(verifier.verify(std::hint::black_box(&token), NOW)).unwrap();
        }
        let nanos = (processor_time() - begun) / u128::from(rounds);
        println!(
            "{algorithm}: {:>7.1} µs a token, {:>7} a second",
            nanos as f64 / 1e3,
            1_000_000_000 / nanos
        );
    }
}
