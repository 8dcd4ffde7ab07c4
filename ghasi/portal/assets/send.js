// The send form: what is wrong is said beside a field once it was left, not while it is being written; Ctrl+Enter sends.
// [data-check]: a field whose fault the preview names in [data-fault=NAME]. [data-send]: the form.
const left = new WeakSet(); // fields that were left once

function errorOf(field) {
  return document.getElementById(`${field.id}-error`);
}

function describe(field, text) {
  let place = errorOf(field);
  if (!place && !text) return;
  if (!place) {
    place = document.createElement("p");
    place.className = "error";
    place.id = `${field.id}-error`;
    field.after(place);
  }
  place.textContent = text;
  place.hidden = !text;
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== place.id);
  const described = text ? [place.id, ...others] : others;
  if (described.length) field.setAttribute("aria-describedby", described.join(" "));
  else field.removeAttribute("aria-describedby");
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

function check(field) {
  const fault = document.querySelector(`#preview [data-fault="${field.name}"]`);
  // what the server has said stays until the field is written in
  if (left.has(field)) describe(field, field.value.trim() ? (fault?.textContent ?? "") : "");
}

document.addEventListener("focusout", ({ target }) => {
  if (!target.matches?.("[data-check]") || !target.value.trim()) return;
  left.add(target);
  check(target);
});

document.addEventListener("input", ({ target }) => {
  if (target.matches?.("[data-check][aria-invalid]")) left.add(target);
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target.id !== "preview") return;
  for (const field of document.querySelectorAll("[data-check]")) if (left.has(field)) check(field);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = event.target.closest?.("form[data-send]");
  if (!form) return;
  event.preventDefault();
  form.requestSubmit();
});
