"""The checks of `cent`, the server SDK of Centrifugo: every call that both sides have, alone and in a batch. Needs a
server with history and presence where `/ann` and `/ben` are streams of these users. See checks.py."""

import base64
from contextlib import ExitStack, contextmanager

import cent
import httpx
from checks import ANSWER_SECONDS, equal, holds, run
from httpx_sse import connect_sse


class Listener:
    """A stream of one user. Every wait is bounded."""

    def __init__(self, client, source):
        self.client, self.events = client, source.iter_sse()

    def next(self):
        return next(event for event in self.events if event.data)

    def joined(self, channel):
        event = self.next()
        equal((event.event, event.json()["channels"]), ("joined", [channel]))

    def data(self):
        event = self.next()
        equal(event.event, "message")
        return event.json()["data"]

    def ended(self):
        equal([event for event in self.events if event.data], [])


@contextmanager
def listener(base, user, channel):
    with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as client:
        with connect_sse(client, "GET", f"{base}/{user}", params={"channel": channel}) as source:
            stream = Listener(client, source)
            stream.joined(channel)
            yield stream


@contextmanager
def sdk(base):
    client = cent.Client(base + "/api", api_key="interop-key", timeout=ANSWER_SECONDS)
    yield client
    client._session.close()


def publishes(base):
    with sdk(base) as client, listener(base, "ann", "cent-publish") as ann:
        first = client.publish(cent.PublishRequest(channel="cent-publish", data={"a": [1, None, "é"]}, tags={"k": "v"}))
        event = ann.next().json()
        equal((event["data"], event["tags"], event["offset"]), ({"a": [1, None, "é"]}, {"k": "v"}, first.offset))
        binary = base64.b64encode(b'{"from": "base64"}').decode()
        client.publish(cent.PublishRequest(channel="cent-publish", data=None, b64data=binary))
        equal(ann.data(), {"from": "base64"})
        once = cent.PublishRequest(channel="cent-publish", data="once", idempotency_key="key-1")
        second, again = client.publish(once), client.publish(once)
        equal((second.offset, second.epoch), (first.offset + 2, first.epoch))
        equal(again, second)
        equal(ann.data(), "once")
        client.publish(cent.PublishRequest(channel="cent-publish", data="unkept", skip_history=True))
        equal(ann.data(), "unkept")
        equal(client.history(cent.HistoryRequest(channel="cent-publish", limit=10)).offset, second.offset)


def broadcasts(base):
    channels = [f"cent-broadcast-{number}" for number in range(8)]
    with sdk(base) as client, ExitStack() as stack:
        streams = [stack.enter_context(listener(base, "ann", channel)) for channel in channels]
        answer = client.broadcast(cent.BroadcastRequest(channels=channels, data={"to": "all"}))
        equal([response.result.offset for response in answer.responses], [1] * 8)
        equal([response.error for response in answer.responses], [None] * 8)
        for stream in streams:
            equal(stream.data(), {"to": "all"})


def pages_through_history(base):
    with sdk(base) as client:
        for number in range(10):
            top = client.publish(cent.PublishRequest(channel="cent-history", data=number, tags={"n": str(number)}))

        def page(**fields):
            found = client.history(cent.HistoryRequest(channel="cent-history", **fields))
            equal((found.offset, found.epoch), (10, top.epoch))
            return [publication.data for publication in found.publications]

        def since(offset):
            return cent.StreamPosition(offset=offset, epoch=top.epoch)

        equal(page(), [])
        equal(page(limit=-1), list(range(10)))
        equal(page(limit=3), [0, 1, 2])
        equal(page(limit=3, since=since(4)), [4, 5, 6])
        equal(page(limit=3, reverse=True), [9, 8, 7])
        equal(page(limit=3, since=since(4), reverse=True), [2, 1, 0])
        kept = client.history(cent.HistoryRequest(channel="cent-history", limit=1)).publications
        equal((kept[0].offset, kept[0].tags), (1, {"n": "0"}))
        client.history_remove(cent.HistoryRemoveRequest(channel="cent-history"))
        equal(page(limit=-1), [])


def sees_who_is_there(base):
    with sdk(base) as client, ExitStack() as stack:
        for user in ("ann", "ann", "ben"):
            stack.enter_context(listener(base, user, "cent-presence"))
        found = client.presence(cent.PresenceRequest(channel="cent-presence")).presence
        told = sorted((member.user, member.conn_info["tab"]) for member in found.values())
        equal(told, [("ann", True), ("ann", True), ("ben", True)])
        holds(all(key == member.client for key, member in found.items()), found)
        stats = client.presence_stats(cent.PresenceStatsRequest(channel="cent-presence"))
        equal((stats.num_clients, stats.num_users), (3, 2))


def lists_channels_and_nodes(base):
    with sdk(base) as client, ExitStack() as stack:
        for user, channel in (("ann", "cent-list-a"), ("ben", "cent-list-a"), ("ann", "cent-list-b")):
            stack.enter_context(listener(base, user, channel))
        channels = client.channels(cent.ChannelsRequest(pattern="cent-list-*")).channels
        found = {name: channel.num_clients for name, channel in channels.items()}
        equal(found, {"cent-list-a": 2, "cent-list-b": 1})
        holds("cent-list-a" in client.channels(cent.ChannelsRequest()).channels, "without a pattern all are told")
        (node,) = client.info(cent.InfoRequest()).nodes
        holds(node.uid and node.version and node.num_clients >= 3 and node.num_users >= 2, node)
        holds(node.num_channels >= 2 and node.num_subs >= 3 and node.uptime >= 0, node)


def moves_users_between_channels(base):
    with sdk(base) as client, listener(base, "ann", "cent-home") as ann, listener(base, "ben", "cent-home") as ben:
        client.subscribe(cent.SubscribeRequest(user="ann", channel="cent-moved"))
        ann.joined("cent-moved")
        client.publish(cent.PublishRequest(channel="cent-moved", data="to ann"))
        equal(ann.data(), "to ann")
        client.unsubscribe(cent.UnsubscribeRequest(user="ann", channel="cent-moved"))
        for channel in ("cent-moved", "cent-home"):
            client.publish(cent.PublishRequest(channel=channel, data=channel))
        equal((ann.data(), ben.data()), ("cent-home", "cent-home"))


def disconnects_users(base):
    with sdk(base) as client, ExitStack() as stack:
        tabs = [stack.enter_context(listener(base, "ann", "cent-end")) for _ in range(2)]
        ben = stack.enter_context(listener(base, "ben", "cent-end"))
        reason = cent.Disconnect(code=4321, reason="enough")
        client.disconnect(cent.DisconnectRequest(user="ann", disconnect=reason))
        for tab in tabs:
            tab.ended()
        client.publish(cent.PublishRequest(channel="cent-end", data="still here"))
        equal(ben.data(), "still here")
        client.disconnect(cent.DisconnectRequest(user="nobody"))


def carries_out_batches_in_order(base):
    with sdk(base) as client, listener(base, "ann", "cent-batch") as ann:
        requests = [cent.PublishRequest(channel="cent-batch", data=number) for number in range(100)]
        requests += [
            cent.BroadcastRequest(channels=["cent-batch", "cent-batch-2"], data="both"),
            cent.HistoryRequest(channel="cent-batch", limit=-1),
            cent.PresenceRequest(channel="cent-batch"),
            cent.PresenceStatsRequest(channel="cent-batch"),
            cent.ChannelsRequest(pattern="cent-batch"),
            cent.InfoRequest(),
            cent.DisconnectRequest(user="nobody"),
        ]
        replies = client.batch(cent.BatchRequest(requests=requests)).replies
        equal([reply.offset for reply in replies[:100]], list(range(1, 101)))
        broadcast, history, presence, stats, channels, info, disconnect = replies[100:]
        equal([response.result.offset for response in broadcast.responses], [101, 1])
        equal([publication.data for publication in history.publications], [*range(100), "both"])
        equal([member.user for member in presence.presence.values()], ["ann"])
        equal((stats.num_clients, stats.num_users), (1, 1))
        equal((list(channels.channels), len(info.nodes)), (["cent-batch"], 1))
        equal(type(disconnect), cent.DisconnectResult)
        equal([ann.data() for _ in range(101)], [*range(100), "both"])


def is_told_what_is_wrong(base):
    def refusal(key, call):
        client = cent.Client(base + "/api", api_key=key, timeout=ANSWER_SECONDS)
        try:
            call(client)
        except (cent.CentTransportError, cent.CentUnauthorizedError) as error:
            return type(error), getattr(error, "status_code", 401)
        finally:
            client._session.close()
        raise AssertionError("it was carried out")

    right = cent.PublishRequest(channel="cent-wrong", data=1)
    equal(refusal("wrong", lambda client: client.publish(right)), (cent.CentUnauthorizedError, 401))
    for status, call in (
        (400, lambda client: client.publish(cent.PublishRequest(channel="two words", data=1))),
        (400, lambda client: client.broadcast(cent.BroadcastRequest(channels=[], data=1))),
        (404, lambda client: client.refresh(cent.RefreshRequest(user="ann"))),
        (413, lambda client: client.publish(cent.PublishRequest(channel="cent-wrong", data="x" * (1 << 20)))),
    ):
        equal(refusal("interop-key", call), (cent.CentTransportError, status))


run((
    publishes,
    broadcasts,
    pages_through_history,
    sees_who_is_there,
    lists_channels_and_nodes,
    moves_users_between_channels,
    disconnects_users,
    carries_out_batches_in_order,
    is_told_what_is_wrong,
))
