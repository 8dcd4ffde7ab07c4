// The theme ([data-theme-choice=system|light|dark], kept in the cookie ghasi_theme) and the visitor's time zone, told to
// the server in the cookie ghasi_zone. [data-submit-on-change] on a form: it is sent when a field changes.
const YEAR_S = 31536000;

function setCookie(name, value, seconds) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${name}=${value}; path=/; max-age=${seconds}; samesite=lax${secure}`;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`ghasi_zone=${zone}`)) setCookie("ghasi_zone", zone, YEAR_S);

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-theme-choice]");
  if (!button) return;
  const choice = button.dataset.themeChoice;
  const root = document.documentElement;
  if (choice === "system") {
    delete root.dataset.theme;
    setCookie("ghasi_theme", "", 0);
  } else {
    root.dataset.theme = choice;
    setCookie("ghasi_theme", choice, YEAR_S);
  }
  document.querySelector("meta[name=color-scheme]").content = choice === "system" ? "light dark" : choice;
  for (const one of document.querySelectorAll("[data-theme-choice]")) {
    one.setAttribute("aria-pressed", String(one.dataset.themeChoice === choice));
  }
  document.dispatchEvent(new CustomEvent("ghasi:theme"));
});

document.addEventListener("change", ({ target }) => {
  target.closest?.("form[data-submit-on-change]")?.requestSubmit();
});
