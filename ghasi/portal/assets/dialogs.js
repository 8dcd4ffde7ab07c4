// [data-dialog=ID] opens the native dialog of that id, [data-dialog-close] and a click beside it close it.
// dialog[data-dialog-open] opens as soon as it is in the page. The event closeDialog (HX-Trigger) closes what is open.
import htmx from "./htmx.js";
import { bringHome, raise } from "./toasts.js";

document.addEventListener("click", (event) => {
  const { target } = event;
  const opener = target.closest?.("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
  if (target.closest?.("[data-dialog-close]")) target.closest("dialog")?.close();
  // a press that began inside and ends outside is a selection, not a wish to close
  if (target instanceof HTMLDialogElement && pressedOn === target && !target.hasAttribute("data-dialog-firm")) target.close();
});

let pressedOn = null;
document.addEventListener("pointerdown", ({ target }) => {
  pressedOn = target;
});

// close events do not bubble, but are caught on the way down
document.addEventListener("close", bringHome, true);
// what is swapped does not take the toasts with it
document.addEventListener("htmx:beforeSwap", bringHome);
document.addEventListener("htmx:afterSwap", raise);
document.addEventListener("closeDialog", () => document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close()));

htmx.onLoad((loaded) => {
  if (!document.getElementById("toasts")) return;
  const own = loaded.matches?.("dialog[data-dialog-open]") ? [loaded] : [];
  for (const dialog of [...own, ...loaded.querySelectorAll("dialog[data-dialog-open]")]) {
    if (!dialog.open) dialog.showModal();
  }
});
