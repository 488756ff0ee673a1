# Names for commands; the logic is in what they call.

# What must be green before a push.
check: test

# tests/run [unit|integration|performance|concurrency|reliability]
test *groups:
    tests/run {{groups}}

fmt:
    cargo fmt --all

deny:
    cargo deny --workspace check

# The whole Autobahn suite, compression included, on both drivers (about 12 minutes each); reports stay outside git.
conformance *options:
    cargo build --release --bin realtime
    tests/conformance/run --binary target/release/realtime --driver uring {{options}}
    tests/conformance/run --binary target/release/realtime --driver epoll {{options}}

# Our server beside its peers, as a table.
compare *options:
    cargo build --release --workspace
    cargo build --release -p highper-bench --examples
    cd bench/compare/uws && npm install --no-audit --no-fund
    cargo build --release --manifest-path bench/compare/axum/Cargo.toml
    bench/compare/run.py {{options}}

# The scenarios of the load generator against a small server.
bench-smoke:
    cargo test -p highper-bench

# Fuzz a parser: request_head, ws_decoder or native.
fuzz target="ws_decoder" seconds="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} -- -max_total_time={{seconds}}

# Every interleaving of the bell.
loom:
    RUSTFLAGS="--cfg loom" cargo test -p highper-shards --release --test loom_bell

# Twenty times the seeds of the test.
sim-long:
    cargo test --release --test sim -- --ignored --nocapture

# A minute of canaries on compressed connections.
soak-canaries:
    cargo test --release --test canaries -- --ignored --nocapture

# Lines of wire and hub that the tests run.
coverage:
    cargo llvm-cov --workspace --summary-only --ignore-filename-regex '(bench|shards|tests)/'

# .env.example is printed from the table of variables.
env-example:
    cargo run --quiet -- config env > .env.example
