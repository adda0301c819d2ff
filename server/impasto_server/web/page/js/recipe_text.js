/** A job's recipe as text: all that is needed to paint the picture again. */

import { loadStyle, make } from "./dom.js";
import { effortOf } from "./effort.js";
import * as jobs from "./jobs.js";
import { styleTitles } from "./paint.js";
import { RECIPE_FIELDS } from "./recipe_table.js";
import { _, errorText } from "./words.js";

/** @typedef {import("./jobs.js").Job} Job */

/**
 * Returns the recipe, one setting a line, as the command line names and writes the settings.
 *
 * @param {Job} job With `spec` the text has the styles too.
 */
export function recipeText(job) {
  const recipe = /** @type {Record<string, unknown>} */ (job.recipe ?? {});
  const titles = styleTitles(job);
  const lines = [`size: ${job.width} × ${job.height}`];
  for (const [index, style] of (job.spec?.styles ?? []).entries()) {
    const share = style.weight === undefined ? "" : `, share ${style.weight}`;
    const picture = [titles[index], style.image?.style ?? shortened(style.image?.sha256)].filter(Boolean).join(", ");
    lines.push(`style ${index + 1}: ${picture}${share}`);
  }
  for (const { name } of RECIPE_FIELDS) {
    const value = recipe[name];
    if (value === undefined || (Array.isArray(value) && !value.length)) continue;
    const effort = name === "evaluations" && effortOf((job.recipe?.objective ?? "").replace("OBJECTIVE_", ""), Number(value));
    lines.push(`${words(name)}: ${written(name, value)}${effort ? `, effort ${effort.toLowerCase()}` : ""}`);
  }
  if (recipe.evaluations !== undefined && !lines.some((line) => line.startsWith("evaluations:"))) {
    lines.push(`evaluations: ${recipe.evaluations}`);
  }
  if (job.network) lines.push(`network: ${job.network.architecture}, ${job.network.weights}`);
  return lines.join("\n");
}

/** As much of a digest as it takes to know a picture by it. @param {string | undefined} sha256 */
const shortened = (sha256 = "") => (sha256 ? `picture ${sha256.slice(0, 12)}…` : "");

/** "contentWeight" as "content weight". @param {string} name */
const words = (name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** @param {string} name @param {unknown} value @returns {string} */
function written(name, value) {
  if (Array.isArray(value)) return value.map(({ layer, weight }) => `${layer} ${weight}`).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  // Weights are single-precision numbers on their way: 0.1 arrives as 0.10000000149.
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  const prefix = `${words(name).split(" ").at(-1)?.toUpperCase()}_`;
  const text = String(value);
  return (text.startsWith(prefix) ? text.slice(prefix.length) : text).toLowerCase().replaceAll("_", " ");
}

/**
 * Shows the recipe of a job in a dialog.
 *
 * @param {string} name `Job.name`.
 */
export async function openRecipe(name) {
  await loadStyle("css/dialogs.css");
  const text = make("pre", { tabindex: "0", "aria-label": _("Recipe") }, "…");
  const copy = make("button", { type: "button", class: "primary", disabled: true }, _("Copy"));
  const dialog = make(
    "dialog",
    { class: "recipe", "aria-labelledby": "recipe-title", onclose: () => dialog.remove() },
    make("h2", { id: "recipe-title" }, _("Recipe")),
    text,
    make("form", { method: "dialog", class: "buttons" }, copy, make("button", {}, _("Close"))),
  );
  document.body.append(dialog);
  dialog.showModal();
  try {
    const known = jobs.get(name);
    text.textContent = recipeText(known?.spec ? known : await jobs.load(name));
    copy.disabled = false;
    copy.addEventListener("click", async () => {
      await copyText(text.textContent ?? "");
      copy.textContent = _("Copied");
    });
  } catch (error) {
    text.textContent = errorText(error);
  }
}

/**
 * Copies a text to the clipboard. Without TLS a browser has no clipboard for scripts; then the old way.
 *
 * @param {string} text
 */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = make("textarea", { class: "visually-hidden" });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
