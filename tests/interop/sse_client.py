"""The checks of `httpx-sse`: streams carry what is published, resume from every event without loss or repetition,
say so where they cannot, and refuse what is wrong. See checks.py."""

import random
from contextlib import contextmanager

import httpx
from checks import ANSWER_SECONDS, equal, holds, run
from httpx_sse import SSEError, connect_sse

HISTORY_SIZE = 1000
IN_ORDER = 2000
# Neither proxies nor certificates: to load those takes longer than a check.
PLAIN = {"trust_env": False, "verify": False}


@contextmanager
def stream(base, *channels, last=None, **parameters):
    """The events of a stream that has joined its channels, and nothing of what came before them."""
    query = [("channel", channel) for channel in channels] + list(parameters.items())
    headers = {"Last-Event-ID": last} if last else {}
    with httpx.Client(timeout=ANSWER_SECONDS, **PLAIN) as client:
        with connect_sse(client, "GET", base + "/sse", params=query, headers=headers) as source:
            equal(source.response.status_code, 200)
            equal(source.response.headers["cache-control"], "no-store, no-transform")
            events = source.iter_sse()
            try:
                yield joined(events, channels)
            finally:
                events.close()


def joined(events, channels):
    """The events from where all channels are joined."""
    waiting, early = set(channels), []
    while waiting:
        event = next(events)
        if event.event in ("joined", "gap"):
            waiting -= set(event.json()["channels"])
        if event.data and event.event != "joined":
            early.append(event)
    return Events(early, events)


class Events:
    """Events in order; `retry` and `joined` are left out."""

    def __init__(self, early, rest):
        self.early, self.rest = early, rest

    def __next__(self):
        if self.early:
            return self.early.pop(0)
        return next(event for event in self.rest if event.data and event.event != "joined")


def call(base, method, **fields):
    answer = httpx.post(f"{base}/api/{method}", json=fields, timeout=ANSWER_SECONDS, **PLAIN)
    equal((answer.status_code, list(answer.json())), (200, ["result"]))
    return answer.json()["result"]


def publish(base, channel, *data):
    """Publishes all over one connection."""
    with httpx.Client(timeout=ANSWER_SECONDS, **PLAIN) as client:
        for value in data:
            answer = client.post(base + "/api/publish", json={"channel": channel, "data": value})
            holds("result" in answer.json(), answer.text)


def number(event):
    equal((event.event, event.json()["type"]), ("message", "message"))
    return event.json()["data"]


# ── what a stream says ──


def carries_publications_of_all_its_channels(base):
    with stream(base, "sse-a", "sse-b") as events:
        start = {name: call(base, "history", channel=name)["offset"] for name in ("sse-a", "sse-b")}
        for step, channel in enumerate(("sse-a", "sse-b", "sse-a")):
            call(base, "publish", channel=channel, data={"step": step, "text": "é😀\r\n\n"}, tags={"k": "v"})
            event = next(events)
            start[channel] += 1
            wanted = {
                "type": "message",
                "channel": channel,
                "offset": start[channel],
                "data": {"step": step, "text": "é😀\r\n\n"},
                "from": "",
                "tags": {"k": "v"},
            }
            equal(event.json(), wanted)
            holds(0 < len(event.id) <= 256, event)


def carries_the_data_alone_if_asked(base):
    with stream(base, "sse-raw", format="raw") as events:
        for written in ('{"a":1.50,"b":[ 1e+2, "\\u00e9" ]}', "null", '""', '[1,\n 2,\r\n  {"x" : 3}]', f'"{"x" * 60_000}"'):
            body = '{"channel":"sse-raw","event":"tick","data":%s}' % written
            answer = httpx.post(base + "/api/publish", content=body, **PLAIN)
            equal(answer.status_code, 200)
            event = next(events)
            equal((event.event, event.data), ("tick", written.replace("\r\n", "\n")))


def delivers_thousands_in_order(base):
    with stream(base, "sse-order") as events:
        publish(base, "sse-order", *range(IN_ORDER))
        equal([number(next(events)) for _ in range(IN_ORDER)], list(range(IN_ORDER)))


# ── a stream that was away ──


def resumes_from_every_event(base):
    with stream(base, "sse-resume") as events:
        publish(base, "sse-resume", *range(50))
        ids = [next(events).id for _ in range(50)]
    for at, last in enumerate(ids[:-1]):
        with stream(base, "sse-resume", last=last) as events:
            equal([number(next(events)) for _ in range(at + 1, 50)], list(range(at + 1, 50)))
        with stream(base, "sse-resume", last_event_id=last) as events:
            equal(number(next(events)), at + 1)


def misses_nothing_while_it_is_away(base):
    """Reads a few, ends the connection, lets more be published, comes back: again and again, on two channels."""
    chance = random.Random(3)
    channels = ("sse-away-1", "sse-away-2")
    sent, seen, last = {channel: 0 for channel in channels}, {channel: [] for channel in channels}, None
    for _ in range(60):
        with stream(base, *channels, last=last) as events:
            for channel in chance.choices(channels, k=6):
                publish(base, channel, sent[channel])
                sent[channel] += 1
            missing = sum(sent.values()) - sum(map(len, seen.values()))
            for _ in range(chance.randint(1, missing)):
                event = next(events)
                seen[event.json()["channel"]].append(number(event))
                last = event.id
    with stream(base, *channels, last=last) as events:
        while sum(map(len, seen.values())) < sum(sent.values()):
            event = next(events)
            seen[event.json()["channel"]].append(number(event))
        # Had something come twice, it would be before these.
        for channel in channels:
            publish(base, channel, "end")
        equal({number(next(events)) for _ in channels}, {"end"})
    equal(seen, {channel: list(range(sent[channel])) for channel in channels})


def says_where_it_cannot_resume(base):
    with stream(base, "sse-gap", "sse-whole") as events:
        publish(base, "sse-gap", "first")
        last = next(events).id
    publish(base, "sse-gap", *range(HISTORY_SIZE + 1))
    publish(base, "sse-whole", "kept")
    with stream(base, "sse-gap", "sse-whole", last=last) as events:
        told = {event.event: event.json() for event in (next(events), next(events))}
        equal(told["gap"], {"type": "gap", "channels": ["sse-gap"]})
        equal((told["message"]["channel"], told["message"]["data"]), ("sse-whole", "kept"))
        publish(base, "sse-gap", "goes on")
        equal(number(next(events)), "goes on")


# ── refusals ──


def refuses_what_is_wrong(base):
    for query, field in (
        ("", "channel"),
        ("?channel=", "channel"),
        ("?channel=a%20b", "channel"),
        ("?channel=a%0Adata:x", "channel"),
        ("?channel=a&format=xml", "format"),
        ("?channel=a&last_event_id=nonsense", "last_event_id"),
    ):
        with httpx.Client(**PLAIN) as client, connect_sse(client, "GET", base + "/sse" + query) as source:
            equal((query, source.response.status_code), (query, 400))
            try:
                next(source.iter_sse())
                raise AssertionError("an error is no stream")
            except SSEError:
                pass
            source.response.read()
            holds(field in source.response.text, source.response.text)


run((
    carries_publications_of_all_its_channels,
    carries_the_data_alone_if_asked,
    delivers_thousands_in_order,
    resumes_from_every_event,
    misses_nothing_while_it_is_away,
    says_where_it_cannot_resume,
    refuses_what_is_wrong,
))
