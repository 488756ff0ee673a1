#!/usr/bin/env python3
"""Measures our server beside its peers: same machine, same run, one after the other in turn, medians.

Usage: bench/compare/run.py [--rounds 5] [--seconds 3] [--only NAME,…] [--scenarios NAME,…]
Server on core 0, generator on core 1. Prints a table in Markdown; `just compare` sends it to bench/RESULTS.md.
"""

import argparse, json, os, re, shutil, signal, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
BENCH = os.path.join(TARGET, "release", "realtime-bench")
SERVER = os.path.join(TARGET, "release", "realtime")
COMPARE = os.path.join(ROOT, "bench", "compare")
FLOOR = os.path.join(TARGET, "release", "examples", "floor")
AXUM = os.path.join(os.environ.get("COMPARE_TARGET_DIR", os.path.join(COMPARE, "axum", "target")), "release", "compare-axum")

# name: (arguments, unit counted, figure)
SCENARIOS = {
    "echo 1,000 × 1 × 20 B": ["echo", "--connections", "1000", "--size", "20"],
    "echo 100 × 16 × 20 B": ["echo", "--connections", "100", "--depth", "16", "--size", "20"],
    "echo 1,000 × 1 × 1 KiB": ["echo", "--connections", "1000", "--size", "1024"],
    "echo 200 × 1 × 16 KiB": ["echo", "--connections", "200", "--size", "16384"],
    "fan-out 1 → 1,000 × 128 B": ["fanout", "--connections", "1000", "--size", "128"],
    "fan-out 1 → 10,000 × 128 B at 20/s": ["fanout", "--connections", "10000", "--size", "128", "--rate", "20"],
    "connect": ["connect", "--count", "15000", "--close", "keep"],
    "connect and close": ["connect", "--count", "20000"],
}
FIGURES = {
    "echo": "server_cpu_us_per_message",
    "fanout": "server_cpu_us_per_delivery",
    "connect": "server_cpu_us_per_handshake",
}


class Peer:
    """A server under test: how it is started, and where its paths are."""

    def __init__(self, name, command, environment=None, native=False, only=None):
        self.name, self.command, self.native = name, command, native
        self.environment = environment or {}
        self.only = only  # the only kind of scenario it can answer
        self.process, self.log, self.port = None, None, None

    def start(self):
        """Starts it on core 0 and waits for its port."""
        self.log = tempfile.NamedTemporaryFile("w+", prefix="compare-")
        port = free_port()
        command = [word.replace("PORT", str(port)) for word in self.command]
        environment = {**os.environ, **{k: v.replace("PORT", str(port)) for k, v in self.environment.items()}}
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], env=environment, stdout=self.log, stderr=self.log)
        self.port = port
        wait_for(port, self.process)

    def stop(self):
        """Ends it and waits."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def url(self, scenario):
        """Where a scenario goes."""
        if scenario == "fanout":
            return f"ws://127.0.0.1:{self.port}" + ("/ws" if self.native else "/topic")
        return f"ws://127.0.0.1:{self.port}/echo"


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    import socket

    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args} does not listen")


def peers():
    ours = {
        "REALTIME_HOST": "127.0.0.1", "REALTIME_PORT": "PORT", "REALTIME_SHARDS": "1", "REALTIME_CPU_LIST": "0",
        "REALTIME_ECHO_PATH": "/echo", "REALTIME_LOG_LEVEL": "warn", "WEBSOCKET_COMPRESSION": "false",
    }
    return [
        Peer("realtime (io_uring)", [SERVER], {**ours, "REALTIME_IO_DRIVER": "uring"}, native=True),
        Peer("realtime (epoll)", [SERVER], {**ours, "REALTIME_IO_DRIVER": "epoll"}, native=True),
        Peer("uWebSockets", ["node", os.path.join(COMPARE, "uws", "server.js"), "PORT"]),
        Peer("axum", [AXUM, "PORT"]),
        Peer("floor", [FLOOR, "PORT"], only="fanout"),
    ]


def measure(peer, arguments, seconds):
    """One run; the server CPU in µs for each message, delivery or handshake."""
    kind = arguments[0]
    peer.start()
    try:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
            command = [BENCH, *arguments, "--url", peer.url(kind), "--server-pid", str(peer.process.pid), "--cpu", "1", "--json", out.name]
            if kind != "connect":
                command += ["--duration", f"{seconds}s", "--warmup", "1s"]
            if kind == "fanout":
                command += ["--protocol", "native" if peer.native else "topic"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=180)
            if done.returncode != 0:
                sys.exit(f"{peer.name}: {' '.join(command)}\n{done.stdout}{done.stderr}")
            report = json.load(out)
    finally:
        peer.stop()
    return find(report, FIGURES[kind]), find(report, "server_waited_share") or 0.0


def find(report, name):
    """A figure anywhere in the report."""
    if isinstance(report, dict):
        if name in report:
            value = report[name]
            return value["value"] if isinstance(value, dict) else value
        report = list(report.values())
    if isinstance(report, list):
        for item in report:
            if isinstance(item, dict) and item.get("name") == name:
                return item["value"]
            found = find(item, name) if isinstance(item, (dict, list)) else None
            if found is not None:
                return found
    return None


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--only", default="")
    options.add_argument("--scenarios", default="")
    options = options.parse_args()
    chosen = [peer for peer in peers() if not options.only or any(part in peer.name for part in options.only.split(","))]
    names = [name for name in SCENARIOS if not options.scenarios or any(part in name for part in options.scenarios.split(","))]
    print(f"Rounds {options.rounds}, {options.seconds} s each; server CPU in µs per message, delivery or handshake: median (lowest–highest).\n")
    print("| scenario | " + " | ".join(peer.name for peer in chosen) + " | io_uring ÷ uWebSockets |")
    print("|---|" + "---|" * (len(chosen) + 1))
    for name in names:
        figures = {peer.name: [] for peer in chosen}
        for _ in range(options.rounds):
            for peer in chosen:
                if peer.only not in (None, SCENARIOS[name][0]):
                    continue
                figure, waited = measure(peer, SCENARIOS[name], options.seconds)
                figures[peer.name].append(figure)
                if waited > 0.2:
                    print(f"{name}: {peer.name} waited {waited:.0%} of the time for its core", file=sys.stderr)
        cells = [f"{statistics.median(f):.2f} ({min(f):.2f}–{max(f):.2f})" if f else "–" for f in figures.values()]
        ours, theirs = figures.get("realtime (io_uring)"), figures.get("uWebSockets")
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}" if ours and theirs else "–"
        print(f"| {name} | " + " | ".join(cells) + f" | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
