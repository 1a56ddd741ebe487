"use strict";
// The page of a language model. It runs after playground.js, whose functions it
// uses. What a model says becomes text, and elements that this script makes: never
// HTML of the model's, no images, nothing that is loaded from elsewhere.

const ask = document.getElementById("ask");
const turns = document.getElementById("turns");
const stopButton = document.getElementById("stop");
const anewButton = document.getElementById("anew");
const action = ask.dataset.action;
const talks = action === "chat" || action === "messages";
let messages = []; // of the conversation
let running = null; // AbortController of the request that is under way

// ---- Text of a model

// shownText writes what a reader can't see, or what changes the order of what they
// see, as an escape (Trojan Source, CVE-2021-42574).
const shownText = (text) => text.replace(/[^\n\t\u200c\u200d\P{Cc}]|[^\u200c\u200d\P{Cf}]|[\u2028\u2029]/gu,
  (found) => [...Array(found.length).keys()].map((i) => "\\u" + found.charCodeAt(i).toString(16).padStart(4, "0")).join(""));

// link is one that asks before it leads anywhere, and says where.
function link(text, address) {
  let url;
  try { url = new URL(address); } catch { return text + " (" + address + ")"; }
  if (url.protocol !== "https:" && url.protocol !== "http:") return text + " (" + address + ")";
  const element = make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", textContent: text });
  element.addEventListener("click", (event) => {
    if (!confirm("The model made this link. It leads to\n\n" + url.href + "\n\nOpen it?")) event.preventDefault();
  });
  return element;
}

// spans are the parts of one line of Markdown.
const spans = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|!\[([^\]]*)\]\(([^)\s]+)[^)]*\)|\[([^\]]+)\]\(([^)\s]+)[^)]*\)/g;

// inline makes the nodes of one line.
function inline(line) {
  const nodes = [];
  let from = 0;
  for (const found of line.matchAll(spans)) {
    nodes.push(line.slice(from, found.index));
    from = found.index + found[0].length;
    const [, code, strong, emphasis, picture, source, text, address] = found;
    if (code !== undefined) nodes.push(make("code", { textContent: code }));
    else if (strong !== undefined) nodes.push(make("strong", {}, ...inline(strong)));
    else if (emphasis !== undefined) nodes.push(make("em", {}, ...inline(emphasis)));
    else if (source !== undefined) nodes.push(`[image: ${picture || "without words"}, ${source}]`);
    else nodes.push(link(text, address));
  }
  nodes.push(line.slice(from));
  return nodes;
}

// The first characters of a line that is more than text.
const heading = /^(#{1,6})\s+(.*)$/;
const item = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const fence = /^\s*(```|~~~)/;

// markdown makes the elements of what a model wrote: headings, lists, code and
// paragraphs. Everything else, HTML too, is the text that it is.
function markdown(text) {
  const blocks = [];
  const lines = shownText(text).split("\n");
  for (let i = 0; i < lines.length;) {
    let found;
    if ((found = fence.exec(lines[i]))) {
      const code = [];
      for (i++; i < lines.length && !lines[i].trim().startsWith(found[1]); i++) code.push(lines[i]);
      i++; // the fence below, or the end of what has come yet
      blocks.push(make("pre", { tabIndex: 0 }, make("code", { textContent: code.join("\n") })));
    } else if ((found = heading.exec(lines[i]))) {
      blocks.push(make("h" + Math.min(6, found[1].length + 2), {}, ...inline(found[2])));
      i++;
    } else if ((found = item.exec(lines[i]))) {
      const list = make(found[1] === undefined ? "ul" : "ol", found[1] === undefined ? {} : { start: Number(found[1]) });
      for (; i < lines.length && (found = item.exec(lines[i])); i++) list.append(make("li", {}, ...inline(found[2])));
      blocks.push(list);
    } else if (lines[i].trim() === "") {
      i++;
    } else {
      const paragraph = make("p", {});
      for (; i < lines.length && lines[i].trim() !== "" && ![fence, heading, item].some((kind) => kind.test(lines[i])); i++) {
        if (paragraph.hasChildNodes()) paragraph.append(make("br", {}));
        paragraph.append(...inline(lines[i]));
      }
      blocks.push(paragraph);
    }
  }
  return blocks;
}

// ---- Requests

const setting = (name) => ask.elements[name]?.value.trim() ?? "";

// requestNow is the request for the messages so far and what stands in the form. A
// message that is empty is the example's.
function requestNow(typed) {
  const request = { model: ask.dataset.model };
  if (setting("tokens")) request.max_tokens = Number(setting("tokens"));
  if (setting("temperature")) request.temperature = Number(setting("temperature"));
  switch (action) {
    case "chat":
      request.messages = [...messages, { role: "user", content: typed || "Hello!" }];
      if (setting("system")) request.messages.unshift({ role: "system", content: setting("system") });
      break;
    case "messages":
      request.messages = [...messages, { role: "user", content: typed || "Hello!" }];
      if (setting("system")) request.system = setting("system");
      break;
    case "completions":
      request.prompt = typed || "Once upon a time";
      break;
    default:
      request.input = (typed || "A cat sat on a mat.\nA feline was resting on a rug.").split("\n").filter((line) => line.trim() !== "");
  }
  return request;
}

function showRequest() {
  const text = literal(JSON.stringify(requestNow(ask.elements.prompt.value)));
  for (const span of document.querySelectorAll("pre [data-request]")) span.textContent = text;
}

ask.addEventListener("input", showRequest);
ask.elements.prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && action !== "embeddings") { event.preventDefault(); ask.requestSubmit(); }
});
stopButton.addEventListener("click", () => running?.abort());
anewButton?.addEventListener("click", () => {
  messages = [];
  turns.replaceChildren();
  show();
  anewButton.hidden = true;
  showRequest();
  ask.elements.prompt.focus();
});
ask.addEventListener("submit", (event) => { event.preventDefault(); if (!running) say(); });

// turn adds what one side says to the log, and returns where it stands.
function turn(who) {
  const said = make("div", { className: "said" });
  turns.append(make("div", { className: "turn " + who }, make("h3", { textContent: who === "you" ? "You" : "Model" }), said));
  turns.scrollTop = turns.scrollHeight;
  return said;
}

async function say() {
  const typed = ask.elements.prompt.value;
  const request = requestNow(typed);
  document.getElementById("nothing")?.remove();
  if (!talks) turns.replaceChildren();
  show();
  if (talks) turn("you").append(...markdown(typed));
  const answer = turn("model");
  running = new AbortController();
  busy(true);
  const heard = { text: "", usage: null };
  try {
    await hear(request, heard, () => answer.replaceChildren(...markdown(heard.text)));
  } catch (problem) {
    if (problem.name === "AbortError") show(make("p", { className: "note", textContent: "You stopped the answer." }));
    else if (problem instanceof Refused) problem.tell();
    else fail(heard.text ? "The answer broke off: " + problem.message : "The API could not be reached. Check the connection, then try again.");
  }
  running = null;
  busy(false);
  tellUsage(heard.usage);
  if (heard.text === "" && !answer.hasChildNodes()) {
    answer.parentElement.remove();
    if (talks) turns.lastElementChild?.remove(); // nothing of it counts
  } else if (talks) {
    messages.push({ role: "user", content: typed }, { role: "assistant", content: heard.text });
    ask.elements.prompt.value = "";
    anewButton.hidden = false;
  }
  showRequest();
}

function busy(is) {
  ask.querySelector("button").ariaBusy = turns.ariaBusy = String(is);
  stopButton.hidden = !is;
}

// Refused is an answer of the API or the model's server that is no success.
class Refused extends Error {
  constructor(status, challenge, body) {
    super(shownText(body?.error?.message ?? (typeof body?.error === "string" ? body.error : "")));
    Object.assign(this, { status, challenge });
  }
  tell() {
    if (this.challenge.includes("insufficient_user_authentication")) show(document.getElementById("weak").content.cloneNode(true));
    else if (this.status === 401) ended();
    else fail(this.message || "The model's server refused the request with status " + this.status + ".");
  }
}

// hear sends the request and reads its answer into heard. news is called as often
// as there is some.
async function hear(request, heard, news) {
  const sent = { ...request };
  if ("stream" in ask.dataset) sent.stream = true;
  if (sent.stream && action !== "messages") sent.stream_options = { include_usage: true };
  const headers = { "Content-Type": "application/json" };
  if (action === "messages") headers["anthropic-version"] = "2023-06-01";
  const response = await fetch(ask.dataset.path, { method: "POST", headers, body: JSON.stringify(sent), redirect: "error", signal: running.signal });
  tellQuota(response.headers.get("RateLimit"));
  if (!response.ok) {
    throw new Refused(response.status, response.headers.get("WWW-Authenticate") ?? "", await response.json().catch(() => null));
  }
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    take(await response.json(), heard);
    if (action === "embeddings") return;
    news();
    return;
  }
  let waiting = "";
  let drawn = 0;
  for await (const chunk of chunks(response.body.pipeThrough(new TextDecoderStream()))) {
    const events = (waiting + chunk).replaceAll("\r\n", "\n").split("\n\n");
    waiting = events.pop();
    for (const event of events) takeEvent(event, heard);
    if (performance.now() - drawn > 50) { news(); drawn = performance.now(); }
  }
  news();
}

// chunks yields what a stream gives, also where streams can't be iterated.
async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function takeEvent(event, heard) {
  const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, "")).join("\n");
  if (data === "" || data === "[DONE]") return;
  const said = JSON.parse(data);
  if (said.error) throw new Error(shownText(said.error.message ?? String(said.error)));
  take(said, heard);
}

// take adds one message of the answer: a whole one, or a part of a stream.
function take(said, heard) {
  heard.usage = { ...heard.usage, ...said.message?.usage, ...said.usage };
  if (action === "embeddings") {
    vectors(said.data ?? []);
    return;
  }
  for (const choice of (said.choices ?? []).slice(0, 1)) heard.text += choice.delta?.content ?? choice.message?.content ?? choice.text ?? "";
  if (said.delta?.type === "text_delta") heard.text += said.delta.text;
  if (Array.isArray(said.content)) for (const part of said.content) if (part.type === "text") heard.text += part.text;
}

// vectors shows embeddings: their sizes, their first numbers, and how alike each
// text is to the first.
function vectors(data) {
  const texts = requestNow(ask.elements.prompt.value).input;
  const all = data.map((entry) => entry.embedding).filter(Array.isArray);
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
  const alike = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const rows = all.map((vector, i) => make("tr", {},
    make("th", { scope: "row", textContent: shownText(texts[i] ?? "") }),
    make("td", { textContent: String(vector.length) }),
    make("td", {}, make("code", { textContent: vector.slice(0, 4).map((x) => Number(x).toPrecision(3)).join(", ") + (vector.length > 4 ? ", …" : "") })),
    make("td", { textContent: alike(all[0], vector).toFixed(3) })));
  const head = make("tr", {}, ...["Text", "Numbers", "First ones", "Like the first text"].map((name) => make("th", { scope: "col", textContent: name })));
  turns.lastElementChild.querySelector(".said").replaceChildren(make("div", { className: "wide" }, make("table", { className: "vectors" }, make("thead", {}, head), make("tbody", {}, ...rows))));
}

// ---- What was used, and what is left

const usage = document.getElementById("usage");

// row sets one line of "Your use".
function row(name, text) {
  document.getElementById("used").hidden = false;
  let line = [...usage.children].find((child) => child.dataset.name === name);
  if (!line) {
    line = make("div", {}, make("dt", { textContent: name }), make("dd", {}));
    line.dataset.name = name;
    usage.append(line);
  }
  line.querySelector("dd").textContent = text;
}

let total = 0;
function tellUsage(used) {
  if (!used) return;
  const asked = used.prompt_tokens ?? used.input_tokens ?? 0;
  const said = used.completion_tokens ?? used.output_tokens ?? 0;
  if (!asked && !said) return;
  total += asked + said;
  row("Tokens of the last answer", `${asked} in, ${said} out`);
  row("Tokens on this page", String(total));
}

// tellQuota reads RateLimit (draft-ietf-httpapi-ratelimit-headers-10, section 4),
// as the API writes it: "requests-minute";r=59;t=60, …
function tellQuota(header) {
  for (const [, name, left, seconds] of (header ?? "").matchAll(/"([^"]+)";r=(\d+);t=(\d+)/g)) {
    const [, kind, span, owner] = /^(\w+)-(\w+)(.*)$/.exec(name) ?? [, name, "", ""];
    row(`Left of ${kind} a ${span}${owner}`, `${left}, until ${Number(seconds) < 120 ? seconds + " seconds" : Math.round(seconds / 60) + " minutes"} from the last request`);
  }
}

showRequest();
