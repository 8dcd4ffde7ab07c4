// The invitation that a visitor came with, in the fragment of the address: no server's log sees it there.
//
// It is kept for the tab until somebody has signed in with it. [data-invited] is shown while there is one.
const KEY = "ghasi-invitation";
const TOKEN = /^[\w.~-]{1,100}$/;

function take() {
  const fragment = location.hash.slice(1);
  const text = location.pathname === "/join" ? fragment : (new URLSearchParams(fragment).get("invitation") ?? "");
  if (!TOKEN.test(text)) return;
  sessionStorage.setItem(KEY, text);
  history.replaceState(null, "", location.pathname + location.search);
}

export function findInvitation() {
  return sessionStorage.getItem(KEY);
}

export function forgetInvitation() {
  sessionStorage.removeItem(KEY);
}

export function showInvitation() {
  take();
  const isInvited = findInvitation() !== null;
  for (const element of document.querySelectorAll("[data-invited]")) element.hidden = !isInvited;
  for (const element of document.querySelectorAll("[data-not-invited]")) element.hidden = isInvited;
}
