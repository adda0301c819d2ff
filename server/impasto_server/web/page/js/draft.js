/**
 * The painting that is not begun yet, kept in the browser: nothing is lost when the page is loaded again. Each
 * tenant has one of their own, and signing out deletes it.
 */

import { owner } from "./session.js";
import { DEFAULTS } from "./settings.js";

/** @typedef {import("./settings.js").Choices} Choices */

/**
 * @typedef {object} KeptStyle
 * @property {string} [named] `NamedStyle.name`.
 * @property {Blob} [blob] A picture of one's own.
 * @property {string} [name] Its name.
 * @property {number} share
 * @property {boolean} chosen
 *
 * @typedef {object} Draft
 * @property {{blob: Blob, name: string} | null} photo
 * @property {KeptStyle[]} styles
 */

const CHOICES = () => `impasto.choices.${owner()}`;

let isDeleted = false;

/** The settings that were used last. @returns {Choices} */
export function keptChoices() {
  try {
    const kept = JSON.parse(localStorage.getItem(CHOICES()) ?? "{}");
    const usable = Object.entries(kept).filter(([name, value]) => typeof value === typeof DEFAULTS[/** @type {keyof Choices} */ (name)]);
    return { ...DEFAULTS, ...Object.fromEntries(usable) };
  } catch {
    return { ...DEFAULTS };
  }
}

/** @param {Choices} choices */
export function keepChoices(choices) {
  if (!isDeleted) localStorage.setItem(CHOICES(), JSON.stringify(choices));
}

/** The pictures that were given last; null if there are none. @returns {Promise<Draft | null>} */
export async function keptDraft() {
  try {
    return (await request("readonly", (store) => store.get(owner()))) ?? null;
  } catch {
    // A private window may have no storage.
    return null;
  }
}

/** @param {Draft} draft */
export async function keepDraft(draft) {
  if (!isDeleted) await request("readwrite", (store) => store.put(draft, owner())).catch(() => {});
}

/** Deletes what was kept, and keeps no more: whoever uses this browser next must not see it. */
export async function deleteDraft() {
  isDeleted = true;
  localStorage.removeItem(CHOICES());
  await request("readwrite", (store) => store.delete(owner())).catch(() => {});
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} ask
 * @returns {Promise<any>}
 */
function request(mode, ask) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("impasto-draft", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("drafts");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const asked = ask(database.transaction("drafts", mode).objectStore("drafts"));
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
      asked.transaction?.addEventListener("complete", () => database.close());
    };
  });
}
