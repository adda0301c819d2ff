/**
 * The page's words. The source is English: `_("Seed {seed}", { seed: 3 })`. The other languages are those of
 * the plugins; each has a catalog, locale/LANGUAGE.json, that is loaded only when it is used.
 */

/** The languages, by their own names. @type {Record<string, string>} */
export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", ja: "日本語" };

const KEPT = "impasto.language";

/** @type {Record<string, string>} */
let catalog = {};
let current = "en";

/** The language in use, such as "de". */
export function language() {
  return current;
}

/** Loads the language that was chosen before, or else the browser's own if there is a catalog. */
export async function startLanguage() {
  const kept = localStorage.getItem(KEPT);
  const own = navigator.languages.map((each) => each.slice(0, 2)).find((each) => each in LANGUAGES);
  await load(kept && kept in LANGUAGES ? kept : (own ?? "en"));
}

/**
 * Changes the language; what is shown already has to be made again.
 *
 * @param {string} chosen A key of `LANGUAGES`.
 */
export async function setLanguage(chosen) {
  localStorage.setItem(KEPT, chosen);
  await load(chosen);
}

/** @param {string} chosen */
async function load(chosen) {
  catalog = {};
  if (chosen !== "en") {
    const response = await fetch(new URL(`locale/${chosen}.json`, document.baseURI)).catch(() => null);
    if (!response?.ok) chosen = "en";
    else catalog = await response.json();
  }
  current = chosen;
  document.documentElement.lang = chosen;
}

/**
 * Returns a text in the language in use. The text must be a literal: the tests find it in the source.
 *
 * @param {string} text English, with {names} for values.
 * @param {Record<string, string | number>} [values]
 */
export function _(text, values = {}) {
  return (catalog[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** A number as it is written in the language in use. @param {number} value @param {number} [digits] */
export function numeral(value, digits = 0) {
  return value.toLocaleString(current, { maximumFractionDigits: digits });
}

/** A duration in words, such as "about 40 s". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return _("{count} s", { count: Math.max(1, Math.round(seconds)) });
  if (seconds < 3600) return _("{count} min", { count: Math.round(seconds / 60) });
  return _("{hours} h {minutes} min", { hours: Math.floor(seconds / 3600), minutes: Math.round((seconds % 3600) / 60) });
}

/** Bytes in words, such as "1.2 GB". @param {number} bytes */
export function dataSize(bytes) {
  if (bytes >= 1e9) return `${numeral(bytes / 1e9, 1)} GB`;
  if (bytes >= 1e6) return `${numeral(bytes / 1e6, bytes < 1e7 ? 1 : 0)} MB`;
  return `${numeral(bytes / 1e3)} kB`;
}

/** Seconds of a duration in proto3's JSON form, such as "1.5s"; undefined if there is none. @param {string | undefined} text */
export function secondsOf(text) {
  return text === undefined ? undefined : Number.parseFloat(text);
}

/** A job's state in a word. @param {string | undefined} state */
export function stateWord(state) {
  switch (state) {
    case "JOB_STATE_QUEUED":
      return _("Waiting");
    case "JOB_STATE_RUNNING":
      return _("Being painted");
    case "JOB_STATE_PAUSED":
      return _("Paused");
    case "JOB_STATE_SUCCEEDED":
      return _("Finished");
    case "JOB_STATE_FAILED":
      return _("Failed");
    case "JOB_STATE_CANCELLED":
      return _("Cancelled");
    default:
      return _("Unknown");
  }
}

/** What the server says of a field ("is too large") as a sentence of its own. @param {string} description */
function sentence(description) {
  return /^(is|has|must|cannot|does) /.test(description) ? `It ${description}` : description;
}

/** An error in words, with what to do. @param {unknown} error */
export function errorText(error) {
  const { code, message, fields, reason } = /** @type {import("./connect.js").CallError} */ (error ?? {});
  if (fields?.length) return fields.map(({ field, description }) => sentence(description || field)).join(" ");
  // The server's own words name its files, which only its administrator can do something about.
  if (reason === "STORAGE")
    return [_("The server's disk is full."), _("Try again later. If it is still full then, tell the server's administrator.")].join(" ");
  switch (code) {
    case "unavailable":
    case "deadline_exceeded":
      return _("The server does not answer. The page tries again by itself.");
    case "unauthenticated":
      return _("You are not signed in. Enter your token.");
    case "permission_denied":
      return _("Your token has no right to do this. Ask the server's administrator.");
    case "unimplemented":
      return _("This server cannot do this. It needs a newer version.");
    case "not_found":
      return _("It does not exist any more; perhaps it was deleted.");
    default:
      return message || String(error);
  }
}
