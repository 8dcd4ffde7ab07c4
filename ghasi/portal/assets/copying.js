// [data-copy] copies its value, or with [data-copy-from=SELECTOR] that element's text or value; `data-copied` shows it.
function textOf(button) {
  const source = button.dataset.copyFrom ? document.querySelector(button.dataset.copyFrom) : null;
  return source ? (source.value ?? source.textContent) : button.dataset.copy;
}

async function copy(button) {
  const text = textOf(button);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // no clipboard without https
    const area = document.createElement("textarea");
    area.value = text;
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    button.focus();
    if (!done) return;
  }
  button.setAttribute("data-copied", "");
  const status = document.getElementById("announcements");
  if (status) status.textContent = "Copied";
  setTimeout(() => {
    button.removeAttribute("data-copied");
    if (status) status.textContent = "";
  }, 2000);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-copy], [data-copy-from]");
  if (button) copy(button);
});
