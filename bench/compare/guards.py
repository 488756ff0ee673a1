#!/usr/bin/env python3
"""Measures what it costs to be careful: our server with authentication, limits and monitoring beside itself without.

Usage: bench/compare/guards.py [--rounds 5] [--seconds 2] [--only NAME,…] [--scenarios NAME,…]
Server on core 0, generator on core 1, servers started afresh for each figure and in turn. Keys and tokens are made
for the run, with openssl. Prints a table in Markdown.
"""

import argparse, base64, hashlib, hmac, json, os, secrets, statistics, subprocess, sys, tempfile, time

import run

# Limits far beyond the load: what is measured is counting, not refusing.
LIMITS = {
    "REALTIME_RATE_LIMIT_ENABLED": "true",
    "REALTIME_RATE_LIMIT_CONNECTIONS": "1000000",
    "REALTIME_RATE_LIMIT_CONNECTIONS_PER_USER": "1000000",
    "REALTIME_RATE_LIMIT_NEW_CONNECTIONS": "1000000",
    "REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE": "100000000",
    "REALTIME_RATE_LIMIT_BURST": "1000000",
    "REALTIME_RATE_LIMIT_JOINS_PER_MINUTE": "100000000",
    "REALTIME_RATE_LIMIT_BYTES_PER_MINUTE": "1000000000000",
}
OFF = {"REALTIME_AUTH_ENABLED": "false", "REALTIME_RATE_LIMIT_ENABLED": "false", "MONITORING_SECURITY_ENABLED": "false"}
WATCH = {"MONITORING_SECURITY_ENABLED": "true", "MONITORING_SECURITY_MODE": "block", "MONITORING_SECURITY_MESSAGES": "false"}
READ = {**WATCH, "MONITORING_SECURITY_MESSAGES": "true"}

SCENARIOS = {
    "echo 100 × 1 × 20 B": ["echo", "--connections", "100", "--size", "20"],
    "echo 100 × 16 × 20 B": ["echo", "--connections", "100", "--depth", "16", "--size", "20"],
    "native publish 1 → 1, 64 in flight × 128 B": ["fanout", "--connections", "1", "--depth", "64", "--size", "128"],
    "connect": ["connect", "--count", "3000", "--before", "300", "--close", "keep"],
}

# As many users as there are tokens; the generator takes them in turn.
USERS = 100
USERS_MANY = 3_300


class Guarded(run.Peer):
    """Our server with more in its environment, and with tokens for its clients."""

    def __init__(self, name, base, more, issuer=None, scenarios=None):
        environment = {**base.environment, **OFF, **more, **(issuer.environment if issuer else {})}
        super().__init__(name, base.command, environment, native=True)
        self.tokens = issuer.tokens if issuer else None
        self.scenarios = scenarios  # None is all

    def arguments(self, kind):
        return super().arguments(kind) + (["--token", f"@{self.tokens}"] if self.tokens else [])


class Issuer:
    """A key, what the server must know of it, and a file of tokens made with it."""

    def __init__(self, folder, algorithm, users):
        self.folder, self.algorithm = folder, algorithm
        self.tokens = os.path.join(folder, f"tokens-{algorithm}-{users}")
        public = self.make_key()
        self.environment = {
            "REALTIME_AUTH_ENABLED": "true", "REALTIME_JWT_ALGORITHM": algorithm, "REALTIME_JWT_SECRET": public,
        }
        with open(self.tokens, "w") as out:
            out.writelines(self.token(f"user-{number}") + "\n" for number in range(users))

    def make_key(self):
        if self.algorithm == "HS256":
            self.secret = secrets.token_hex(32)
            return self.secret
        self.key = os.path.join(self.folder, f"{self.algorithm}.pem")
        kind = {"EdDSA": ["ED25519"], "RS256": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}[self.algorithm]
        openssl("genpkey", "-out", self.key, "-algorithm", *kind)
        return openssl("pkey", "-in", self.key, "-pubout").decode()

    def token(self, user):
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + 24 * 3600}
        parts = ({"alg": self.algorithm, "typ": "JWT"}, claims)
        message = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
        return f"{message}.{base64url(self.sign(message.encode()))}"

    def sign(self, message):
        if self.algorithm == "HS256":
            return hmac.digest(self.secret.encode(), message, hashlib.sha256)
        if self.algorithm == "RS256":
            return openssl("dgst", "-sha256", "-sign", self.key, text=message)
        # What Ed25519 signs must be a file.
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            file.write(message)
            file.flush()
            return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.key, "-in", file.name)


def openssl(*words, text=b""):
    done = subprocess.run(["openssl", *words], input=text, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"openssl {' '.join(words)}\n{done.stderr.decode()}")
    return done.stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def peers(folder):
    base = run.peers()[0]
    hs256, eddsa, rs256 = (Issuer(folder, algorithm, USERS) for algorithm in ("HS256", "EdDSA", "RS256"))
    many = Issuer(folder, "HS256", USERS_MANY)
    connect = {"connect"}
    return [
        Guarded("off", base, {}),
        Guarded("HS256", base, {}, hs256),
        Guarded("limits", base, LIMITS),
        Guarded("monitoring", base, WATCH),
        Guarded("all", base, {**LIMITS, **WATCH}, hs256),
        Guarded("all and messages", base, {**LIMITS, **READ}, hs256),
        Guarded("EdDSA", base, {}, eddsa, connect),
        Guarded("RS256", base, {}, rs256, connect),
        Guarded("HS256 of as many users", base, {}, many, connect),
    ]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--only", default="", help="servers with these names, besides off")
    options.add_argument("--scenarios", default="")
    options = options.parse_args()
    only = [name for name in options.only.split(",") if name]
    parts = [part for part in options.scenarios.split(",") if part]
    print(f"Rounds {options.rounds}, {options.seconds} s each; server CPU in µs per message, delivery or handshake.")
    print(f"Load of the machine before: {os.getloadavg()[0]:.1f}.\n")
    print("| scenario | server | median (lowest–highest) | ÷ off | lowest ÷ lowest | a second and core |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        everyone = [peer for peer in peers(folder) if not only or peer.name == "off" or peer.name in only]
        for name, arguments in SCENARIOS.items():
            if not parts or any(part in name for part in parts):
                table(name, arguments, [p for p in everyone if not p.scenarios or name in p.scenarios], options)
    print(f"\nLoad of the machine after: {os.getloadavg()[0]:.1f}.")


def table(name, arguments, chosen, options):
    figures = {peer.name: [] for peer in chosen}
    for number in range(options.rounds):
        # Back and forth, so that a machine that becomes slower does so for all.
        for peer in chosen if number % 2 == 0 else reversed(chosen):
            figure, waited = run.measure(peer, arguments, options.seconds)
            while not figure:  # Somebody else had both cores for the whole window.
                figure, waited = run.measure(peer, arguments, options.seconds)
            figures[peer.name].append(figure)
            if waited > 0.2:
                print(f"{name}: {peer.name} waited {waited:.0%} of the time for its core", file=sys.stderr)
    off, lowest = statistics.median(figures["off"]), min(figures["off"])
    for server, found in figures.items():
        median = statistics.median(found)
        spread = f"{median:.2f} ({min(found):.2f}–{max(found):.2f})"
        print(f"| {name} | {server} | {spread} | {median / off:.2f} | {min(found) / lowest:.2f} | {1e6 / median:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
