"""Runs the checks of one client one after another. Takes the server's base URL, prints a line a check, ends with 1
if one fails. Never starts a server."""

import signal
import sys

# Every wait of a check ends within this.
ANSWER_SECONDS = 20
ALL_SECONDS = 150


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.300}, wanted {wanted!r:.300}")


def holds(truth, told):
    if not truth:
        raise AssertionError(f"{told!r:.300}")


def run(checks):
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} http://HOST:PORT")
    # Ends the process: nothing that a client does may outlast it.
    signal.alarm(ALL_SECONDS)
    failed = 0
    for check in checks:
        try:
            check(sys.argv[1].rstrip("/"))
            print("ok    ", check.__name__, flush=True)
        except Exception as error:
            failed += 1
            print("FAILED", check.__name__, f"{type(error).__name__}: {error}", flush=True)
    sys.exit(min(failed, 1))
