// The demo page in headless Chromium: two tabs talk, hostile text stays text, the page survives a restart of the
// server, and it fits a phone and a desktop. Takes the server's base URL and a folder for screenshots, prints a
// line a check, ends with 1 at the first that fails. Never starts a server: with `--restart` it prints "restart",
// and goes on when a line on its standard input says that this was done.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";

const installed = createRequire(new URL("../../.cache/interop/node/package.json", import.meta.url));
const { chromium } = installed("playwright-core");

const STEP_MS = 20_000;
const ALL_MS = 150_000;
const EXECUTABLES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script> 👩‍👩‍👧 \u202e&amp;';
const SCREENS = [
  { name: "phone", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  { name: "desktop", viewport: { width: 1280, height: 800 } },
];

// ── what a person does and sees ──

const text = (page, selector) => page.locator(selector).textContent();

// The lines of the conversation as `[class, author, text]`.
function conversation(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll("#log li")].map(line => {
      const author = line.querySelector("b")?.textContent ?? "";
      const said = line.cloneNode(true);
      for (const beside of said.querySelectorAll(":scope > b, :scope > small")) beside.remove();
      return [line.className, author, said.textContent];
    }),
  );
}

async function sees(page, wanted, after = 0) {
  const line = JSON.stringify(wanted);
  for (;;) {
    const lines = await conversation(page);
    if (lines.slice(after).some(found => JSON.stringify(found) === line)) return;
    await page
      .waitForFunction(count => document.querySelectorAll("#log li").length > count, lines.length)
      .catch(() => assert.fail(`${line} is not in ${JSON.stringify(lines.slice(after))}`));
  }
}

const connected = page =>
  page.waitForFunction(() => document.querySelector("#state").className === "open");

async function says(page, message) {
  await page.fill("#text", message);
  await page.press("#text", "Enter");
}

async function enters(page, channel, name) {
  const before = (await conversation(page)).length;
  await page.fill("#name", name);
  await page.fill("#channel", channel);
  await page.press("#channel", "Tab");
  await sees(page, ["note", "", `You are in ${channel}.`], before);
}

// ── the checks ──

async function open({ tabs }) {
  for (const page of tabs) {
    await connected(page);
    assert.equal(await text(page, "#state"), "connected");
    assert.match(await text(page, "#shard"), /^[01]$/);
    assert.match(await text(page, "#connection"), /^\S+$/);
    await page.waitForFunction(() => /^\d+\.\d ms$/.test(document.querySelector("#latency").textContent));
    await sees(page, ["note", "", "You are in lobby."]);
  }
  const names = await Promise.all(tabs.map(page => text(page, "#connection")));
  assert.notEqual(names[0], names[1]);
}

async function talkInAChannelOfTheirOwn({ tabs: [ada, bob] }) {
  await says(bob, "before they were alone");
  await sees(ada, ["", await bob.inputValue("#name"), "before they were alone"]);
  await enters(ada, "tea", "Ada");
  await enters(bob, "tea", "Bob");
  await says(ada, "Hello Bob");
  await sees(ada, ["mine", "Ada", "Hello Bob"]);
  await sees(bob, ["", "Ada", "Hello Bob"]);
  await says(bob, "Hello Ada 👋");
  await sees(bob, ["mine", "Bob", "Hello Ada 👋"]);
  await sees(ada, ["", "Bob", "Hello Ada 👋"]);
  assert.equal(await text(ada, "#offset"), await text(bob, "#offset"));
  assert.match(await text(ada, "#log li.mine small"), /^\d+\.\d ms$/);
}

async function keepHostileTextAsText({ tabs: [ada, bob] }) {
  await ada.fill("#name", "<b>Ada</b>");
  await says(ada, HOSTILE);
  for (const [page, own] of [[ada, "mine"], [bob, ""]]) {
    await sees(page, [own, "<b>Ada</b>", HOSTILE]);
    assert.equal(await page.locator("#log img, #log script").count(), 0);
    assert.notEqual(await page.title(), "owned");
  }
  await ada.fill("#name", "Ada");
}

async function hearOnlyTheirChannel({ tabs: [ada, bob] }) {
  await enters(bob, "coffee", "Bob");
  await says(ada, "nobody else is here");
  await sees(ada, ["mine", "Ada", "nobody else is here"]);
  await enters(bob, "tea", "Bob");
  await says(ada, "welcome back");
  await sees(bob, ["", "Ada", "welcome back"]);
  assert.ok((await conversation(bob)).every(([, , said]) => said !== "nobody else is here"));
}

async function stayInTheirChannelIfAnotherIsRefused({ tabs: [ada, bob] }) {
  const before = (await conversation(bob)).length;
  await bob.fill("#channel", "two words");
  await bob.press("#channel", "Tab");
  await bob.waitForFunction(count => document.querySelectorAll("#log li").length > count, before);
  const [refusal] = (await conversation(bob)).slice(before);
  assert.equal(refusal[0], "note");
  assert.match(refusal[2], /channel/);
  await bob.fill("#channel", "tea");
  await bob.press("#channel", "Tab");
  await says(ada, "are you there?");
  await sees(bob, ["", "Ada", "are you there?"]);
}

async function surviveARestart({ tabs, complaints, restart }) {
  const before = await Promise.all(tabs.map(async page => (await conversation(page)).length));
  await restart();
  for (const [index, page] of tabs.entries()) await sees(page, ["note", "", "You are in tea."], before[index]);
  const [ada, bob] = tabs;
  await says(bob, "still here");
  await sees(ada, ["", "Bob", "still here"]);
  // While the server is away the browser itself writes that nobody answers.
  const others = complaints.splice(0).filter(line => !/^WebSocket connection to .* failed/.test(line));
  assert.deepEqual(others, []);
}

async function fitsTheScreen(page, { viewport }) {
  const found = await page.evaluate(() => {
    const box = selector => document.querySelector(selector).getBoundingClientRect();
    const log = document.querySelector("#log");
    return {
      width: document.documentElement.scrollWidth,
      height: document.documentElement.scrollHeight,
      right: Math.max(...["h1", "dl", "#log", "#text", "#send"].map(selector => box(selector).right)),
      sendBottom: box("#send").bottom,
      sendHeight: box("#send").height,
      logHeight: box("#log").height,
      below: log.scrollHeight - log.scrollTop - log.clientHeight,
      wide: log.scrollWidth - log.clientWidth,
    };
  });
  assert.ok(found.width <= viewport.width && found.right <= viewport.width, `too wide: ${JSON.stringify(found)}`);
  assert.ok(found.height <= viewport.height && found.sendBottom <= viewport.height, JSON.stringify(found));
  assert.ok(found.logHeight >= viewport.height / 3, `the conversation is small: ${JSON.stringify(found)}`);
  assert.ok(found.below < 2 && found.wide <= 0, `the newest line is not in sight: ${JSON.stringify(found)}`);
  assert.ok(found.sendHeight >= 36, `the button is small for a finger: ${JSON.stringify(found)}`);
}

async function lookRight({ browser, base, folder, watch, tabs: [ada] }) {
  mkdirSync(folder, { recursive: true });
  for (const { name, ...screen } of SCREENS) {
    for (const colorScheme of ["light", "dark"]) {
      const channel = `${name}-${colorScheme}`;
      const context = await browser.newContext({ ...screen, colorScheme });
      const page = watch(await context.newPage());
      await page.goto(base);
      await connected(page);
      await enters(page, channel, "Grace");
      await enters(ada, channel, "Ada");
      for (let number = 1; number <= 12; number += 1) {
        const [from, to, author] = number % 2 ? [ada, page, "Ada"] : [page, ada, "Grace"];
        const said = number === 9 ? `A long word: ${"lang".repeat(60)}` : `Line ${number} of a conversation about tea.`;
        await says(from, said);
        await sees(to, ["", author, said]);
      }
      await says(ada, HOSTILE);
      await sees(page, ["", "Ada", HOSTILE]);
      await says(page, "The last word.");
      await sees(page, ["mine", "Grace", "The last word."]);
      await fitsTheScreen(page, screen);
      await page.screenshot({ path: join(folder, `${channel}.png`) });
      await context.close();
    }
  }
}

async function run(base, folder, wantsRestart) {
  const executablePath = EXECUTABLES.find(existsSync);
  assert.ok(executablePath, "no Chromium: run tests/interop/install.sh");
  const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: STEP_MS });
  const complaints = [];
  const strangers = [];
  const watch = page => {
    page.setDefaultTimeout(STEP_MS);
    page.on("console", line => ["error", "warning"].includes(line.type()) && complaints.push(line.text()));
    page.on("pageerror", error => complaints.push(error.stack));
    page.on("request", request => foreign(request.url()));
    page.on("websocket", socket => foreign(socket.url()));
    return page;
  };
  const foreign = url => {
    const { protocol, host } = new URL(url);
    if (protocol !== "data:" && host !== new URL(base).host) strangers.push(url);
  };
  const input = createInterface({ input: process.stdin });
  const restart = async () => {
    console.log("restart");
    await new Promise(resolve => input.once("line", resolve));
  };

  const context = await browser.newContext({ viewport: SCREENS[1].viewport });
  const tabs = [watch(await context.newPage()), watch(await context.newPage())];
  for (const page of tabs) await page.goto(base);
  const scene = { browser, base, folder, tabs, watch, complaints, restart };
  const checks = [
    open,
    talkInAChannelOfTheirOwn,
    keepHostileTextAsText,
    hearOnlyTheirChannel,
    stayInTheirChannelIfAnotherIsRefused,
    ...(wantsRestart ? [surviveARestart] : []),
    lookRight,
  ];
  try {
    for (const check of checks) {
      await check(scene).catch(error => Promise.reject(new Error(`${check.name}: ${error.stack}`)));
      assert.deepEqual(complaints, [], `${check.name}: the console is not clean`);
      assert.deepEqual(strangers, [], `${check.name}: the page asked other hosts`);
      console.log("ok    ", check.name);
    }
  } finally {
    input.close();
    await browser.close();
  }
}

const [base, folder, option] = process.argv.slice(2);
if (!base || !folder || (option && option !== "--restart")) {
  console.error("usage: browser.mjs http://HOST:PORT FOLDER [--restart]");
  process.exit(2);
}
setTimeout(() => {
  console.log(`FAILED the checks took more than ${ALL_MS} ms`);
  process.exit(1);
}, ALL_MS).unref();
await run(new URL(base).href, folder, option === "--restart").catch(error => {
  console.log("FAILED", error.message);
  process.exitCode = 1;
});
