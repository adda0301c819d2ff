/** Addresses of reduced pictures for `<img>`: asked for in batches, and kept until shortly before they expire. */

import { call } from "./connect.js";

const LIFETIME_S = 3600;
/** A picture must have time to be loaded before its address expires. */
const MARGIN_MS = 120_000;
/** `CreateImageLinksRequest.sources` has no more. */
const MOST = 200;
/** How long requests are collected. */
const GATHER_MS = 30;

/** @typedef {import("./types.js").DownloadImageRequest} Source */

/** @type {Map<string, {path: string, until: number}>} */
const kept = new Map();
/** @type {Map<string, {source: Source, promise: Promise<string>, resolve: (path: string) => void, reject: (error: unknown) => void}>} */
let gathered = new Map();

/**
 * Returns an address of a picture, relative to the page.
 *
 * @param {Source} source
 * @param {{fresh?: boolean}} [options] `fresh`: not an address that was used before.
 * @returns {Promise<string>}
 * @throws {import("./connect.js").CallError}
 */
export function imageLink(source, { fresh = false } = {}) {
  const key = JSON.stringify(source);
  const link = kept.get(key);
  if (link && !fresh && link.until > Date.now()) return Promise.resolve(link.path);
  const waiting = gathered.get(key);
  if (waiting) return waiting.promise;
  if (!gathered.size) setTimeout(ask, GATHER_MS);
  /** @type {(path: string) => void} */
  let resolve = () => {};
  /** @type {(error: unknown) => void} */
  let reject = () => {};
  /** @type {Promise<string>} */
  const promise = new Promise((...both) => ([resolve, reject] = both));
  gathered.set(key, { source, promise, resolve, reject });
  return promise;
}

async function ask() {
  const all = [...gathered];
  gathered = new Map();
  for (let start = 0; start < all.length; start += MOST) {
    const batch = all.slice(start, start + MOST);
    try {
      const request = { sources: batch.map(([, { source }]) => source), lifetime: `${LIFETIME_S}s` };
      const { links = [] } = await call("CreateImageLinks", request);
      const until = Date.now() + LIFETIME_S * 1000 - MARGIN_MS;
      for (const [index, [key, { resolve }]] of batch.entries()) {
        const path = links[index].path;
        kept.set(key, { path, until });
        resolve(path);
      }
    } catch (error) {
      for (const [, { reject }] of batch) reject(error);
    }
  }
}
