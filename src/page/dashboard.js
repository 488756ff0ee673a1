const ssePath = "{{SSE_PATH}}";
const known = new Map();
const rates = new Array(60).fill(0);
let source, lastId = "", total = 0, gapCount = 0, reconnectCount = 0, again;

function tab(name) {
  for (const view of ["chat", "dashboard"]) {
    $(view).hidden = view !== name;
    $(view + "-tab").setAttribute("aria-selected", String(view === name));
  }
}

function line(parts, className = "") {
  const item = Object.assign(document.createElement("li"), { className });
  for (const [tag, text] of parts) item.append(Object.assign(document.createElement(tag), { textContent: text }));
  return item;
}

function note(text) {
  $("notes").prepend(line([["small", new Date().toLocaleTimeString()], ["b", text]]));
  while ($("notes").children.length > 50) $("notes").lastChild.remove();
}

function streamState(text, className) {
  $("stream-state").textContent = text;
  $("stream-state").className = className;
  $("stream-toggle").textContent = source || again ? "Stop" : "Listen";
}

const wantedChannels = () => $("stream-channels").value.split(/\s+/).filter(Boolean);

function streamUrl(since) {
  const query = wantedChannels().map(name => "channel=" + encodeURIComponent(name));
  if (since) query.push("last_event_id=" + encodeURIComponent(since));
  return location.origin + ssePath + "?" + query.join("&");
}

function onPublication(event, publication) {
  const channel = known.get(publication.channel) || { count: 0 };
  known.delete(publication.channel);
  known.set(publication.channel, {
    count: channel.count + 1,
    offset: publication.offset,
    from: publication.from,
    time: new Date().toLocaleTimeString(),
    // A long message is shown by its beginning.
    data: JSON.stringify(publication.data).slice(0, 500),
  });
  while (known.size > 100) known.delete(known.keys().next().value);
}

function onEvent(event) {
  total += 1;
  rates[rates.length - 1] += 1;
  if (event.lastEventId) lastId = event.lastEventId;
  let value;
  try {
    value = JSON.parse(event.data);
  } catch {
    return note("an event that is no JSON: " + event.data.slice(0, 100));
  }
  if (value && value.type === "message") return onPublication(event, value);
  if (event.type === "gap" || (value && value.type === "gap")) {
    gapCount += 1;
    return note("gap: some messages were lost in " + [value.channels ?? value.channel].flat().join(", "));
  }
  note(event.data.slice(0, 200));
}

function listen() {
  clearTimeout(again);
  again = undefined;
  source = new EventSource(streamUrl(lastId));
  source.onopen = () => {
    streamState("listening", "open");
    note("connected");
  };
  source.onmessage = onEvent;
  source.addEventListener("gap", onEvent);
  source.onerror = () => {
    reconnectCount += 1;
    if (source.readyState === EventSource.CONNECTING) {
      note("the connection was lost, the browser comes back with the last event id");
      return streamState("reconnecting…", "closed");
    }
    // An answer other than a stream ends it for good: only the page can try again.
    source = undefined;
    again = setTimeout(listen, 5000);
    streamState("refused, trying again…", "closed");
  };
  streamState("connecting…", "closed");
}

function stop() {
  clearTimeout(again);
  if (source) source.close();
  again = source = undefined;
  streamState("not listening", "closed");
}

function draw() {
  const highest = Math.max(1, ...rates);
  $("spark").setAttribute("points", rates.map((rate, at) => at + "," + (19 - (rate / highest) * 18)).join(" "));
  $("rate").textContent = rates[rates.length - 1];
  rates.shift();
  rates.push(0);
}

function count() {
  const figures = { events: total, gaps: gapCount, reconnects: reconnectCount, "last-id": lastId || "–" };
  for (const [id, figure] of Object.entries(figures)) $(id).textContent = figure;
  $("last-id").title = lastId;
  if (!known.size) return;
  const newestFirst = [...known].reverse();
  $("channels").replaceChildren(...newestFirst.map(([name, channel]) => line([
    ["b", name],
    ["small", channel.count + (channel.count === 1 ? " message, offset " : " messages, offset ") + channel.offset],
    ["small", channel.time + (channel.from ? " from " + channel.from.slice(-8) : "")],
    ["span", channel.data],
  ])));
}

const shell = text => "'" + text.replaceAll("'", "'\\''") + "'";
const php = text => "'" + text.replace(/[\\']/g, "\\$&") + "'";

function snippets() {
  const channel = wantedChannels()[0] || "lobby";
  const api = location.origin + "/api/publish";
  const body = JSON.stringify({ channel, data: { text: "Hello" } });
  const name = JSON.stringify(channel);
  const publishing = {
    "curl: publish": `curl ${shell(api)} -H "X-API-Key: $REALTIME_API_KEY" \\\n  -H 'Content-Type: application/json' -d ${shell(body)}`,
    "JavaScript: WebSocket": `const socket = new WebSocket(${JSON.stringify(url)});\n`
      + `socket.onmessage = ({ data }) => console.log(JSON.parse(data));\n`
      + `socket.onopen = () => {\n  socket.send(JSON.stringify({ type: "join", channel: ${name} }));\n`
      + `  socket.send(JSON.stringify({ type: "publish", channel: ${name}, data: { text: "Hello" } }));\n};`,
    "PHP: publish": `<?php\n$request = stream_context_create(['http' => [\n    'method' => 'POST',\n`
      + `    'header' => ['Content-Type: application/json', 'X-API-Key: ' . getenv('REALTIME_API_KEY')],\n`
      + `    'content' => json_encode(['channel' => ${php(channel)}, 'data' => ['text' => 'Hello']]),\n]]);\n`
      + `echo file_get_contents(${php(api)}, false, $request);`,
    "Python: publish": `import json, os, urllib.request\n\n`
      + `body = json.dumps({"channel": ${name}, "data": {"text": "Hello"}}).encode()\n`
      + `headers = {"Content-Type": "application/json", "X-API-Key": os.environ["REALTIME_API_KEY"]}\n`
      + `request = urllib.request.Request(${JSON.stringify(api)}, body, headers)\n`
      + `print(urllib.request.urlopen(request).read().decode())`,
  };
  if (ssePath === null) return publishing;
  return {
    "curl: listen": `curl -N ${shell(streamUrl())}`,
    "JavaScript: EventSource": `const source = new EventSource(${JSON.stringify(streamUrl())});\n`
      + `source.onmessage = ({ data }) => console.log(JSON.parse(data));\n`
      + `source.addEventListener("gap", ({ data }) => console.warn("lost", data));`,
    ...publishing,
  };
}

async function copy(button, pre) {
  try {
    await navigator.clipboard.writeText(pre.textContent);
  } catch {
    // Only secure contexts have a clipboard: what is selected can be copied by hand anywhere.
    getSelection().selectAllChildren(pre);
    return void (button.textContent = "Selected");
  }
  button.textContent = "Copied";
}

function offerSnippets() {
  const opened = new Set([...document.querySelectorAll(".snippet[open] summary")].map(title => title.textContent));
  $("snippets").replaceChildren(...Object.entries(snippets()).map(([title, text]) => {
    const box = Object.assign(document.createElement("details"), { className: "snippet", open: opened.has(title) });
    const pre = Object.assign(document.createElement("pre"), { textContent: text });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
    button.addEventListener("click", () => copy(button, pre));
    box.append(Object.assign(document.createElement("summary"), { textContent: title }), pre, button);
    return box;
  }));
}

$("listen").addEventListener("submit", submitted => {
  submitted.preventDefault();
  if (source || again) return stop();
  if (wantedChannels().length) listen();
});
$("stream-channels").addEventListener("input", () => {
  // A cursor of other channels says nothing about these.
  lastId = "";
  if (source || again) stop();
  offerSnippets();
});
$("chat-tab").addEventListener("click", () => tab("chat"));
$("dashboard-tab").addEventListener("click", () => tab("dashboard"));
if (ssePath === null) {
  $("stream-toggle").disabled = true;
  streamState("Server-Sent Events are off on this server (SSE_ENABLED=false).", "closed");
} else {
  setInterval(draw, 1000);
  setInterval(count, 250);
}
if (location.hash === "#dashboard") tab("dashboard");
offerSnippets();
