"use strict";
const $ = id => document.getElementById(id);
const path = "{{WEBSOCKET_PATH}}";
const url = location.origin.replace(/^http/, "ws") + path;
let socket, channel = "", wanted = "", mine = "", wait = 500, pinged = 0;

$("name").value = "guest-" + Math.floor(Math.random() * 9000 + 1000);

function show(className, who, text, detail) {
  const line = document.createElement("li");
  line.className = className;
  if (who) line.append(Object.assign(document.createElement("b"), { textContent: who }));
  // An element of its own: a direction mark in one person's text turns nothing around it.
  line.append(Object.assign(document.createElement("span"), { textContent: text }));
  if (detail) line.append(Object.assign(document.createElement("small"), { textContent: detail }));
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(line);
  while (log.children.length > 500) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const say = message => socket.readyState === 1 && socket.send(JSON.stringify(message));

function state(text, className) {
  $("state").textContent = text;
  $("state").className = className;
  $("send").disabled = className !== "open";
}

function ping() {
  pinged = performance.now();
  say({ type: "ping", id: "p" });
}

const events = {
  welcome(event) {
    mine = event.connection;
    $("shard").textContent = event.shard;
    // The end tells connections apart; the whole is in the title.
    $("connection").textContent = "…" + event.connection.slice(-8);
    $("connection").title = event.connection;
    state("connected", "open");
    wait = 500;
    channel = wanted = "";
    join();
    ping();
  },
  joined(event) {
    // Answers of different homes may overtake each other: the last wish counts.
    if (event.channel !== wanted) return say({ type: "leave", channel: event.channel });
    if (channel && channel !== wanted) say({ type: "leave", channel });
    channel = event.channel;
    $("offset").textContent = event.offset;
    show("note", "", "You are in " + event.channel + ".");
  },
  message(event) {
    if (event.channel !== channel) return;
    $("offset").textContent = event.offset;
    const own = event.from === mine;
    const data = event.data || {};
    const took = own && data.sent ? (performance.now() - data.sent).toFixed(1) + " ms" : "";
    show(own ? "mine" : "", String(data.name || event.from), String(data.text ?? JSON.stringify(data)), took);
  },
  gap(event) {
    show("note", "", "Some messages in " + event.channel + " were lost.");
  },
  pong() {
    $("latency").textContent = (performance.now() - pinged).toFixed(1) + " ms";
  },
  error(event) {
    if (event.id === "j") $("channel").value = wanted = channel;
    show("note", "", event.message);
  },
};

function join() {
  const name = $("channel").value.trim();
  if (!name || name === wanted) return;
  wanted = name;
  say({ type: "join", channel: name, id: "j" });
}

function connect() {
  socket = new WebSocket(url);
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (Object.hasOwn(events, event.type)) events[event.type](event);
  };
  socket.onclose = ({ code }) => {
    state("disconnected (" + code + "), trying again…", "closed");
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, 15000);
  };
}

$("channel").addEventListener("change", join);
$("form").addEventListener("submit", submitted => {
  submitted.preventDefault();
  join();
  const text = $("text").value.trim();
  if (!text) return;
  const data = { name: $("name").value.trim() || "guest", text, sent: performance.now() };
  say({ type: "publish", channel: $("channel").value.trim(), data });
  $("text").value = "";
});
setInterval(ping, 2000);
connect();
