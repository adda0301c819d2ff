/**
 * Who is signed in. The token itself is never kept by the page: the server gives the browser a cookie that
 * scripts cannot read.
 */

import { call } from "./connect.js";

/** @typedef {import("./types.js").GetServerInfoResponse} ServerInfo */

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
  if (response.ok) return true;
  if ([400, 401, 403].includes(response.status)) return false;
  throw new Error(`session: ${response.status}`);
}

/** Signs out: the browser forgets the token. */
export async function signOut() {
  const response = await fetch(ADDRESS(), { method: "DELETE" });
  if (!response.ok) throw new Error(`session: ${response.status}`);
}

/**
 * Takes a one-time code out of the address, so that neither the history nor a copied address has it.
 *
 * @param {string} [before] The fragment that was shown before the link was opened.
 * @returns {string} The code; "" if there is none.
 */
export function takeCode(before = "") {
  if (!location.hash.startsWith("#code=")) return "";
  const [code, to] = location.hash.slice("#code=".length).split("&to=");
  history.replaceState(null, "", to?.startsWith("/") ? `#${to}` : before || "#/");
  return code;
}

/** @type {Promise<ServerInfo> | undefined} */
let known;
/** @type {string | undefined} */
let began;

/** What the tabs of this page tell each other: the tenant that is signed in now, null if nobody is. */
const tabs = new BroadcastChannel(`impasto ${new URL(".", document.baseURI).pathname}`);
tabs.onmessage = (/** @type {MessageEvent<{tenant: string | null}>} */ { data }) => {
  if (data.tenant !== (began ?? null)) location.reload();
};

/** Tells the other tabs who is signed in. @param {string | null} tenant Null: nobody. */
export function tellTabs(tenant) {
  tabs.postMessage({ tenant });
}

/** The tenant for whom this page was opened; what it keeps in the browser belongs to them. "" without tokens. */
export function owner() {
  return began ?? "";
}

/**
 * Ends this page, and loads it anew, if meanwhile somebody else is signed in: another tab may have done that,
 * and what is on this page must not get into their hands.
 *
 * @throws {DOMException} "AbortError": somebody else is.
 * @throws {import("./connect.js").CallError} The server does not say.
 */
export async function confirmOwner() {
  heed(await call("GetServerInfo"));
}

/** The tenant that is signed in at this moment. @returns {Promise<string>} */
export async function tenantNow() {
  return (await call("GetServerInfo")).tenant ?? "";
}

/** @param {ServerInfo} info */
function heed(info) {
  const tenant = info.tenant ?? "";
  began ??= tenant;
  if (tenant === began) return info;
  location.reload();
  throw new DOMException("Somebody else is signed in.", "AbortError");
}

/**
 * What the server says about itself and the caller; asked once.
 *
 * @returns {Promise<ServerInfo>}
 */
export function serverInfo() {
  known ??= call("GetServerInfo")
    .then(heed)
    .catch((error) => {
      known = undefined;
      throw error;
    });
  return known;
}

/** Forgets what the server said: someone else may be signed in. */
export function forgetServerInfo() {
  known = undefined;
}
