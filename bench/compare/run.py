#!/usr/bin/env python3
"""Measures our server beside its peers: same machine, same run, one after the other in turn, medians.

Usage: bench/compare/run.py [--rounds 5] [--seconds 3] [--only NAME,…] [--scenarios NAME,…]
Server on core 0, generator on core 1. Prints a table in Markdown; `just compare` sends it to bench/RESULTS.md.
"""

import argparse, json, os, re, secrets, shutil, signal, statistics, subprocess, sys, tempfile, time

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
    "SSE 1 → 1,000 × 128 B": ["sse", "--connections", "1000", "--size", "128"],
    "publish API, pipelined 16 × 128 B": ["publish", "--depth", "16", "--size", "128"],
    "connect": ["connect", "--count", "15000", "--close", "keep"],
    "connect and close": ["connect", "--count", "20000"],
}
FIGURES = {
    "echo": "server_cpu_us_per_message",
    "fanout": "server_cpu_us_per_delivery",
    "sse": "server_cpu_us_per_delivery",
    "publish": "server_cpu_us_per_publication",
    "connect": "server_cpu_us_per_handshake",
}
WEBSOCKET = {"echo", "fanout", "connect"}
HTTP = {"sse", "publish"}
API_KEY = secrets.token_hex(32)


class Peer:
    """A server under test: how it is started, and where its paths are."""

    def __init__(self, name, command, environment=None, native=False, kinds=WEBSOCKET):
        self.name, self.command, self.native = name, command, native
        self.environment = environment or {}
        self.kinds = kinds  # the scenarios it can answer
        self.process, self.log, self.port = None, None, None

    def start(self):
        """Starts it on core 0 and waits for its port."""
        port = free_port()
        self.launch(port, [word.replace("PORT", str(port)) for word in self.command])

    def launch(self, port, command):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="compare-")
        environment = {**os.environ, **{k: v.replace("PORT", str(port)) for k, v in self.environment.items()}}
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], env=environment, stdout=self.log, stderr=self.log)
        self.port = port
        try:
            wait_for(port, self.process)
        except SystemExit:
            with open(self.log.name) as said:
                print(said.read(), file=sys.stderr)
            raise

    def stop(self):
        """Ends it and waits."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def arguments(self, kind):
        """Where a scenario goes, and what is spoken there."""
        at = f"127.0.0.1:{self.port}"
        publish = f"http://{at}/api/publish"
        if kind == "sse":
            return ["--url", f"http://{at}/sse?channel=bench", "--publish-url", publish, "--api-key", API_KEY]
        if kind == "publish":
            return ["--url", publish, "--api-key", API_KEY]
        if kind == "fanout" and self.native:
            return ["--url", f"ws://{at}/ws", "--protocol", "native"]
        if kind == "fanout":
            return ["--url", f"ws://{at}/topic", "--protocol", "topic"]
        return ["--url", f"ws://{at}/echo"]


class Nchan(Peer):
    """nginx with nchan: one process, which is the worker, with the history that ours has."""

    MODULES = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/libexec/nginx"]

    def __init__(self):
        super().__init__("nginx + nchan", [], kinds=HTTP)
        self.folder = None

    @staticmethod
    def missing():
        """What is not installed, in words; None if it can run."""
        if not shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"):
            return "nginx is not installed"
        return None if Nchan.module() else "the nchan module of nginx is not installed"

    @staticmethod
    def module():
        found = (os.path.join(folder, "ngx_nchan_module.so") for folder in Nchan.MODULES)
        return next(filter(os.path.exists, found), None)

    def start(self):
        self.folder = tempfile.TemporaryDirectory(prefix="compare-nchan-")
        with open(os.path.join(COMPARE, "nchan", "nginx.conf")) as template:
            text = template.read().replace("MODULE", self.module()).replace("FOLDER", self.folder.name)
        config = os.path.join(self.folder.name, "nginx.conf")
        nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        self.command = [nginx, "-p", self.folder.name, "-c", config]
        port = free_port()
        with open(config, "w") as out:
            out.write(text.replace("PORT", str(port)))
        self.launch(port, self.command)

    def stop(self):
        super().stop()
        self.folder.cleanup()

    def arguments(self, kind):
        at = f"http://127.0.0.1:{self.port}"
        publish = f"{at}/publish?channel="
        if kind == "sse":
            return ["--url", f"{at}/sse?channel=bench", "--publish-url", publish, "--publish-format", "nchan"]
        return ["--url", publish, "--publish-format", "nchan"]


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
        "REALTIME_API_KEY": API_KEY, "REALTIME_HISTORY_SIZE": "100",
    }
    everything = WEBSOCKET | HTTP
    found = [
        Peer("realtime (io_uring)", [SERVER], {**ours, "REALTIME_IO_DRIVER": "uring"}, native=True, kinds=everything),
        Peer("realtime (epoll)", [SERVER], {**ours, "REALTIME_IO_DRIVER": "epoll"}, native=True, kinds=everything),
        Peer("uWebSockets", ["node", os.path.join(COMPARE, "uws", "server.js"), "PORT"]),
        Peer("axum", [AXUM, "PORT"]),
        Peer("floor", [FLOOR, "PORT"], kinds={"fanout"}),
    ]
    missing = Nchan.missing()
    if missing:
        print(f"nchan is left out: {missing} (apt-get install nginx libnginx-mod-nchan)", file=sys.stderr)
        return found
    return [*found, Nchan()]


def measure(peer, arguments, seconds):
    """One run; the server CPU in µs for each message, delivery, publication or handshake."""
    kind = arguments[0]
    peer.start()
    try:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
            command = [BENCH, *arguments, *peer.arguments(kind), "--server-pid", str(peer.process.pid), "--cpu", "1", "--json", out.name]
            if kind != "connect":
                command += ["--duration", f"{seconds}s", "--warmup", "1s"]
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
    print(f"Rounds {options.rounds}, {options.seconds} s each; server CPU in µs per message, delivery, publication or handshake: median (lowest–highest).\n")
    print("| scenario | " + " | ".join(peer.name for peer in chosen) + " | io_uring ÷ uWebSockets or nchan |")
    print("|---|" + "---|" * (len(chosen) + 1))
    for name in names:
        figures = {peer.name: [] for peer in chosen}
        for _ in range(options.rounds):
            for peer in chosen:
                if SCENARIOS[name][0] not in peer.kinds:
                    continue
                figure, waited = measure(peer, SCENARIOS[name], options.seconds)
                figures[peer.name].append(figure)
                if waited > 0.2:
                    print(f"{name}: {peer.name} waited {waited:.0%} of the time for its core", file=sys.stderr)
        cells = [f"{statistics.median(f):.2f} ({min(f):.2f}–{max(f):.2f})" if f else "–" for f in figures.values()]
        ours = figures.get("realtime (io_uring)")
        theirs = figures.get("nginx + nchan" if SCENARIOS[name][0] in HTTP else "uWebSockets")
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}" if ours and theirs else "–"
        print(f"| {name} | " + " | ".join(cells) + f" | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
