// [data-live=SECONDS] on a part with hx-get: it loads again that often, while the tab is visible and the part not hidden.
// At most 12 such requests a minute from a page. It stops when the part holds [data-live-stop], slows down while it
// fails, and is as often as [data-live-every=SECONDS] in the part says, if it is there. What is the same as before is not
// swapped, so that neither focus nor selection is lost; nothing is while text in it is selected.
import htmx from "./htmx.js";
import { isLive } from "./requests.js";

const MOST_A_MINUTE = 12;
const sent = [];
const states = new WeakMap();

function stateOf(part) {
  if (!states.has(part)) states.set(part, { due: Date.now() + seconds(part) * 1000, failures: 0, text: null, busy: false });
  return states.get(part);
}

function seconds(part) {
  const every = part.querySelector("[data-live-every]")?.dataset.liveEvery ?? part.dataset.live;
  return Math.max(1, Number(every) || 6);
}

function isWorkedOn(part) {
  const focused = document.activeElement;
  const selection = getSelection();
  if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) return true;
  return part.querySelector("dialog[open], details[open]") || (part.contains(focused) && focused.matches("input, select, textarea"));
}

async function look(part, state) {
  state.busy = true;
  const options = { source: part, target: part, headers: { "X-Ghasi-Live": "1" } };
  try {
    await htmx.ajax("GET", part.getAttribute("hx-get"), { ...options, swap: part.getAttribute("hx-swap") ?? "innerHTML" });
  } catch {
    state.failures += 1;
  }
  state.busy = false;
  state.due = Date.now() + Math.min(seconds(part) * 2 ** state.failures, 60) * 1000;
}

setInterval(() => {
  if (document.visibilityState !== "visible") return;
  while (sent.length && sent[0] < Date.now() - 60000) sent.shift();
  for (const part of document.querySelectorAll("[data-live][hx-get]")) {
    const state = stateOf(part);
    if (state.busy || Date.now() < state.due || part.closest("[hidden]") || part.querySelector("[data-live-stop]") || isWorkedOn(part)) continue;
    if (sent.length < MOST_A_MINUTE) look(part, state);
  }
}, 1000);

// those that another part's answer asks for count as well
document.addEventListener("htmx:beforeSend", ({ detail }) => {
  if (detail.elt.matches("[data-live]")) sent.push(Date.now());
});

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const part = detail.target.closest?.("[data-live]");
  if (part !== detail.target) return;
  const state = stateOf(part);
  if (isLive(detail)) {
    state.failures = detail.xhr.status >= 400 ? state.failures + 1 : 0;
    if (detail.xhr.status < 400 && state.text === detail.serverResponse) detail.shouldSwap = false;
  }
  if (detail.xhr.status < 400) state.text = detail.serverResponse;
});
