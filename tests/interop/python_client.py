"""The checks of the Python library `websockets`: echo with and without compression, control frames, close codes,
and the native dialect across shards. Takes the server's base URL, prints a line a check, ends with 1 at the first
that fails. Never starts a server."""

import asyncio
import json
import random
import sys
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

MEBIBYTE = 1 << 20
ANSWER_SECONDS = 20
ALL_SECONDS = 150
IN_ORDER = 2000
# Connections until both shards have one: the kernel spreads them by chance.
SPREAD_MAX = 64


class Watching(ClientConnection):
    """A connection that counts the pings of the server; the library answers them by itself."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.pinged = asyncio.Event()

    def process_event(self, event):
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pinged.set()
        super().process_event(event)


def dial(url, **options):
    options = {"compression": None, "proxy": None, "ping_interval": None, "max_size": 4 * MEBIBYTE} | options
    return connect(url, create_connection=Watching, **options)


async def receive(socket):
    return await asyncio.wait_for(socket.recv(), ANSWER_SECONDS)


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.300}, wanted {wanted!r:.300}")


# ── the echo endpoint ──


async def echoes_every_kind_and_size(base):
    noise = random.Random(1).randbytes(MEBIBYTE)
    payloads = ["", b"", "a", b"\0", "héllo 😀 \0", bytes(range(256)), "x" * 125, "x" * 126, b"y" * 65535, b"y" * 65536]
    payloads += ["é" * (MEBIBYTE // 2), noise]
    for compression in (None, "deflate"):
        async with dial(base + "/echo", compression=compression) as socket:
            negotiated = [extension.name for extension in socket.protocol.extensions]
            equal(negotiated, ["permessage-deflate"] if compression else [])
            for payload in payloads:
                await socket.send(payload)
                equal(await receive(socket), payload)


async def joins_fragments(base):
    for compression in (None, "deflate"):
        async with dial(base + "/echo", compression=compression) as socket:
            await socket.send(["hé", "", "llo ", "😀"])
            equal(await receive(socket), "héllo 😀")
            await socket.send([bytes([index % 251]) * 1000 for index in range(300)])
            equal(await receive(socket), b"".join(bytes([index % 251]) * 1000 for index in range(300)))


async def keeps_the_order_of_a_pipeline(base):
    async with dial(base + "/echo") as socket:
        for index in range(1000):
            await socket.send(str(index))
        equal([await receive(socket) for _ in range(1000)], [str(index) for index in range(1000)])


async def answers_pings_and_sends_its_own(base):
    async with dial(base + "/echo") as socket:
        for payload in ("", "probe", "p" * 125):
            await asyncio.wait_for(await socket.ping(payload), ANSWER_SECONDS)
        await asyncio.wait_for(socket.pinged.wait(), ANSWER_SECONDS)
        # A second one comes only if the answer to the first arrived.
        socket.pinged.clear()
        await asyncio.wait_for(socket.pinged.wait(), ANSWER_SECONDS)


async def takes_the_first_subprotocol(base):
    async with dial(base + "/echo", subprotocols=["chat.v2", "chat.v1"]) as socket:
        equal(socket.subprotocol, "chat.v2")
    async with dial(base + "/echo") as socket:
        equal(socket.subprotocol, None)


async def answers_a_close_with_its_code_and_reason(base):
    for code, reason in ((1000, ""), (1001, "away"), (3000, "done"), (4999, "é" * 61)):
        async with dial(base + "/echo") as socket:
            await socket.close(code, reason)
            received = socket.protocol.close_rcvd
            equal((received.code, received.reason, socket.protocol.close_rcvd_then_sent), (code, reason, False))


async def closes_what_breaks_the_rules(base):
    async def text_that_is_not_utf8(socket):
        await socket.send(b"caf\xe9", text=True)

    async def a_frame_over_the_limit(socket):
        await socket.send(bytes(2 * MEBIBYTE + 1))

    async def a_message_over_the_limit(socket):
        await socket.send([bytes(2 * MEBIBYTE)] * 6)

    async def json_too_deep(socket):
        await socket.send('{"type":"publish","channel":"c","data":' + "[" * 40 + "]" * 40 + "}")

    async def binary_without_a_handler(socket):
        await socket.send(b"\0\1")

    for path, offence, code in (
        ("/echo", text_that_is_not_utf8, 1007),
        ("/echo", a_frame_over_the_limit, 1009),
        ("/echo", a_message_over_the_limit, 1009),
        ("/ws", json_too_deep, 1008),
        ("/ws", binary_without_a_handler, 1003),
    ):
        socket = await dial(base + path)
        try:
            await offence(socket)
            while True:
                await receive(socket)
        except ConnectionClosed as closed:
            equal((offence.__name__, closed.rcvd and closed.rcvd.code), (offence.__name__, code))


# ── the native dialect ──


class Native:
    """A connection that has been welcomed."""

    def __init__(self, socket, welcome):
        self.socket, self.welcome = socket, welcome

    async def send(self, **fields):
        await self.socket.send(json.dumps(fields))

    async def event(self):
        return json.loads(await receive(self.socket))

    async def ask(self, **fields):
        await self.send(**fields)
        return await self.event()


@asynccontextmanager
async def native(base):
    async with dial(base + "/ws", compression="deflate") as socket:
        welcome = json.loads(await receive(socket))
        equal(sorted(welcome), ["connection", "heartbeat", "shard", "type"])
        equal(welcome["type"], "welcome")
        yield Native(socket, welcome)


@asynccontextmanager
async def two_shards(base):
    """Two connections that two different shards serve."""
    async with AsyncExitStack() as stack:
        by_shard = {}
        for _ in range(SPREAD_MAX):
            connection = await stack.enter_async_context(native(base))
            by_shard.setdefault(connection.welcome["shard"], connection)
            if len(by_shard) == 2:
                break
        equal(sorted(by_shard), [0, 1])
        yield by_shard[0], by_shard[1]


async def repeats_each_id_as_it_was_written(base):
    async with native(base) as client:
        for written in ("7", "-0.50e2", "18446744073709551616", '"x"', '"\\u0061 \\" é"'):
            await client.socket.send('{"type":"publish","channel":"py-ids","data":null,"id":%s}' % written)
            answer = await receive(client.socket)
            equal(json.loads(answer)["type"], "ack")
            if f'"id":{written}' not in answer:
                raise AssertionError(f"{answer} does not repeat {written}")
        equal(await client.ask(type="ping", id="p"), {"type": "pong", "id": "p"})


async def carries_a_channel_across_shards(base):
    for home in range(4):
        channel = f"py-across-{home}"
        async with two_shards(base) as (first, second):
            for client in (first, second):
                joined = await client.ask(type="join", channel=channel, id=1)
                equal((joined["type"], joined["channel"], joined["id"]), ("joined", channel, 1))
            start = joined["offset"]
            for step, (sender, other) in enumerate(((first, second), (second, first)), 1):
                await sender.send(type="publish", channel=channel, data={"step": step})
                for client in (sender, other):
                    wanted = {
                        "type": "message",
                        "channel": channel,
                        "offset": start + step,
                        "data": {"step": step},
                        "from": sender.welcome["connection"],
                    }
                    equal(await client.event(), wanted)
            left = await second.ask(type="leave", channel=channel, id="bye")
            equal(left, {"type": "left", "channel": channel, "id": "bye"})
            await first.send(type="publish", channel=channel, data="alone")
            equal((await first.event())["data"], "alone")
            # Had the publication come here too, it would have come before the answer to this.
            equal(await second.ask(type="ping"), {"type": "pong"})


async def carries_data_byte_for_byte(base):
    data = '{ "a" : 1.50,\t"b":[1e+2 , -0,"\\u00e9\\/"],"c":"é😀<img>","d":{},"a":2,"n":123456789012345678901234567890}'
    async with two_shards(base) as (publisher, subscriber):
        await subscriber.ask(type="join", channel="py-bytes")
        for written in (data, "null", "0.10", '""', f'"{"long " * 20000}"'):
            await publisher.socket.send('{"data":%s,"channel":"py-bytes","type":"publish"}' % written)
            event = await receive(subscriber.socket)
            sender = publisher.welcome["connection"]
            if not event.endswith(f',"data":{written},"from":"{sender}"}}'):
                raise AssertionError(f"{written:.100} came as {event:.300}")


async def refuses_and_lives_on(base):
    async with native(base) as client:
        for text, code, answer_id in (
            ('{"type":"join","channel":"a b","id":1}', "bad_channel", 1),
            ('{"type":"join","channel":"","id":2}', "bad_channel", 2),
            ('{"type":"join","channel":"caf\\u00e9","id":3}', "bad_channel", 3),
            ('{"type":"join","channel":"%s","id":4}' % ("c" * 256), "bad_channel", 4),
            ('{"type":"join","id":5}', "bad_request", 5),
            ('{"type":"dance","id":"six"}', "unknown_type", "six"),
            ('{"type":"leave","channel":"py-never-joined","id":7}', "not_joined", 7),
            ("{", "bad_json", None),
            ("[]", "bad_json", None),
            ("", "bad_json", None),
        ):
            await client.socket.send(text)
            event = await client.event()
            equal((text[:60], event["type"], event["code"], event.get("id")), (text[:60], "error", code, answer_id))
        equal((await client.ask(type="join", channel="c" * 255, id=8))["type"], "joined")
        equal(await client.ask(type="ping", id=9), {"type": "pong", "id": 9})


async def broadcasts_to_every_shard(base):
    async with two_shards(base) as (first, second):
        await first.send(type="broadcast", data="to all")
        wanted = {"type": "broadcast", "data": "to all", "from": first.welcome["connection"]}
        equal([await first.event(), await second.event()], [wanted, wanted])


async def delivers_thousands_in_order(base):
    async with two_shards(base) as (publisher, subscriber):
        start = (await subscriber.ask(type="join", channel="py-order"))["offset"]

        async def publish():
            for number in range(IN_ORDER):
                await publisher.send(type="publish", channel="py-order", data=number)

        async def subscribe():
            for number in range(IN_ORDER):
                event = await subscriber.event()
                got = (event["type"], event["data"], event["offset"])
                equal(got, ("message", number, start + number + 1))

        await asyncio.gather(publish(), subscribe())


CHECKS = (
    echoes_every_kind_and_size,
    joins_fragments,
    keeps_the_order_of_a_pipeline,
    answers_pings_and_sends_its_own,
    takes_the_first_subprotocol,
    answers_a_close_with_its_code_and_reason,
    closes_what_breaks_the_rules,
    repeats_each_id_as_it_was_written,
    carries_a_channel_across_shards,
    carries_data_byte_for_byte,
    refuses_and_lives_on,
    broadcasts_to_every_shard,
    delivers_thousands_in_order,
)


async def main(base):
    failed = 0
    async with asyncio.timeout(ALL_SECONDS):
        for check in CHECKS:
            try:
                await check(base)
                print("ok    ", check.__name__, flush=True)
            except Exception as error:
                failed += 1
                print("FAILED", check.__name__, f"{type(error).__name__}: {error}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python_client.py http://HOST:PORT")
    sys.exit(asyncio.run(main(sys.argv[1].replace("http", "ws", 1).rstrip("/"))))
