/**
 * The previews that this browser has seen, kept in IndexedDB: at most 60 of a job, evenly thinned, and 50 MB
 * in all, of which the oldest films go first. A browser without IndexedDB keeps none. Each tenant has a store of
 * their own, and signing out empties it.
 */

import { owner } from "./session.js";

/** @typedef {import("./jobs.js").PreviewPicture} PreviewPicture */
/** @typedef {{job: string, sequence: number, evaluation: number, blob: Blob}} Frame */

/**
 * A film without its frames. `every`: of so many previews one is kept. `time`: of the last one, in ms since 1970.
 * @typedef {{job: string, time: number, bytes: number, every: number, sequences: number[]}} Film
 */

export const MOST_FRAMES = 60;
export const MOST_BYTES = 50_000_000;

/** @type {Promise<IDBDatabase> | undefined} */
let opened;

/** @returns {Promise<IDBDatabase>} */
function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(`impasto-films ${owner()}`, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("films", { keyPath: "job" });
      request.result.createObjectStore("frames", { keyPath: ["job", "sequence"] });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransactionMode} mode */
async function stores(mode) {
  const transaction = (await database()).transaction(["films", "frames"], mode);
  return { films: transaction.objectStore("films"), frames: transaction.objectStore("frames") };
}

/** All frames of a job. @param {string} job */
const allOf = (job) => IDBKeyRange.bound([job, -Infinity], [job, Infinity]);

/** Calls with previews to skip until the next one is kept, by job. @type {Map<string, number>} */
const skipped = new Map();

/** One change at a time, so that a film is never read between two. @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * Keeps a preview, unless its turn has not come.
 *
 * @param {string} job `Job.name`.
 * @param {PreviewPicture} preview
 */
export function keepFrame(job, preview) {
  const turn = last.then(() => add(job, preview)).catch(() => undefined);
  last = turn;
  return turn;
}

/** @param {string} job @param {PreviewPicture} preview */
async function add(job, { sequence, evaluation, blob }) {
  const { films, frames } = await stores("readwrite");
  /** @type {Film} */
  const film = (await answer(films.get(job))) ?? { job, time: 0, bytes: 0, every: 1, sequences: [] };
  const waited = (skipped.get(job) ?? film.every) + 1;
  if (waited < film.every || film.sequences.includes(sequence)) {
    skipped.set(job, waited);
    return;
  }
  skipped.set(job, 0);
  frames.put({ job, sequence, evaluation, blob });
  film.sequences.push(sequence);
  film.bytes += blob.size;
  film.time = Date.now();
  if (film.sequences.length > MOST_FRAMES) await thin(film, frames);
  films.put(film);
  await makeRoom(job, films, frames);
}

/** Deletes every second frame. @param {Film} film @param {IDBObjectStore} frames */
async function thin(film, frames) {
  for (const sequence of film.sequences.filter((_sequence, index) => index % 2)) {
    const frame = /** @type {Frame | undefined} */ (await answer(frames.get([film.job, sequence])));
    film.bytes -= frame?.blob.size ?? 0;
    frames.delete([film.job, sequence]);
  }
  film.sequences = film.sequences.filter((_sequence, index) => index % 2 === 0);
  film.every *= 2;
}

/** Deletes the oldest films, except one. @param {string} except @param {IDBObjectStore} films @param {IDBObjectStore} frames */
async function makeRoom(except, films, frames) {
  const all = /** @type {Film[]} */ (await answer(films.getAll()));
  let bytes = all.reduce((sum, film) => sum + film.bytes, 0);
  for (const film of all.sort((a, b) => a.time - b.time)) {
    if (bytes <= MOST_BYTES) return;
    if (film.job === except) continue;
    films.delete(film.job);
    frames.delete(allOf(film.job));
    bytes -= film.bytes;
  }
}

/**
 * How many frames a job's film has.
 *
 * @param {string} job `Job.name`.
 * @returns {Promise<number>}
 */
export async function frameCount(job) {
  try {
    const { films } = await stores("readonly");
    const film = /** @type {Film | undefined} */ (await answer(films.get(job)));
    return film?.sequences.length ?? 0;
  } catch {
    return 0;
  }
}

/**
 * The frames of a job's film, in order.
 *
 * @param {string} job `Job.name`.
 * @returns {Promise<Frame[]>}
 */
export async function framesOf(job) {
  const { frames } = await stores("readonly");
  return answer(frames.getAll(allOf(job)));
}

/** Deletes the film of a job. @param {string} job */
export function deleteFilm(job) {
  skipped.delete(job);
  return change(({ films, frames }) => {
    films.delete(job);
    frames.delete(allOf(job));
  });
}

/** Deletes all films: whoever uses the browser next must not see them. */
export function deleteAllFilms() {
  skipped.clear();
  return change(({ films, frames }) => {
    films.clear();
    frames.clear();
  });
}

/** @param {(stores: {films: IDBObjectStore, frames: IDBObjectStore}) => void} action */
function change(action) {
  const turn = last.then(async () => action(await stores("readwrite"))).catch(() => undefined);
  last = turn;
  return turn;
}
