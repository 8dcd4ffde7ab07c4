// What surrounds htmx's requests: toasts, trying again, the progress bar, one submission at a time, the way to sign in.
//
// Events by HX-Trigger: toast (see toasts.js), refresh: "#selector" (those parts load again), closeDialog.
// [data-retry]: a button that repeats the request whose failure stands where it is.
// #part-error: a template, shown in a part that got no answer at all.
import htmx from "./htmx.js";
import { keepForms } from "./keeping.js";
import { toast } from "./toasts.js";

const UNREACHABLE = "Ghasi cannot be reached right now. Please try again in a moment.";
const latest = new WeakMap(); // element -> its last request
const failed = new WeakMap(); // target -> the request that failed there
const told = new WeakSet(); // live parts that fail: it was said once
let underway = 0;

export function isLive(detail) {
  return detail?.requestConfig?.headers?.["X-Ghasi-Live"] === "1";
}

function repeat(request) {
  const source = request.elt.isConnected ? request.elt : document.body;
  const target = request.target.isConnected ? request.target : source;
  const { verb, path, values } = request;
  htmx.ajax(verb, path, { source, target, values, swap: request.swap });
}

function swapOf(element) {
  return element.closest("[hx-swap]")?.getAttribute("hx-swap") ?? undefined;
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const values = new FormData();
  for (const [name, value] of detail.formData) values.append(name, value);
  const { elt, target, verb, path } = detail;
  const live = detail.headers["X-Ghasi-Live"] === "1";
  latest.set(elt, { elt, target, verb, path, values, live, swap: swapOf(elt) });
});

// ---- one submission at a time, and the bar

function setBusy(element, isBusy) {
  const form = element instanceof HTMLFormElement ? element : null;
  const buttons = form ? form.querySelectorAll("button:not([type=button])") : element.matches("button") ? [element] : [];
  if (form) form.toggleAttribute("data-busy", isBusy);
  for (const button of buttons) {
    if (isBusy) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  }
}

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.hasAttribute("data-busy")) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    const byHtmx = form.matches("[hx-get], [hx-post], [hx-put], [hx-patch], [hx-delete]");
    // after the event, so that the button's own value is still sent
    if (!byHtmx && form.method === "post") setTimeout(() => event.defaultPrevented || setBusy(form, true));
  },
  true,
);
addEventListener("pageshow", () => document.querySelectorAll("form[data-busy]").forEach((form) => setBusy(form, false)));

document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest?.("button[aria-disabled=true]");
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

function showProgress() {
  const bar = document.getElementById("progress");
  if (bar) bar.hidden = underway === 0;
}

document.addEventListener("htmx:beforeSend", ({ detail }) => {
  if (isLive(detail)) return;
  underway += 1;
  setTimeout(showProgress, 150);
  setBusy(detail.elt, true);
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (isLive(detail)) return;
  underway = Math.max(0, underway - 1);
  showProgress();
  setBusy(detail.elt, false);
});

// a page that is left ends its requests: that is no failure to tell of, on the console neither
const sending = new Set();
document.addEventListener("htmx:beforeSend", ({ detail }) => {
  sending.add(detail.xhr);
  detail.xhr.addEventListener("loadend", () => sending.delete(detail.xhr));
});
addEventListener("pagehide", () => {
  for (const xhr of sending) xhr.onerror = xhr.onabort = xhr.ontimeout = null;
});

// ---- what comes back

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { xhr, target } = detail;
  if (xhr.status < 400) told.delete(target);
  if (xhr.status === 401) {
    const door = xhr.getResponseHeader("X-Ghasi-Sign-In");
    detail.shouldSwap = false;
    if (door) leaveFor(door);
  } else if (xhr.status >= 400 && xhr.status !== 422) {
    if (isLive(detail)) {
      detail.shouldSwap = false; // what is shown stays
      told.add(target);
      return;
    }
    if (xhr.getResponseHeader("HX-Reswap") === "none") return; // a form keeps what was typed
    // the part itself stays, whatever it swaps when all is well, so that it can load again
    detail.swapOverride = "innerHTML";
    const request = latest.get(detail.requestConfig.elt);
    if (request) failed.set(target, request);
  }
});

function leaveFor(door) {
  keepForms();
  const here = location.pathname + location.search;
  location.assign(`${door}?next=${encodeURIComponent(here)}`);
}

document.addEventListener("htmx:afterSettle", ({ detail }) => {
  if (detail.xhr?.status === 422) {
    const scope = detail.elt.isConnected ? detail.elt : document;
    (scope.querySelector("[aria-invalid=true]") ?? scope.querySelector("[role=alert]"))?.focus();
  }
});

function noAnswer({ detail }) {
  if (isLive(detail)) return;
  const request = latest.get(detail.requestConfig?.elt ?? detail.elt);
  const retry = request ? () => repeat(request) : null;
  toast({ text: UNREACHABLE, tone: "bad", retry });
  const state = document.getElementById("part-error");
  if (request?.verb === "get" && request.target.isConnected && state) {
    failed.set(request.target, request);
    request.target.replaceChildren(state.content.cloneNode(true));
  }
}
document.addEventListener("htmx:sendError", noAnswer);
document.addEventListener("htmx:timeout", noAnswer);

document.addEventListener("toast", ({ target, detail }) => {
  const request = latest.get(target);
  if (request?.live && told.has(target)) return;
  toast({ ...detail, retry: detail.retry && request ? () => repeat(request) : null });
});

function refresh(part) {
  const path = part.getAttribute("hx-get");
  if (path) htmx.ajax("GET", path, { source: part, target: part, swap: swapOf(part) });
}

document.addEventListener("refresh", ({ detail }) => {
  for (const part of document.querySelectorAll(detail.value)) refresh(part);
});

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-retry]");
  if (!button) return;
  for (let place = button.parentElement; place; place = place.parentElement) {
    const request = failed.get(place);
    if (request) return repeat(request);
    if (place.hasAttribute("hx-get")) return refresh(place);
  }
  location.reload();
});
