/**
 * Whether the page is seen. A tab in the background keeps no stream open: over HTTP/1.1 a browser has six
 * connections to a server, for all of its tabs together.
 */

/** How long a tab is in the background before its streams are closed. */
const HIDDEN_MS = 5000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let away = Boolean(globalThis.document?.hidden);
/** @type {Set<(seen: boolean) => void>} */
const listeners = new Set();

/** True unless the tab has been in the background for a while, or was opened there. */
export const isSeen = () => !away;

/**
 * Calls back when the page is put away, and when it is seen again.
 * @param {(seen: boolean) => void} callback
 * @returns {() => void} ends it.
 */
export function watchSeen(callback) {
  listeners.add(callback);
  return () => void listeners.delete(callback);
}

/**
 * Waits until the page is seen.
 * @param {AbortSignal} signal - ends the waiting.
 * @returns {Promise<AbortSignal>} a signal that is aborted when the page is put away, and by `signal`.
 */
export function seen(signal) {
  return new Promise((resolve) => {
    const ending = new AbortController();
    const end = watchSeen((isSeen) => {
      if (isSeen) resolve(ending.signal);
      else ending.abort();
    });
    const leave = () => {
      ending.abort();
      resolve(ending.signal);
    };
    ending.signal.addEventListener("abort", end);
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
    if (isSeen()) resolve(ending.signal);
  });
}

/** @param {boolean} now */
function tell(now) {
  if (away === !now) return;
  away = !now;
  for (const listener of [...listeners]) listener(now);
}

globalThis.document?.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) timer = setTimeout(tell, HIDDEN_MS, false);
  else tell(true);
});
