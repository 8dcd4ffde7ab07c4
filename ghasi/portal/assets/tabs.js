// [role=tablist] with [role=tab aria-controls]: arrows, Home and End move and select, as the WAI-ARIA pattern has it.
function select(tab, isFocused) {
  for (const one of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
    const isSelected = one === tab;
    one.setAttribute("aria-selected", String(isSelected));
    one.tabIndex = isSelected ? 0 : -1;
    const panel = document.getElementById(one.getAttribute("aria-controls"));
    if (panel) panel.hidden = !isSelected;
  }
  if (isFocused) tab.focus();
}

document.addEventListener("click", ({ target }) => {
  const tab = target.closest?.("[role=tab]");
  if (tab) select(tab, false);
});

document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.("[role=tab]");
  if (!tab) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const at = tabs.indexOf(tab);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  select(tabs[(next + tabs.length) % tabs.length], true);
});
