/**
 * Who is signed in. The token itself is never kept by the page: the server gives the browser a cookie that
 * scripts cannot read.
 */

import { call } from "./connect.js";

/** @typedef {import("./types.js").GetServerInfoResponse} ServerInfo */

/** The other tabs of this page: a cookie is of all of them. */
const tabs = new BroadcastChannel("impasto-session");

const ADDRESS = () => new URL("session", document.baseURI);

/**
 * Whether somebody is signed in, and whether that is necessary.
 *
 * @returns {Promise<{signedIn: boolean, needsToken: boolean}>}
 */
export async function session() {
  const response = await fetch(ADDRESS());
  if (!response.ok) throw new Error(`session: ${response.status}`);
  const answer = await response.json();
  return { signedIn: Boolean(answer.signed_in), needsToken: Boolean(answer.needs_token) };
}

/**
 * Signs in.
 *
 * @param {{token: string, keep: boolean} | {code: string}} by A token (`keep`: also after the browser was
 *   closed), or a code that is valid once.
 * @returns {Promise<boolean>} False: the server does not know the token or the code.
 */
export async function signIn(by) {
  const response = await fetch(ADDRESS(), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(by),
  });
  if (response.ok) {
    tabs.postMessage("changed");
    return true;
  }
  if ([400, 401, 403].includes(response.status)) return false;
  throw new Error(`session: ${response.status}`);
}

/** Signs out: the browser forgets the token. */
export async function signOut() {
  await fetch(ADDRESS(), { method: "DELETE" });
  tabs.postMessage("changed");
}

/** Calls back when somebody signs in or out in another tab. @param {() => void} callback */
export function onOtherTab(callback) {
  tabs.addEventListener("message", callback);
}

/**
 * Takes a one-time code out of the address, so that neither the history nor a copied address has it.
 *
 * @returns {string} The code; "" if there is none.
 */
export function takeCode() {
  const found = /^#code=([\w.~-]+)(?:&to=(\/[\w/-]*))?$/.exec(location.hash);
  if (!found) return "";
  history.replaceState(null, "", `#${found[2] ?? "/"}`);
  return found[1];
}

/** @type {Promise<ServerInfo> | undefined} */
let known;

/**
 * What the server says about itself and the caller; asked once.
 *
 * @returns {Promise<ServerInfo>}
 */
export function serverInfo() {
  known ??= call("GetServerInfo").catch((error) => {
    known = undefined;
    throw error;
  });
  return known;
}

/** Forgets what the server said: someone else may be signed in. */
export function forgetServerInfo() {
  known = undefined;
}
