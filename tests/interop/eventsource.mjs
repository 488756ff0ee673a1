// The checks of EventSource, that of Chromium and that of npm: what streams say, and that a reader whose connections
// are cut again and again, or whose server starts anew, loses nothing, gets nothing twice, or is told so. Takes the
// server's base URL and which of the two, prints a line a check, ends with 1 if one fails. Never starts a server: it
// prints "restart", and goes on when a line on its standard input says that this was done.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline/promises";

import { CuttingProxy } from "./cutting_proxy.mjs";

const installed = createRequire(new URL("../../.cache/interop/node/package.json", import.meta.url));

const STEP_MS = 30_000;
const ALL_MS = 150_000;
const EXECUTABLES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"];
const NAMES = ["message", "joined", "gap", "tick"];
const PUBLICATIONS = 600;
// A head has some 300 bytes, an event some 120: connections end in an id, in data, between events.
const CUT_AFTER = [700, 1201, 911, 2503, 640, 1777, 1023, 5000, 801, 1350];

// ── the two readers: each runs this where its EventSource is ──

function listen(EventSource, url, names) {
  const source = new EventSource(url);
  const stream = { source, events: [], opened: 0, failed: 0, changed: () => {} };
  source.onopen = () => ((stream.opened += 1), stream.changed());
  source.onerror = () => (stream.failed += 1);
  for (const name of names) {
    source.addEventListener(name, event => {
      stream.events.push({ name: event.type, data: event.data, id: event.lastEventId });
      stream.changed();
    });
  }
  return stream;
}

class OfNpm {
  static async start() {
    return new OfNpm();
  }

  async open(url) {
    const stream = listen(installed("eventsource").EventSource, url, NAMES);
    const told = () => ({ events: stream.events, opened: stream.opened, failed: stream.failed });
    return {
      // What was seen once there are so many events.
      async seen(count) {
        const complete = new Promise(resolve => {
          stream.changed = () => stream.events.length >= count && resolve();
          stream.changed();
        });
        await bounded(complete, () => `${stream.events.length} of ${count} events`);
        return told();
      },
      close: async () => stream.source.close(),
    };
  }

  async stop() {}
}

class OfChromium {
  static async start() {
    const executablePath = EXECUTABLES.find(existsSync);
    assert.ok(executablePath, "no Chromium: run tests/interop/install.sh");
    const reader = new OfChromium();
    reader.browser = await installed("playwright-core").chromium.launch({ executablePath, args: FLAGS, timeout: STEP_MS });
    // A page of another origin, and without a policy of its own.
    reader.site = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html>"));
    reader.site.listen(0, "127.0.0.1");
    await once(reader.site, "listening");
    return reader;
  }

  async open(url) {
    const page = await this.browser.newPage();
    page.on("pageerror", error => console.log("      ", error.stack));
    page.setDefaultTimeout(STEP_MS);
    await page.goto(`http://127.0.0.1:${this.site.address().port}/`);
    await page.evaluate(
      ([source, url, names]) => (window.stream = eval(`(${source})`)(EventSource, url, names)) && null,
      [listen.toString(), url, NAMES],
    );
    const told = () =>
      page.evaluate(() => ({ events: stream.events, opened: stream.opened, failed: stream.failed }));
    return {
      async seen(count) {
        await page
          .waitForFunction(count => stream.events.length >= count, count)
          .catch(async () => assert.fail(`${(await told()).events.length} of ${count} events`));
        return told();
      },
      close: () => page.close(),
    };
  }

  async stop() {
    this.site.close();
    await this.browser.close();
  }
}

async function bounded(promise, told) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(told())), STEP_MS)));
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// ── the backend ──

async function publish(base, fields) {
  const answer = await fetch(base + "/api/publish", {
    method: "POST",
    body: JSON.stringify(fields),
    signal: AbortSignal.timeout(STEP_MS),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()).result;
}

const named = (events, name) => events.filter(event => event.name === name);

// ── the checks ──

async function carriesWhatIsPublished({ base, reader }) {
  const channel = `es-carry-${reader.constructor.name}`;
  const stream = await reader.open(`${base}/sse?channel=${channel}`);
  const raw = await reader.open(`${base}/sse?channel=${channel}&format=raw`);
  await stream.seen(1);
  await raw.seen(1);
  const written = ["plain", "é😀\u2028", "", null, { lines: "a\nb\r\nc" }, "x".repeat(50_000)];
  for (const data of written) await publish(base, { channel, data, event: data === null ? "tick" : undefined });
  const [first, ...whole] = (await stream.seen(1 + written.length)).events;
  const [, ...alone] = (await raw.seen(1 + written.length)).events;
  assert.deepEqual([first.name, JSON.parse(first.data)], ["joined", { type: "joined", channels: [channel] }]);
  assert.deepEqual(whole.map(event => JSON.parse(event.data).data), written);
  assert.deepEqual(alone.map(event => JSON.parse(event.data)), written);
  for (const events of [whole, alone]) {
    assert.deepEqual(events.map(event => event.name), written.map(data => (data === null ? "tick" : "message")));
    assert.equal(new Set(events.map(event => event.id)).size, written.length);
  }
  await stream.close();
  await raw.close();
}

// Before the first publication, while there are some, after the last: connections end everywhere.
async function losesNothingWhenConnectionsAreCut({ base, reader }) {
  const channels = ["a", "b"].map(name => `es-cut-${name}-${reader.constructor.name}`);
  const proxy = await CuttingProxy.start(base, CUT_AFTER);
  try {
    const stream = await reader.open(`${proxy.base}/sse?channel=${channels[0]}&channel=${channels[1]}`);
    await stream.seen(channels.length);
    proxy.cutting = true;
    for (const client of proxy.open) client.destroy();
    for (let number = 0; number < PUBLICATIONS; number += 1) {
      await publish(base, { channel: channels[number % 2], data: number });
    }
    const isThere = ({ events }) => named(events, "message").length >= PUBLICATIONS;
    let seen = await stream.seen(PUBLICATIONS);
    while (!isThere(seen)) seen = await stream.seen(seen.events.length + 1);
    proxy.cutting = false;
    // Had one come twice, it would come before these.
    for (const channel of channels) await publish(base, { channel, data: "end" });
    const isOver = ({ events }) => events.filter(({ data }) => data.includes('"data":"end"')).length === 2;
    while (!isOver(seen)) seen = await stream.seen(seen.events.length + 1);
    for (const [at, channel] of channels.entries()) {
      const told = named(seen.events, "message").map(({ data }) => JSON.parse(data)).filter(event => event.channel === channel);
      const wanted = Array.from({ length: PUBLICATIONS / 2 }, (_, number) => 2 * number + at);
      assert.deepEqual(told.map(event => event.data), [...wanted, "end"]);
    }
    assert.deepEqual(named(seen.events, "gap"), []);
    assert.ok(proxy.cuts >= 10 && seen.opened > proxy.cuts, `${proxy.cuts} cuts, opened ${seen.opened} times`);
    console.log("      ", `${proxy.cuts} cuts, opened ${seen.opened} times`);
    await stream.close();
  } finally {
    proxy.stop();
  }
}

async function isToldWhenTheServerForgot({ base, reader, restart }) {
  const channels = ["a", "b"].map(name => `es-restart-${name}-${reader.constructor.name}`);
  const stream = await reader.open(`${base}/sse?channel=${channels[0]}&channel=${channels[1]}`);
  await stream.seen(2);
  for (const channel of channels) await publish(base, { channel, data: "before" });
  const before = (await stream.seen(4)).events;
  assert.deepEqual(named(before, "message").map(event => JSON.parse(event.data).data), ["before", "before"]);
  await restart();
  const again = (await stream.seen(6)).events.slice(4);
  const told = again.map(event => [event.name, ...JSON.parse(event.data).channels]).sort();
  assert.deepEqual(told, channels.map(channel => ["gap", channel]));
  for (const channel of channels) await publish(base, { channel, data: "after" });
  const after = (await stream.seen(8)).events.slice(6);
  assert.deepEqual(after.map(event => [event.name, JSON.parse(event.data).data]), [["message", "after"], ["message", "after"]]);
  await stream.close();
}

const [base, which] = process.argv.slice(2);
const readers = { npm: OfNpm, chromium: OfChromium };
if (!base || !readers[which]) {
  console.error("usage: eventsource.mjs http://HOST:PORT npm|chromium");
  process.exit(2);
}
setTimeout(() => {
  console.log(`FAILED the checks took more than ${ALL_MS} ms`);
  process.exit(1);
}, ALL_MS).unref();
const input = createInterface({ input: process.stdin });
const restart = async () => {
  console.log("restart");
  await new Promise(resolve => input.once("line", resolve));
};
const reader = await readers[which].start();
let failed = 0;
for (const check of [carriesWhatIsPublished, losesNothingWhenConnectionsAreCut, isToldWhenTheServerForgot]) {
  try {
    await check({ base: new URL(base).origin, reader, restart });
    console.log("ok    ", check.name);
  } catch (error) {
    failed += 1;
    console.log("FAILED", check.name, error.stack);
  }
}
await reader.stop();
process.exit(Math.min(failed, 1));
