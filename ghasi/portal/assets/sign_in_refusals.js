// What the SDK's errors mean: the field each belongs to ("" is the whole form) and what to say, in plain words.
export const RATE_LIMITED = "Rate limit exceeded — please try again shortly.";
export const UNREACHABLE = "Ghasi cannot be reached right now. Please try again in a moment.";
export const WRONG_EMAIL = "Enter an email address, like ann@example.com.";
export const SHORT_PASSWORD = "Use a password of at least 6 characters.";
const AWAY = "The sign-in service cannot be reached right now. Please try again in a moment.";
const WRONG = ["password", "That email and password do not belong together."];
const NOT_OPEN = ["", "Signing in this way is not open here."];
const NOT_SET_UP = ["", "Sign-in is not set up here yet. Please tell the operator."];
const CODE_OVER = ["", "This link has been used, or it has ended. Ask for a new one."];

const REFUSALS = {
  "admin-restricted-operation": ["", "New accounts are made by the operator here."],
  "account-exists-with-different-credential": ["email", "Sign in with your password: this email has one already."],
  "api-key-not-valid.-please-pass-a-valid-api-key.": NOT_SET_UP,
  "configuration-not-found": NOT_SET_UP,
  "email-already-in-use": ["email", "There is already an account with this email. Sign in instead."],
  "expired-action-code": CODE_OVER,
  "invalid-action-code": CODE_OVER,
  "invalid-api-key": NOT_SET_UP,
  "invalid-credential": WRONG,
  "invalid-display-name": ["name", "Use a name of at most 256 characters."],
  "invalid-email": ["email", WRONG_EMAIL],
  "missing-email": ["email", WRONG_EMAIL],
  "missing-password": ["password", "Enter a password."],
  "network-request-failed": ["", AWAY],
  "operation-not-allowed": NOT_OPEN,
  "password-does-not-meet-requirements": ["password", "This password does not meet the requirements."],
  "popup-blocked": ["", "The browser held Google's window back. Allow it for this page and try again."],
  "quota-exceeded": ["", RATE_LIMITED],
  "too-many-requests": ["", "Too many attempts. Please wait a few minutes and try again."],
  "unauthorized-domain": NOT_OPEN,
  "user-disabled": ["", "This user is disabled. Please ask the operator."],
  "user-not-found": WRONG,
  "weak-password": ["password", SHORT_PASSWORD],
  "wrong-password": WRONG,
  timeout: ["", AWAY],
  unavailable: ["", AWAY],
};
const ABOUT_CODE = new Set(["expired-action-code", "invalid-action-code", "user-disabled"]);
const CHANGED_ONES_MIND = new Set(["popup-closed-by-user", "cancelled-popup-request", "user-cancelled"]);

function codeOf(error) {
  return String(error?.code ?? "").replace(/^auth\//, "");
}

// Says whether a link's code is at fault, and no attempt with it can succeed.
export function isAboutCode(error) {
  return ABOUT_CODE.has(codeOf(error));
}

// Returns {field, text}, or null for what the visitor ended: nothing is to be said then.
export function explain(error) {
  const code = codeOf(error);
  if (!code) console.error(error); // no answer of the SDK's: a fault of ours
  if (CHANGED_ONES_MIND.has(code)) return null;
  const [field, text] = Object.hasOwn(REFUSALS, code) ? REFUSALS[code] : ["", AWAY];
  // Firebase names what a password lacks: "Missing password requirements: [one, another]"
  const lacking = code === "password-does-not-meet-requirements" && /\[(.+)\]/.exec(error.message)?.[1];
  return { field, text: lacking ? `${text} ${lacking}.` : text };
}
