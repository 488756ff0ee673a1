# Names for commands. The logic is in what they call.

# What CI runs: every check and every test.
check:
    tests/run

# Tests of groups: unit integration performance concurrency reliability all.
test *groups:
    tests/run {{groups}}

fmt:
    cargo fmt --all

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, sources, owners of crates, and advisories (those need the network).
deny:
    cargo deny --workspace check

# The documentation of every crate, in a browser.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --open

# All 517 cases of the Autobahn suite; `--cases "1.*,2.*"` for some.
conformance *arguments:
    cargo build --release --bin realtime
    tests/conformance/run --binary "${CARGO_TARGET_DIR:-target}/release/realtime" {{arguments}}

# Every scenario of the load generator, briefly, with its own server.
bench-smoke:
    cargo test --package highper-bench --test smoke --test smoke_http

# Our server beside its peers in one run, as a table (see bench/compare/README.md).
compare *arguments:
    cargo build --release --workspace
    cargo build --release --package highper-bench --examples
    cargo build --release --manifest-path bench/compare/axum/Cargo.toml
    cd bench/compare/uws && npm install --no-audit --no-fund
    bench/compare/run.py {{arguments}}

# A fuzz target for some seconds: request_head, ws_decoder, native, sse, proxy, security (that one with --features server).
fuzz target="ws_decoder" seconds="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} -- -max_total_time={{seconds}}

# Every interleaving of the bell between shards.
loom:
    RUSTFLAGS="--cfg loom" cargo test --package highper-shards --test loom_bell --target-dir target/loom

# Many more seeds of the whole server and of the engine in the simulator; a failure prints its seed.
sim-long:
    cargo test --release --test sim -- --include-ignored --nocapture
    cargo test --release --package highper-shards --test sim -- --include-ignored --nocapture

# Line coverage of wire and the hub; at least 90 %.
coverage:
    tests/coverage

# .env.example and the table in the README, from the table of variables.
env-example:
    cargo run --quiet -- config env > .env.example
    cargo run --quiet -- config readme > target/variables.md
    sed -i -e '/^<!-- variables/r target/variables.md' -e '/^<!-- variables/,/^<!-- \/variables/d' README.md

# A minute of canaries on compressed connections.
soak-canaries:
    cargo test --release --test canaries -- --ignored --nocapture

# How long a well-behaved client waits beside every attack: at most 50 ms, on a machine with two cores to spare.
bystander:
    cargo test --release --test bystander -- --ignored --nocapture

# 10,000 clients with tokens that are cut off and come back at once: within 15 s, and nobody else waits for 100 ms.
herd:
    cargo test --release --test herd -- --ignored --nocapture
