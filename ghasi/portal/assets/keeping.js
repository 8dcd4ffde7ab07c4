// Keeps what was typed while the visitor has to sign in: form[data-keep=NAME] is filled again when the page is back.
// Never kept: passwords, files and what has data-secret. data-visitor on <html> says whose it is: nobody else gets it.
import htmx from "./htmx.js";

const PREFIX = "ghasi-keep:";
const LONGEST_MS = 60 * 60 * 1000;

function visitor() {
  return document.documentElement.dataset.visitor ?? "";
}

function fieldsOf(form) {
  return [...form.elements].filter(
    (field) => field.name && !field.closest("[data-secret]") && !["password", "file", "submit", "button"].includes(field.type),
  );
}

export function keepForms() {
  for (const form of document.querySelectorAll("form[data-keep]")) {
    const fields = fieldsOf(form).map((field) => {
      const isTicked = field.type === "checkbox" || field.type === "radio";
      return [field.name, field.value, isTicked ? field.checked : null];
    });
    const kept = { at: Date.now(), visitor: visitor(), fields };
    sessionStorage.setItem(PREFIX + form.dataset.keep, JSON.stringify(kept));
  }
}

function restore(form) {
  const key = PREFIX + form.dataset.keep;
  const raw = sessionStorage.getItem(key);
  if (!raw) return;
  sessionStorage.removeItem(key);
  const kept = JSON.parse(raw);
  if (Date.now() - kept.at > LONGEST_MS || kept.visitor !== visitor()) return;
  const fields = fieldsOf(form);
  for (const [name, value, isTicked] of kept.fields) {
    const at = fields.findIndex((field) => field.name === name && (isTicked === null || field.value === value));
    if (at < 0) continue;
    const [field] = fields.splice(at, 1);
    if (isTicked === null) field.value = value;
    else field.checked = isTicked;
    if (field.type !== "hidden") {
      field.dispatchEvent(new Event("input", { bubbles: true }));
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }
  form.closest("dialog")?.showModal();
}

htmx.onLoad((loaded) => {
  const forms = loaded.matches?.("form[data-keep]") ? [loaded] : [];
  for (const form of [...forms, ...(loaded.querySelectorAll?.("form[data-keep]") ?? [])]) restore(form);
});

// who signs out takes it along
document.addEventListener("submit", ({ target }) => {
  if (target.getAttribute("action") !== "/sign-out") return;
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
});
