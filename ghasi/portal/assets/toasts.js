// Short notices in the corner. The server sends one as `HX-Trigger: {"toast": {"text", "tone", "retry"}}` (tone: good,
// bad or plain; retry: a button that repeats the request it came with), or before a whole page in the cookie ghasi_flash.
const SHOWN_MS = { bad: 8000, other: 5000 };

function corner() {
  return document.getElementById("toasts");
}

export function toast({ text, tone = "plain", retry = null }) {
  const box = corner();
  if (!box || !text) return;
  const same = [...box.children].filter((one) => one.dataset.text === text);
  // one that offers to try again is not pushed out by one that does not: a send's by a preview's
  if (!retry && same.some((one) => one.hasAttribute("data-offers-retry"))) return;
  for (const one of same) one.remove();
  const notice = document.createElement("div");
  notice.className = "toast";
  notice.dataset.tone = tone;
  notice.dataset.text = text;
  const dot = document.createElement("span");
  dot.className = "dot";
  const words = document.createElement("span");
  words.className = "words";
  words.textContent = text;
  notice.append(dot, words);
  const button = (label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", () => {
      notice.remove();
      act();
    });
    notice.append(made);
  };
  notice.toggleAttribute("data-offers-retry", Boolean(retry));
  if (retry) button("Try again", retry);
  button("Dismiss", () => {});
  box.append(notice);
  raise();
  const leave = () => {
    // not from under a pointer or the keyboard
    if (notice.matches(":hover, :focus-within")) setTimeout(leave, 2000);
    else notice.remove();
  };
  setTimeout(leave, tone === "bad" ? SHOWN_MS.bad : SHOWN_MS.other);
}

// Shown above an open dialog too: what is opened last in the top layer lies uppermost.
export function raise() {
  const box = corner();
  if (!box) return;
  const dialog = [...document.querySelectorAll("dialog[open]")].pop();
  const home = dialog ?? document.body;
  // what lies outside a modal dialog cannot be clicked, so the corner moves into it
  if (box.parentElement !== home) home.append(box);
}

export function bringHome() {
  const box = corner();
  if (box && box.parentElement !== document.body) document.body.append(box);
}

function flash() {
  const found = document.cookie.split("; ").find((one) => one.startsWith("ghasi_flash="));
  if (!found) return;
  document.cookie = "ghasi_flash=; path=/; max-age=0; samesite=lax";
  try {
    const { text, tone } = JSON.parse(decodeURIComponent(found.slice("ghasi_flash=".length)));
    toast({ text: String(text), tone: String(tone) });
  } catch {
    // somebody else's cookie
  }
}

flash();
