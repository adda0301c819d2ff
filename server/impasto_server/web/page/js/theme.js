/** Light or dark: as the system has it, or as it was chosen here. */

import { make } from "./dom.js";
import { _ } from "./words.js";

const KEPT = "impasto.theme";

/** Uses the theme that was chosen before. */
export function startTheme() {
  use(localStorage.getItem(KEPT) ?? "");
}

/** The choice of a theme. @returns {HTMLElement} */
export function themeChoice() {
  const now = localStorage.getItem(KEPT) ?? "";
  const choice = (/** @type {string} */ value, /** @type {string} */ label) =>
    make(
      "label",
      { class: "chip" },
      make("input", { type: "radio", name: "theme", value, checked: value === now, onchange: () => choose(value) }),
      make("span", {}, label),
    );
  return make(
    "fieldset",
    { class: "field" },
    make("legend", {}, _("Appearance")),
    make("div", { class: "chips" }, choice("", _("As the system")), choice("light", _("Light")), choice("dark", _("Dark"))),
  );
}

/** @param {string} theme "light", "dark", or "" for the system's. */
function choose(theme) {
  localStorage.setItem(KEPT, theme);
  use(theme);
}

/** @param {string} theme */
function use(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
