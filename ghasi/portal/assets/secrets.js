// [data-once] is shown this once: it is emptied when its dialog closes and when the page is left, so that neither going
// back nor a tab that the browser wakes shows it again.
function forget(place) {
  for (const shown of place.querySelectorAll("[data-once]")) shown.textContent = "This was shown once.";
}

// close events do not bubble, but are caught on the way down
document.addEventListener("close", ({ target }) => forget(target), true);
addEventListener("pagehide", () => forget(document));
