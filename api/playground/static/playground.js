"use strict";
// What the pages do beyond what they can do without a script. Nothing is kept
// in the browser, and what a model answers becomes HTML on the server only.

// After a logout the back button must show nothing: a page that the browser
// kept is asked for again.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// The last step of a logout sends itself.
document.querySelector("form[data-send]")?.submit();

const fields = document.getElementById("predict");
const editor = document.getElementById("edit");
const result = document.getElementById("result");

function make(name, properties, ...children) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

// The elements of a tensor as JSON, of what stands in the fields. As text, since
// a number of the script can't hold each INT64. Throws where there is no number.
const toJSON = {
  boolean: (value) => value,
  whole: (value) => BigInt(value.trim() || "none").toString(),
  decimal: (value) => {
    if (value.trim() === "" || !Number.isFinite(Number(value))) throw new SyntaxError("not a number");
    return String(Number(value));
  },
  text: (value) => JSON.stringify(value),
};

// requestOfFields is the request as the server would make it.
function requestOfFields() {
  const inputs = [...fields.querySelectorAll("fieldset")].map((input) => {
    const elements = [...input.querySelectorAll("[name]")].map((field) => toJSON[field.closest("[data-kind]").dataset.kind](field.value));
    return input.dataset.head + elements.join(",") + "]}";
  });
  return `{"inputs":[${inputs.join(",\n ")}]}`;
}

// literal makes JSON that can stand within the quotes of a shell, Go, Python and JavaScript.
const literal = (request) =>
  request.replace(/['`$\u007f-\uffff]/g, (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"));

let request = editor?.elements.request.value; // as it stands on the page
let answered = null; // the request of the answer on the page
let waiting = false;

function changed(now) {
  request = now;
  for (const span of document.querySelectorAll("pre [data-request]")) span.textContent = literal(request);
  markStale();
}

// markStale says so where the answer is not of the request.
function markStale() {
  const stale = !waiting && answered !== null && answered !== request;
  result.classList.toggle("stale", stale);
  result.querySelector(".note")?.remove();
  if (stale) result.prepend(make("p", { className: "note", textContent: "The values have changed since this answer. Send them again." }));
}

fields?.addEventListener("input", () => {
  try { changed(requestOfFields()); } catch { return; } // a number that is half typed
  editor.elements.request.value = request;
  editor.elements.request.setCustomValidity("");
});

editor?.addEventListener("input", () => {
  const text = editor.elements.request;
  let problem = "";
  try { JSON.parse(text.value); } catch (e) { problem = "This is not JSON: " + e.message; }
  text.setCustomValidity(problem);
  if (!problem) changed(text.value);
});

// A number with a range has a slider beside it.
for (const input of fields?.querySelectorAll("input[data-min]") ?? []) {
  const { min, max, step } = input.dataset;
  const slider = make("input", { type: "range", min, max, step, value: input.value, ariaLabel: input.labels[0].textContent + ", slider" });
  slider.addEventListener("input", () => { input.value = slider.value; });
  input.addEventListener("input", () => { slider.value = input.value; });
  input.after(slider);
}

for (const form of [fields, editor]) form?.addEventListener("submit", (event) => { event.preventDefault(); send(form); });

async function send(form) {
  if (waiting) return;
  try { if (form === fields) changed(requestOfFields()); } catch { /* the server says what is wrong */ }
  const sent = request;
  const button = form.querySelector("button");
  waiting = true;
  answered = sent;
  button.ariaBusy = result.ariaBusy = "true";
  show(make("p", { className: "faint", textContent: "Sent. Waiting for the model…" }));
  try {
    const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "error" });
    receive(response.status, new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    fail("The API could not be reached. Check the connection, then try again.");
  }
  waiting = false;
  button.ariaBusy = result.ariaBusy = "false";
  markStale();
}

function show(...children) {
  result.classList.remove("stale");
  result.replaceChildren(...children);
}

function fail(text) { show(make("p", { className: "failure", textContent: text })); }

// receive takes over what a page says that came as an answer.
function receive(status, page) {
  const fresh = page.getElementById("result");
  if (status === 401 && !fresh) {
    ended();
  } else if (fresh) {
    show(...fresh.childNodes);
    // Who is signed in may have changed, and how long the session lasts.
    for (const part of ["header", "nav.models", "aside"]) document.querySelector(part)?.replaceWith(page.querySelector(part));
  } else {
    const said = [...page.querySelectorAll("main h1, main > p:not(.actions)")].map((e) => e.textContent.trim());
    fail(said.join(". ").replace(/\.\.+/g, ".") || "The answer can't be read. Try again.");
  }
}

// ended leaves nothing of the person on the page but what they typed.
function ended() {
  for (const part of ["header .account", "nav.models", "aside"]) document.querySelector(part)?.replaceChildren();
  show(document.getElementById("ended").content.cloneNode(true));
  answered = null;
}

// Copy buttons, which need the script.
if (navigator.clipboard) {
  for (const code of document.querySelectorAll(".code")) {
    const pre = code.querySelector("pre");
    const button = make("button", { type: "button", className: "copy quiet", textContent: "Copy", ariaLabel: "Copy: " + pre.ariaLabel });
    button.addEventListener("click", async () => {
      let said = "Copied";
      try { await navigator.clipboard.writeText(pre.textContent); } catch { said = "Select and copy by hand"; }
      button.textContent = said;
      document.getElementById("copied").textContent = said;
      setTimeout(() => { button.textContent = "Copy"; document.getElementById("copied").textContent = ""; }, 2000);
    });
    code.prepend(button);
  }
}

// What is left of the session.
const count = (n, unit) => (n === 1 ? `1 ${unit}` : `${n} ${unit}s`);
setInterval(() => {
  const left = document.getElementById("left");
  if (!left) return;
  const minutes = Math.round((Date.parse(left.dateTime) - Date.now()) / 60000);
  if (minutes < 0) { ended(); return; }
  const parts = [];
  if (minutes >= 60) parts.push(count(Math.floor(minutes / 60), "hour"));
  if (minutes % 60 || minutes < 60) parts.push(count(Math.max(1, minutes % 60), "minute"));
  left.textContent = parts.join(" ");
}, 30000);

// The browser may have kept the fields over a reload.
fields?.dispatchEvent(new Event("input"));
if (result?.querySelector(".failure, details")) answered = request;
