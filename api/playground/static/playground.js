"use strict";
// What the pages do beyond what they can do without a script. Nothing is kept
// in the browser.

// After a logout the back button must show nothing: a page that the browser
// kept is asked for again.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// The last step of a logout sends itself.
document.querySelector("form[data-send]")?.submit();

const form = document.getElementById("predict");
if (form) {
  const request = JSON.parse(form.dataset.request);

  const show = () => {
    const row = [...form.querySelectorAll("input[type=range]")].map((input) => {
      form.querySelector(`[data-value-of="${CSS.escape(input.id)}"]`).textContent = input.value;
      return Number(input.value);
    });
    request.inputs[0].data = row;
    // Within the quotes of a shell, Go or Python, as the server writes it.
    const body = JSON.stringify(request).replaceAll("'", "\\u0027").replaceAll("`", "\\u0060");
    for (const span of document.querySelectorAll("pre [data-request]")) span.textContent = body;
    return body;
  };
  form.addEventListener("input", show);
  show(); // the browser may have kept the sliders over a reload

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      const response = await fetch(form.dataset.url, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: show(), redirect: "error",
      });
      if (response.status === 401) { location.reload(); return; }
      const answer = await response.json();
      if (response.ok) showAnswer(answer); else showFailure(answer.error);
    } catch {
      showFailure("The API could not be reached. Check the connection, then try again.");
    } finally {
      button.ariaBusy = "false";
    }
  });
}

const result = document.getElementById("result");

function make(name, properties, ...children) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

function showFailure(text) {
  result.replaceChildren(make("p", { className: "failure", textContent: text || "The model did not answer. Try again later." }));
}

function showAnswer(answer) {
  const classes = result.dataset.classes.split(",");
  const parts = [];
  for (const { data } of answer.outputs) {
    if (data.length === 1 && typeof data[0] === "string") {
      parts.unshift(make("p", { className: "headline", textContent: data[0] }));
    } else if (data.length === classes.length && typeof data[0] === "number") {
      parts.push(bars(classes, data));
    }
  }
  if (!parts.some((part) => part.className === "bars")) {
    parts.push(make("pre", { tabIndex: 0 }, make("code", { textContent: JSON.stringify(answer, null, 1) })));
  }
  result.replaceChildren(...parts);
}

function bars(classes, values) {
  const head = make("tr", {}, ...["Class", "Bar", "Probability"].map((text) => make("th", { scope: "col", textContent: text })));
  const rows = classes.map((name, i) => {
    const percent = (100 * values[i]).toFixed(1);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("aria-hidden", "true");
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("width", percent + "%");
    rect.setAttribute("height", "100%");
    rect.setAttribute("rx", "4");
    svg.append(rect);
    return make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { className: "bar" }, svg),
      make("td", { className: "percent", textContent: percent + " %" }));
  });
  return make("table", { className: "bars" }, make("caption", { className: "hidden", textContent: "Probability of each class" }),
    make("thead", { className: "hidden" }, head), make("tbody", {}, ...rows));
}

// Copy buttons, which need the script.
if (navigator.clipboard) {
  for (const code of document.querySelectorAll(".code")) {
    const language = code.closest("details").querySelector("summary").textContent;
    const button = make("button", { type: "button", className: "copy quiet", textContent: "Copy", ariaLabel: `Copy the request as ${language}` });
    button.addEventListener("click", async () => {
      let said = "Copied";
      try { await navigator.clipboard.writeText(code.querySelector("pre").textContent); } catch { said = "Select and copy by hand"; }
      button.textContent = said;
      document.getElementById("copied").textContent = said;
      setTimeout(() => { button.textContent = "Copy"; document.getElementById("copied").textContent = ""; }, 2000);
    });
    code.prepend(button);
  }
}

// What is left of the session.
const left = document.getElementById("left");
if (left) {
  const ends = Date.parse(left.dateTime);
  const count = (n, unit) => (n === 1 ? `1 ${unit}` : `${n} ${unit}s`);
  setInterval(() => {
    const minutes = Math.round((ends - Date.now()) / 60000);
    if (minutes < 0) location.reload();
    const parts = [];
    if (minutes >= 60) parts.push(count(Math.floor(minutes / 60), "hour"));
    if (minutes % 60 || minutes < 60) parts.push(count(Math.max(1, minutes % 60), "minute"));
    left.textContent = parts.join(" ");
  }, 30000);
}
