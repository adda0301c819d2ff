/** Begins paintings. */

import { CallError, call, pause } from "./connect.js";
import * as jobs from "./jobs.js";
import { confirmOwner } from "./session.js";
import { newSeed } from "./settings.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").JobSpec} JobSpec */

/** How many paintings "Four seeds" makes. */
export const FOUR = 4;

/**
 * Previews as large as this screen shows them, within reason.
 *
 * @returns {import("./types.js").PreviewOptions}
 */
export function previewOptions() {
  const side = Math.max(screen.width, screen.height) * devicePixelRatio;
  return { maxSide: side > 1200 ? 1024 : 768, maxBytes: 196_608, minInterval: "0.250s" };
}

/**
 * Creates a job, and tries again while the server is away.
 *
 * @param {JobSpec} spec
 * @param {string} title
 * @returns {Promise<Job & {name: string}>}
 * @throws {CallError} The server refuses it.
 */
export async function createJob(spec, title) {
  const request = { spec, title: cleanTitle(title), preview: previewOptions(), requestId: randomName() };
  for (let attempt = 0; ; attempt++) {
    try {
      await confirmOwner();
      const job = await call("CreateJob", request);
      jobs.learn(job);
      return job;
    } catch (error) {
      if (!(error instanceof CallError) || !error.passing || attempt >= 8) throw error;
      await pause(attempt);
    }
  }
}

/**
 * Paints the same again, with another seed.
 *
 * @param {Job} job
 * @param {number} [seed]
 */
export async function paintAgain(job, seed = newSeed()) {
  const { spec = {} } = job.spec ? job : await jobs.load(job.name ?? "");
  return createJob({ ...spec, recipe: { ...job.recipe, seed } }, job.title ?? "");
}

/**
 * The titles of a job's styles, as the form puts them into its title; empty if the title is of another form.
 *
 * @param {Job} job With its `spec`.
 */
export function styleTitles(job) {
  const [, styles = ""] = (job.title ?? "").split(" – ");
  const titles = styles.split(", ").filter(Boolean);
  return titles.length === job.spec?.styles?.length ? titles : [];
}

/** A title without what the server refuses. @param {string} title */
export function cleanTitle(title) {
  return [...title.replace(/\p{Cc}+/gu, " ").trim()].slice(0, 200).join("");
}

/** A name that nobody has used before. (`crypto.randomUUID` needs TLS.) */
function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
