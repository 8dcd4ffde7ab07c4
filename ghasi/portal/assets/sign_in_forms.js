// The forms before signing in. main[data-identity] says where the identity provider is; form[data-does] names one of
// DEEDS; a field's error stands in #FIELD-error, the form's own in [data-alert]; [data-status] tells what goes on.
//
// The ID token goes to this portal's own POST /sign-in in a body, never in an address, and is forgotten then.
import "./looks.js";
import { openIdentity } from "./sign_in_identity.js";
import { findInvitation, forgetInvitation, showInvitation } from "./sign_in_invitation.js";
import { explain, isAboutCode, RATE_LIMITED, SHORT_PASSWORD, UNREACHABLE, WRONG_EMAIL } from "./sign_in_refusals.js";

const SHORTEST_PASSWORD = 6; // Firebase's least; a project may ask for more
const TIMEOUT_MS = 15_000; // the portal's own is the API's 5 s
const INVITATION_CODES = new Set(["invalid_invitation", "already_in_account"]);

class NoCode extends Error {
  code = "auth/invalid-action-code";
}

class Refused extends Error {
  constructor({ field = "", text, code }) {
    super(text);
    Object.assign(this, { field, code });
  }
}

// ---- what each form does; what was wrong is thrown, true says that the visitor stays on this page

const DEEDS = {
  async "sign-in"({ identity, fields }) {
    await openPortal(await identity.signIn(fields.email, fields.password));
  },

  async "sign-up"({ identity, fields }) {
    const idToken = await identity.signUp(fields.name, fields.email, fields.password);
    await openPortal(idToken);
  },

  async "send-link"({ identity, form, fields }) {
    await identity.sendResetLink(fields.email);
    const done = document.getElementById("sent");
    done.querySelector("[data-email]").textContent = fields.email;
    form.closest("[data-panel]").hidden = true;
    show(done);
    return true;
  },

  async "set-password"({ identity, fields, code }) {
    await identity.setPassword(code, fields.password);
    location.assign("/sign-in?notice=new-password");
  },
};

async function openPortal(idToken) {
  let answer;
  let body;
  try {
    answer = await fetch("/sign-in", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        id_token: idToken,
        invitation: findInvitation(),
        next: new URLSearchParams(location.search).get("next"),
      }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = await answer.json();
  } catch {
    throw new Refused({ text: answer?.status === 429 ? RATE_LIMITED : UNREACHABLE });
  }
  if (!answer.ok) throw new Refused({ text: body.message, code: body.code });
  forgetInvitation();
  location.assign(body.next);
}

// The code of a link that came by mail. It moves to the fragment, which neither servers' logs nor the referrer have.
function takeCode() {
  const query = new URLSearchParams(location.search);
  const code = query.get("oobCode") ?? new URLSearchParams(location.hash.slice(1)).get("oobCode");
  if (query.has("oobCode")) {
    const mode = query.get("mode") ?? "resetPassword";
    history.replaceState(null, "", `${location.pathname}?${new URLSearchParams({ mode })}#${new URLSearchParams({ oobCode: code })}`);
  }
  return code;
}

// ---- fields, their errors, and a form at work

function read(form) {
  const fields = Object.fromEntries(new FormData(form));
  if (fields.email !== undefined) fields.email = fields.email.trim();
  if (fields.name !== undefined) fields.name = fields.name.trim();
  return fields;
}

function check(form, fields) {
  const wrong = [];
  if (fields.name === "") wrong.push({ field: "name", text: "Enter your name." });
  const email = form.elements.namedItem("email");
  if (email && !email.readOnly && (!fields.email || email.validity.typeMismatch)) {
    wrong.push({ field: "email", text: WRONG_EMAIL });
  }
  const password = form.elements.namedItem("password");
  if (password && !fields.password) wrong.push({ field: "password", text: "Enter a password." });
  else if (password?.autocomplete === "new-password" && fields.password.length < SHORTEST_PASSWORD) {
    wrong.push({ field: "password", text: SHORT_PASSWORD });
  }
  return wrong;
}

function clear(form) {
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const error of form.querySelectorAll(".error")) error.replaceChildren();
  form.querySelector("[data-alert]").hidden = true;
}

function complain(form, wrong) {
  const beside = wrong.filter(({ field }) => field && form.elements.namedItem(field));
  for (const { field, text } of beside) {
    const input = form.elements.namedItem(field);
    input.setAttribute("aria-invalid", "true");
    document.getElementById(`${input.id}-error`).textContent = text;
  }
  const whole = wrong.filter((one) => !beside.includes(one));
  if (whole.length > 0) {
    const alert = form.querySelector("[data-alert]");
    alert.querySelector("[data-words]").textContent = whole.map(({ text }) => text).join(" ");
    const button = alert.querySelector("[data-without-invitation]");
    if (button) button.hidden = !whole.some(({ code }) => INVITATION_CODES.has(code));
    alert.hidden = false;
  }
  const first = [...form.elements].find((input) => input.getAttribute("aria-invalid") === "true");
  (first ?? form.querySelector("[data-alert]")).focus();
}

function setBusy(form, isBusy) {
  form.toggleAttribute("data-busy", isBusy);
  form.setAttribute("aria-busy", String(isBusy));
  for (const button of form.closest("main").querySelectorAll("button[data-door]")) {
    if (isBusy) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  }
  const status = form.querySelector("[data-status]");
  status.textContent = isBusy ? status.dataset.status : "";
}

function show(panel) {
  panel.hidden = false;
  panel.querySelector("h1, h2").focus();
}

async function act(form, deed) {
  if (form.hasAttribute("data-busy")) return;
  clear(form);
  setBusy(form, true);
  let stays = true; // else the next page is on its way: the form waits for it
  try {
    stays = await deed();
  } catch (error) {
    const wrong = error instanceof Refused ? { field: error.field, text: error.message, code: error.code } : explain(error);
    setBusy(form, false);
    if (wrong) complain(form, [wrong]);
  }
  if (stays) setBusy(form, false);
}

// ---- the page

function serve(form, identity, code) {
  form.noValidate = true; // the messages stand beside their fields instead
  const submit = () => {
    const fields = read(form);
    const wrong = check(form, fields);
    if (wrong.length > 0) {
      clear(form);
      complain(form, wrong);
      return;
    }
    act(form, async () => {
      try {
        return await DEEDS[form.dataset.does]({ identity, form, fields, code });
      } catch (error) {
        if (!(error instanceof Refused) || !identity.hasCreated(fields.email)) throw error;
        throw new Refused({ text: `Your user is created, and the rest is still to do. ${error.message}`, code: error.code });
      }
    });
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.querySelector("[data-without-invitation]")?.addEventListener("click", () => {
    forgetInvitation();
    showInvitation();
    submit();
  });
  googleButton()?.addEventListener("click", () => act(form, async () => openPortal(await identity.signInWithGoogle())));
}

// What a link from an email asks for: a new password, or an address to be verified.
async function followLink(identity, code) {
  const panel = document.querySelector("[data-code-for]");
  if (!panel) return;
  try {
    if (!code) throw new NoCode();
    if (panel.dataset.codeFor === "verifyEmail") {
      await identity.verifyEmail(code);
      panel.hidden = true;
      show(document.getElementById("verified"));
      return;
    }
    const email = await identity.findEmailOfCode(code);
    panel.querySelector("input[name=email]").value = email;
    panel.querySelector("[data-email-of-code]").hidden = false;
  } catch (error) {
    const form = panel.querySelector("form");
    if (form && !isAboutCode(error)) return complain(form, [explain(error)]); // it may go better on sending
    panel.hidden = true;
    const over = document.getElementById("over");
    over.querySelector("[data-words]").textContent = explain(error).text;
    show(over);
  }
}

function googleButton() {
  return document.querySelector("[data-google]");
}

export function start() {
  const main = document.querySelector("main[data-identity]");
  showInvitation();
  const code = takeCode();
  const forms = [...document.querySelectorAll("form[data-does]")];
  let identity;
  try {
    identity = openIdentity({ ...JSON.parse(main.dataset.identity), hasGoogle: googleButton() !== null });
  } catch (error) {
    for (const form of forms) complain(form, [explain(error)]);
    return;
  }
  for (const form of forms) serve(form, identity, code);
  // until now they did nothing: without this script nothing typed may be sent
  for (const button of document.querySelectorAll("button[data-door]")) button.disabled = false;
  addEventListener("pageshow", ({ persisted }) => persisted && forms.forEach((form) => setBusy(form, false)));
  followLink(identity, code);
}
