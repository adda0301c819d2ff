/**
 * All jobs of the caller, live.
 *
 * One `WatchJobs` stream brings the unfinished jobs and everything that happens to any job;
 * `ListJobs` and `GetJob` add the final ones. The stream is opened again by itself when it
 * breaks, and closed while the tab is in the background. Jobs are never changed in place: each
 * change makes a new object.
 */
import { CallError, call, stream } from "./connect.js";
import { isSeen, watchSeen } from "./visibility.js";
import { secondsOf } from "./words.js";

/** @typedef {import("./types.js").Job & {name: string}} Job */
/** @typedef {import("./types.js").JobEvent} JobEvent */
/** @typedef {import("./types.js").Preview} Preview */
/** @typedef {import("./types.js").WatchJobsResponse} WatchJobsResponse */

/**
 * A preview as the page shows it. `received` is in ms, as `performance.now()`.
 * @typedef {{blob: Blob, width: number, height: number, evaluation: number, scale: number,
 *   sequence: number, received: number}} PreviewPicture
 */
/** @typedef {"job" | "progress" | "preview" | "deleted"} Change */
/** @typedef {{name: string, job: Job, preview: PreviewPicture | undefined, change: Change}} News */
/** @typedef {(news: News) => void} Listener */
/** @typedef {"connecting" | "live" | "lost"} Connection */

/**
 * What is known of a job. `live` says that the open stream has sent it: its state is then
 * newer than any answer of a call.
 * @typedef {{job: Job, sequence: number, live: boolean, preview: PreviewPicture | undefined}} Entry
 */

/** Shortest time between two openings of the stream because other previews are wanted. */
const REOPEN_MS = 1000;
/** The server sends something at least every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MS = 45_000;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
/** How long the last preview of a job that is final is kept, for views that wait for its result. */
const KEEP_PREVIEW_MS = 30_000;
/** `WatchJobsRequest.previews_of` has no more names. */
const MAX_PREVIEWS_OF = 200;

const FINAL = new Set(["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"]);
const FORMATS = /** @type {Record<string, string>} */ ({
  IMAGE_FORMAT_PNG: "image/png",
  IMAGE_FORMAT_JPEG: "image/jpeg",
  IMAGE_FORMAT_WEBP: "image/webp",
});

/** @type {Map<string, Entry>} */
const known = new Map();
/** Names of deleted jobs, so that a late answer does not bring one back. @type {Set<string>} */
const gone = new Set();
/** @type {Map<string, Set<Listener>>} */
const listeners = new Map();
/** @type {Set<Listener>} */
const allListeners = new Set();
/** How many views want previews of a job. @type {Map<string, number>} */
const wanted = new Map();
/** @type {Set<(state: Connection) => void>} */
const connectionListeners = new Set();

/** @type {Connection} */
let connectionState = "connecting";
let everListed = false;
/** True between `start` and `stop`. */
let wantsJobs = false;
/** The stream that is open, or being opened. @type {AbortController | null} */
let current = null;
/** Whose previews the open stream sends, as one string. */
let askedFor = "";
let openedAt = -Infinity;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let reopening;
/** Ends the pause before the next try. @type {() => void} */
let tryNow = () => {};

/** @param {{state?: string}} job */
export const isFinal = (job) => FINAL.has(job.state ?? "");

/** @param {{state?: string}} job */
export const isRunning = (job) => job.state === "JOB_STATE_RUNNING";

/**
 * Seconds until a painting is finished, roughly; undefined if that is not known.
 *
 * The server tells the time that it would take alone. The caller's other paintings on the same device take
 * their turns with it; those of other people are not known here.
 *
 * @param {import("./types.js").Job} job
 */
export function secondsLeft(job) {
  const alone = secondsOf(job.progress?.timeLeft);
  if (alone === undefined || !isRunning(job)) return undefined;
  const sharing = [...known.values()].filter((entry) => isRunning(entry.job) && entry.job.device === job.device);
  return alone * Math.max(1, sharing.length);
}

/** Opens the stream, once somebody is signed in. */
export function start() {
  wantsJobs = true;
  if (!current && isSeen()) open();
}

/** Closes the stream and forgets everything: somebody signed out. */
export function stop() {
  wantsJobs = false;
  close();
  known.clear();
  everListed = false;
}

/** Closes the stream. What is known stays, and is brought up to date once a stream is open again. */
function close() {
  current?.abort();
  current = null;
  clearTimeout(reopening);
  reopening = undefined;
  for (const entry of known.values()) entry.live = false;
  setConnection("connecting");
}

watchSeen((seen) => {
  if (seen && wantsJobs) start();
  else close();
});

export const connection = () => connectionState;

/** True once the unfinished jobs are known. */
export const listed = () => everListed;

/**
 * Calls back with the state of the connection, at once and at each change.
 * @param {(state: Connection) => void} callback
 * @returns {() => void} ends it.
 */
export function watchConnection(callback) {
  connectionListeners.add(callback);
  callback(connectionState);
  return () => void connectionListeners.delete(callback);
}

/** All jobs that are known, the newest first. */
export function list() {
  return [...known.values()].map((entry) => entry.job).sort(newestFirst);
}

/**
 * @param {Job} a
 * @param {Job} b
 */
function newestFirst(a, b) {
  return Date.parse(b.createTime ?? "") - Date.parse(a.createTime ?? "") || (a.name < b.name ? -1 : 1);
}

/**
 * What is known of a job, without a call.
 * @param {string} name
 */
export const get = (name) => known.get(name)?.job;

/**
 * The newest preview of a job.
 * @param {string} name
 */
export const preview = (name) => known.get(name)?.preview;

/**
 * Fetches a job with its specification.
 * @param {string} name
 * @returns {Promise<Job>}
 * @throws {CallError} for example if there is no such job (any more).
 */
export async function load(name) {
  try {
    const job = await call("GetJob", { name });
    learn(job);
    return known.get(name)?.job ?? job;
  } catch (error) {
    if (error instanceof CallError && error.code === "not_found") forget(name);
    throw error;
  }
}

/**
 * Takes over a job from the answer of a call. Of a job that the stream shows, the stream knows
 * the newer state: only what the stream does not send is taken from the answer.
 * @param {import("./types.js").Job} answer
 */
export function learn(answer) {
  const job = /** @type {Job} */ (answer);
  if (gone.has(job.name)) return;
  const entry = known.get(job.name);
  if (!entry) {
    known.set(job.name, { job, sequence: 0, live: false, preview: undefined });
  } else if ((entry.live && connectionState === "live") || (isFinal(entry.job) && !isFinal(job))) {
    const { spec = entry.job.spec, expireTime = entry.job.expireTime } = job;
    entry.job = { ...entry.job, spec, expireTime };
  } else {
    entry.job = { ...job, spec: job.spec ?? entry.job.spec };
  }
  tell(job.name, "job");
}

/**
 * Takes away a job that was deleted.
 * @param {string} name
 */
export function forget(name) {
  gone.add(name);
  const entry = known.get(name);
  known.delete(name);
  wanted.delete(name);
  if (entry) announce({ name, job: entry.job, preview: entry.preview, change: "deleted" });
  else for (const callback of listeners.get(name) ?? []) callback({ name, job: { name }, preview: undefined, change: "deleted" });
}

/**
 * Calls back at each change of a job, and at once if it is known.
 * @param {string} name
 * @param {Listener} callback
 * @returns {() => void} ends it.
 */
export function watch(name, callback) {
  let callbacks = listeners.get(name);
  if (!callbacks) listeners.set(name, (callbacks = new Set()));
  callbacks.add(callback);
  const entry = known.get(name);
  if (entry) callback({ name, job: entry.job, preview: entry.preview, change: "job" });
  return () => {
    callbacks.delete(callback);
    if (!callbacks.size && listeners.get(name) === callbacks) listeners.delete(name);
  };
}

/**
 * Calls back at each change of any job.
 * @param {Listener} callback
 * @returns {() => void} ends it.
 */
export function watchAll(callback) {
  allListeners.add(callback);
  return () => void allListeners.delete(callback);
}

/**
 * Asks for the previews of a job, or ends that. Each `true` needs one `false`.
 * @param {string} name
 * @param {boolean} want
 */
export function wantPreviews(name, want) {
  const count = (wanted.get(name) ?? 0) + (want ? 1 : -1);
  if (count > 0) wanted.set(name, count);
  else wanted.delete(name);
  if (!current || reopening !== undefined) return;
  // A view that is left and another that comes in its place are one change: hence a moment's wait.
  const delay = Math.max(20, openedAt + REOPEN_MS - performance.now());
  reopening = setTimeout(() => {
    reopening = undefined;
    if (current && names().join() !== askedFor) open();
  }, delay);
}

/** The unfinished jobs whose previews are wanted. */
function names() {
  return [...wanted.keys()]
    .filter((name) => !isFinal(known.get(name)?.job ?? {}))
    .slice(-MAX_PREVIEWS_OF)
    .sort();
}

/** Opens a stream; the one before stays until the new one has sent its jobs. */
function open() {
  const before = current;
  const controller = new AbortController();
  current = controller;
  openedAt = performance.now();
  follow(controller, () => before?.abort());
}

/**
 * Reads the stream, again and again, until it is replaced.
 * @param {AbortController} controller
 * @param {() => void} takenOver - called when this stream has replaced the one before.
 */
async function follow(controller, takenOver) {
  let delay = FIRST_RETRY_MS;
  while (!controller.signal.aborted) {
    const attempt = new AbortController();
    const end = () => attempt.abort();
    controller.signal.addEventListener("abort", end);
    let watchdog = setTimeout(end, SILENCE_MS);
    /** @type {Set<string>} */
    const seen = new Set();
    try {
      const previewsOf = names();
      if (controller === current) askedFor = previewsOf.join();
      const request = previewsOf.length ? { previewsOf } : { omitPreviews: true };
      for await (const message of stream("WatchJobs", request, { signal: attempt.signal })) {
        if (controller.signal.aborted) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(end, SILENCE_MS);
        const response = /** @type {WatchJobsResponse} */ (message);
        if (response.listed) {
          delay = FIRST_RETRY_MS;
          takenOver();
          everListed = true;
          // A stream that replaces another one has missed nothing.
          if (connectionState !== "live") void complete(seen);
          setConnection("live");
        } else if (response.deleted && response.job) {
          forget(response.job);
        } else if (response.job && response.event) {
          seen.add(response.job);
          receive(response.job, response.event);
        }
      }
    } catch (error) {
      if (error instanceof CallError && error.code === "unauthenticated") {
        if (controller === current) current = null;
        break;
      }
      if (!(error instanceof CallError) && !attempt.signal.aborted) console.error(error);
    } finally {
      clearTimeout(watchdog);
      controller.signal.removeEventListener("abort", end);
    }
    if (controller !== current) break;
    takenOver();
    for (const entry of known.values()) entry.live = false;
    setConnection("lost");
    await pause(delay);
    delay = Math.min(2 * delay, LAST_RETRY_MS);
  }
  takenOver();
}

/**
 * Waits, but no longer than until the network is back.
 * @param {number} ms
 * @returns {Promise<void>}
 */
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    tryNow = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

globalThis.addEventListener?.("online", () => tryNow());

/**
 * Learns what the stream does not say: the newest final jobs, and what became of jobs that
 * were unfinished when an earlier stream broke.
 * @param {Set<string>} seen - the jobs that the stream has listed.
 */
async function complete(seen) {
  const before = [...known.keys()];
  const lost = [...known.values()].filter(({ job }) => !isFinal(job) && !seen.has(job.name));
  try {
    await Promise.all(lost.map(({ job }) => load(job.name).catch(ignoreNotFound)));
    const { jobs = [], nextPageToken } = /** @type {{jobs?: Job[], nextPageToken?: string}} */ (await call("ListJobs"));
    for (const job of jobs) learn(job);
    // Of the jobs that this page of the list could have, those that it does not have were deleted.
    const oldest = nextPageToken ? jobs.at(-1) : undefined;
    const there = new Set(jobs.map((job) => job.name));
    for (const name of before) {
      const job = known.get(name)?.job;
      if (job && isFinal(job) && !there.has(name) && (!oldest || newestFirst(job, oldest) < 0)) forget(name);
    }
  } catch (error) {
    // The stream notices a lost connection too, and then all this is done again.
    if (!(error instanceof CallError)) throw error;
  }
}

/** @param {unknown} error */
function ignoreNotFound(error) {
  if (!(error instanceof CallError && error.code === "not_found")) throw error;
}

/**
 * Takes over an event of the stream.
 * @param {string} name
 * @param {JobEvent} event
 */
function receive(name, event) {
  if (gone.has(name)) return;
  const sequence = Number(event.sequence ?? 0);
  let entry = known.get(name);
  // While two streams are open, each event comes twice. (A preview may be older than the job event before it.)
  if (!event.preview && entry?.live && sequence < entry.sequence) return;
  if (event.job) {
    const { spec, expireTime } = entry?.job ?? {};
    const job = { ...event.job, name, spec: event.job.spec ?? spec, expireTime: event.job.expireTime ?? expireTime };
    if (!entry) known.set(name, (entry = { job, sequence, live: true, preview: undefined }));
    Object.assign(entry, { job, sequence, live: true });
    if (isFinal(job)) forgetPreviewLater(name);
    tell(name, "job");
  } else if (entry && event.progress) {
    Object.assign(entry, { job: { ...entry.job, progress: event.progress }, sequence });
    tell(name, "progress");
  } else if (entry && event.preview && sequence > (entry.preview?.sequence ?? -1)) {
    entry.preview = picture(event.preview, sequence);
    tell(name, "preview");
  }
}

/** @param {string} name */
function forgetPreviewLater(name) {
  setTimeout(() => {
    const entry = known.get(name);
    if (entry) entry.preview = undefined;
  }, KEEP_PREVIEW_MS);
}

/**
 * @param {Preview} message
 * @param {number} sequence
 * @returns {PreviewPicture}
 */
function picture(message, sequence) {
  const { data = "", format = "", width = 0, height = 0, evaluation = 0, scale = 0 } = message;
  const blob = new Blob([bytes(data)], { type: FORMATS[format] ?? "image/jpeg" });
  return { blob, width, height, evaluation, scale, sequence, received: performance.now() };
}

/** @param {string} base64 */
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/**
 * @param {string} name
 * @param {Change} change
 */
function tell(name, change) {
  const entry = known.get(name);
  if (entry) announce({ name, job: entry.job, preview: entry.preview, change });
}

/** @param {News} news */
function announce(news) {
  for (const callback of [...(listeners.get(news.name) ?? []), ...allListeners]) callback(news);
}

/** @param {Connection} state */
function setConnection(state) {
  if (state === connectionState) return;
  connectionState = state;
  for (const callback of connectionListeners) callback(state);
}
