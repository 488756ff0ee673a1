// The checks of the Node library `ws`: echo with and without compression, control frames, close codes, and the
// native dialect across shards. Takes the server's base URL, prints a line a check, ends with 1 if one fails.
// Never starts a server.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";

const installed = createRequire(new URL("../../.cache/interop/node/package.json", import.meta.url));
const WebSocket = installed("ws");

const MEBIBYTE = 1 << 20;
const ANSWER_MS = 20_000;
const ALL_MS = 150_000;
const IN_ORDER = 2000;
// Connections until both shards have one: the kernel spreads them by chance.
const SPREAD_MAX = 64;

const soon = () => ({ signal: AbortSignal.timeout(ANSWER_MS) });

// An open connection whose messages wait in a queue: `[data, isBinary]` each.
class Client {
  static async open(base, path, { protocols = [], deflate = false } = {}) {
    const client = new Client();
    const options = { perMessageDeflate: deflate && { threshold: 0 }, maxPayload: 4 * MEBIBYTE };
    client.socket = new WebSocket(base + path, protocols, options);
    client.waiting = [];
    client.readers = [];
    client.closed = once(client.socket, "close");
    client.socket.on("message", (data, isBinary) => {
      const reader = client.readers.shift();
      if (reader) reader([data, isBinary]);
      else client.waiting.push([data, isBinary]);
    });
    await once(client.socket, "open", soon());
    client.socket.on("error", () => {});
    return client;
  }

  async next() {
    if (this.waiting.length > 0) return this.waiting.shift();
    const message = new Promise(resolve => this.readers.push(resolve));
    const gone = this.closed.then(([code, reason]) => assert.fail(`closed with ${code} ${reason}`));
    return Promise.race([message, gone]);
  }

  async text() {
    const [data, isBinary] = await this.next();
    assert.equal(isBinary, false);
    return data.toString();
  }

  async event() {
    return JSON.parse(await this.text());
  }

  say(fields) {
    this.socket.send(JSON.stringify(fields));
  }

  async ask(fields) {
    this.say(fields);
    return this.event();
  }

  async close(code = 1000, reason = "") {
    this.socket.close(code, reason);
    const [answered, why] = await this.closed;
    return [answered, why.toString()];
  }
}

// ── the echo endpoint ──

async function echoes(client, payload) {
  client.socket.send(payload);
  const [data, isBinary] = await client.next();
  assert.equal(isBinary, typeof payload !== "string");
  assert.ok(data.equals(Buffer.from(payload)), `${data.length} bytes came back for ${payload.length}`);
}

async function echoesEveryKindAndSize(base) {
  const payloads = ["", Buffer.alloc(0), "a", "héllo 😀 \0", Buffer.from([0, 255]), "x".repeat(125), "x".repeat(126)];
  payloads.push(Buffer.alloc(65535, 7), Buffer.alloc(65536, 8), "é".repeat(MEBIBYTE / 2), randomBytes(MEBIBYTE));
  for (const deflate of [false, true]) {
    const client = await Client.open(base, "/echo", { deflate });
    assert.equal(client.socket.extensions, deflate ? "permessage-deflate" : "");
    for (const payload of payloads) await echoes(client, payload);
    await client.close();
  }
}

async function joinsFragments(base) {
  for (const deflate of [false, true]) {
    const client = await Client.open(base, "/echo", { deflate });
    for (const piece of ["hé", "", "llo "]) client.socket.send(piece, { fin: false });
    client.socket.ping("between");
    client.socket.send("😀", { fin: true });
    await once(client.socket, "pong", soon());
    assert.equal(await client.text(), "héllo 😀");
    await client.close();
  }
}

async function answersPingsAndSendsItsOwn(base) {
  const client = await Client.open(base, "/echo");
  for (const payload of ["", "probe", "p".repeat(125)]) {
    client.socket.ping(payload);
    const [answer] = await once(client.socket, "pong", soon());
    assert.equal(answer.toString(), payload);
  }
  await once(client.socket, "ping", soon());
  // A second one comes only if the answer to the first arrived.
  await once(client.socket, "ping", soon());
  await client.close();
}

async function takesTheFirstSubprotocol(base) {
  const client = await Client.open(base, "/echo", { protocols: ["chat.v2", "chat.v1"] });
  assert.equal(client.socket.protocol, "chat.v2");
  await client.close();
}

async function answersACloseWithItsCodeAndReason(base) {
  for (const [code, reason] of [[1000, ""], [1001, "away"], [3000, "done"], [4999, "é".repeat(61)]]) {
    const client = await Client.open(base, "/echo");
    assert.deepEqual(await client.close(code, reason), [code, reason]);
  }
  const client = await Client.open(base, "/echo");
  client.socket.close();
  assert.equal((await client.closed)[0], 1005);
}

async function closesWhatBreaksTheRules(base) {
  const deep = `{"type":"publish","channel":"c","data":${"[".repeat(40)}${"]".repeat(40)}}`;
  for (const [path, code, payload, options] of [
    ["/echo", 1007, Buffer.from([0x63, 0xe9]), { binary: false }],
    ["/echo", 1009, Buffer.alloc(2 * MEBIBYTE + 1), {}],
    ["/ws", 1008, deep, {}],
    ["/ws", 1003, Buffer.from([0]), {}],
  ]) {
    const client = await Client.open(base, path);
    client.socket.send(payload, options, () => {});
    assert.equal((await client.closed)[0], code);
  }
}

async function refusesOtherPathsAndMethods(base) {
  const socket = new WebSocket(base + "/nowhere");
  const [error] = await once(socket, "error", soon());
  assert.equal(error.message, "Unexpected server response: 404");
  const health = await fetch(base.replace("ws", "http") + "/health/live", soon());
  assert.equal(health.status, 200);
  const plain = await fetch(base.replace("ws", "http") + "/ws", soon());
  assert.equal(plain.status, 426);
}

// ── the native dialect ──

async function native(base) {
  const client = await Client.open(base, "/ws", { deflate: true });
  client.welcome = await client.event();
  assert.deepEqual(Object.keys(client.welcome), ["type", "connection", "shard", "heartbeat"]);
  assert.equal(client.welcome.type, "welcome");
  return client;
}

// Two connections that two different shards serve.
async function twoShards(base) {
  const byShard = new Map();
  for (let count = 0; byShard.size < 2; count += 1) {
    assert.ok(count < SPREAD_MAX, "one shard got all connections");
    const client = await native(base);
    if (byShard.has(client.welcome.shard)) await client.close();
    else byShard.set(client.welcome.shard, client);
  }
  return [byShard.get(0), byShard.get(1)];
}

async function repeatsEachIdAsItWasWritten(base) {
  const client = await native(base);
  for (const written of ["7", "-0.50e2", "18446744073709551616", '"x"', '"\\u0061 \\" é"']) {
    client.socket.send(`{"type":"publish","channel":"node-ids","data":null,"id":${written}}`);
    const answer = await client.text();
    assert.equal(JSON.parse(answer).type, "ack");
    assert.ok(answer.includes(`"id":${written}`), `${answer} does not repeat ${written}`);
  }
  await client.close();
}

async function carriesChannelsAcrossShards(base) {
  const [first, second] = await twoShards(base);
  for (let home = 0; home < 4; home += 1) {
    const channel = `node-across-${home}`;
    let start;
    for (const client of [first, second]) {
      const joined = await client.ask({ type: "join", channel, id: "j" });
      assert.deepEqual([joined.type, joined.channel, joined.id], ["joined", channel, "j"]);
      start = joined.offset;
    }
    for (const [step, sender] of [first, second].entries()) {
      sender.say({ type: "publish", channel, data: { step } });
      const from = sender.welcome.connection;
      const wanted = { type: "message", channel, offset: start + step + 1, data: { step }, from };
      for (const client of [first, second]) assert.deepEqual(await client.event(), wanted);
    }
    assert.deepEqual(await second.ask({ type: "leave", channel, id: 2 }), { type: "left", channel, id: 2 });
    first.say({ type: "publish", channel, data: "alone" });
    assert.equal((await first.event()).data, "alone");
    // Had the publication come here too, it would have come before the answer to this.
    assert.deepEqual(await second.ask({ type: "ping" }), { type: "pong" });
  }
  await Promise.all([first.close(), second.close()]);
}

async function carriesDataByteForByte(base) {
  const [publisher, subscriber] = await twoShards(base);
  await subscriber.ask({ type: "join", channel: "node-bytes" });
  const data = '{ "a" : 1.50,\t"b":[1e+2 , -0,"\\u00e9\\/"],"c":"é😀<img>","a":2,"n":123456789012345678901234567890}';
  for (const written of [data, "null", "0.10", '""', `"${"long ".repeat(20_000)}"`]) {
    publisher.socket.send(`{"data":${written},"channel":"node-bytes","type":"publish"}`);
    const event = await subscriber.text();
    const wanted = `,"data":${written},"from":"${publisher.welcome.connection}"}`;
    assert.ok(event.endsWith(wanted), `${written.slice(0, 100)} came as ${event.slice(0, 300)}`);
  }
  await Promise.all([publisher.close(), subscriber.close()]);
}

async function refusesAndLivesOn(base) {
  const client = await native(base);
  for (const [text, code, id] of [
    ['{"type":"join","channel":"a b","id":1}', "bad_channel", 1],
    [`{"type":"join","channel":"${"c".repeat(256)}","id":2}`, "bad_channel", 2],
    ['{"type":"publish","channel":"c","id":3}', "bad_request", 3],
    ['{"type":"dance","id":"four"}', "unknown_type", "four"],
    ['{"type":"leave","channel":"node-never-joined","id":5}', "not_joined", 5],
    ["{", "bad_json", undefined],
    ["null", "bad_json", undefined],
  ]) {
    client.socket.send(text);
    const event = await client.event();
    assert.deepEqual([event.type, event.code, event.id], ["error", code, id], text);
  }
  assert.deepEqual(await client.ask({ type: "ping", id: 6 }), { type: "pong", id: 6 });
  await client.close();
}

async function broadcastsToEveryShard(base) {
  const [first, second] = await twoShards(base);
  first.say({ type: "broadcast", data: "to all" });
  const wanted = { type: "broadcast", data: "to all", from: first.welcome.connection };
  for (const client of [first, second]) assert.deepEqual(await client.event(), wanted);
  await Promise.all([first.close(), second.close()]);
}

async function deliversThousandsInOrder(base) {
  const [publisher, subscriber] = await twoShards(base);
  const start = (await subscriber.ask({ type: "join", channel: "node-order" })).offset;
  for (let number = 0; number < IN_ORDER; number += 1) {
    publisher.say({ type: "publish", channel: "node-order", data: number });
  }
  for (let number = 0; number < IN_ORDER; number += 1) {
    const { type, data, offset } = await subscriber.event();
    assert.deepEqual([type, data, offset], ["message", number, start + number + 1]);
  }
  await Promise.all([publisher.close(), subscriber.close()]);
}

const checks = [
  echoesEveryKindAndSize,
  joinsFragments,
  answersPingsAndSendsItsOwn,
  takesTheFirstSubprotocol,
  answersACloseWithItsCodeAndReason,
  closesWhatBreaksTheRules,
  refusesOtherPathsAndMethods,
  repeatsEachIdAsItWasWritten,
  carriesChannelsAcrossShards,
  carriesDataByteForByte,
  refusesAndLivesOn,
  broadcastsToEveryShard,
  deliversThousandsInOrder,
];

if (process.argv.length !== 3) {
  console.error("usage: node_client.mjs http://HOST:PORT");
  process.exit(2);
}
setTimeout(() => {
  console.log(`FAILED the checks took more than ${ALL_MS} ms`);
  process.exit(1);
}, ALL_MS);
let failed = 0;
for (const check of checks) {
  try {
    await check(process.argv[2].replace("http", "ws").replace(/\/$/, ""));
    console.log("ok    ", check.name);
  } catch (error) {
    failed += 1;
    console.log("FAILED", check.name, error.stack);
  }
}
process.exit(Math.min(failed, 1));
