/** Pictures that people give to the page, and their way to the server. */

import { CallError, call, pause } from "./connect.js";
import { confirmOwner } from "./session.js";
import { _, errorText } from "./words.js";

/** Bytes of a piece of an upload; the server takes up to 4 MiB. */
const PIECE = 512 * 1024;

/** What a file dialog offers. */
export const ACCEPTED = "image/*,.tif,.tiff";

/** A picture that was dropped, pasted, chosen or taken. It is sent as soon as it is given. */
export class Picture {
  /** @param {Blob} blob The file. @param {string} name Its name; "" if it has none. */
  constructor(blob, name) {
    this.blob = blob;
    this.name = name;
    /** An address at which this page can show it. Browsers cannot show every kind of file. */
    this.url = URL.createObjectURL(blob);
    /** The share that the server has, 0 to 1. */
    this.sent = 0;
    /** Hears ("sent") of the sending. */
    this.news = new EventTarget();
    this.leaving = new AbortController();
    /** @type {Promise<string> | undefined} */
    this.sending = undefined;
    /** @type {Promise<number> | undefined} */
    this.measuring = undefined;
  }

  /**
   * Sends the picture, once; call it again to send it again after an error.
   *
   * @returns {Promise<string>} Its SHA-256, by which jobs name it.
   */
  send() {
    this.sending ??= sendImage(this.blob, {
      signal: this.leaving.signal,
      progress: (share) => {
        this.sent = share;
        this.news.dispatchEvent(new Event("sent"));
      },
    }).catch((error) => {
      this.sending = undefined;
      throw error;
    });
    return this.sending;
  }

  /** Its longer side in pixels; 0 if the browser cannot show it. @returns {Promise<number>} */
  side() {
    this.measuring ??= new Promise((resolve) => {
      const picture = new Image();
      picture.onload = () => resolve(Math.max(picture.naturalWidth, picture.naturalHeight));
      picture.onerror = () => resolve(0);
      picture.src = this.url;
    });
    return this.measuring;
  }

  /** Sends it again: the server has it no longer. */
  resend() {
    this.sending = undefined;
    return this.send();
  }

  /** Ends the sending, and forgets the address. */
  close() {
    this.leaving.abort();
    URL.revokeObjectURL(this.url);
  }
}

/**
 * Sends an image in pieces. It goes on where an earlier try stopped, and goes on by itself when the
 * connection comes back.
 *
 * @param {Blob} blob
 * @param {{signal?: AbortSignal, progress?: (share: number) => void}} [options]
 * @returns {Promise<string>} Its SHA-256.
 * @throws {CallError} The server refuses it, and says why.
 * @throws {DOMException} "AbortError": `signal` ended it, or somebody else is signed in.
 */
export async function sendImage(blob, { signal, progress = () => {} } = {}) {
  const data = new Uint8Array(await blob.arrayBuffer());
  const sha256 = await digest(data);
  const about = { sha256, sizeBytes: String(data.length) };
  let offset = 0;
  let isKnown = false;
  for (let attempt = 0; ; ) {
    // The first call has no data: it asks how much of the image the server has.
    const piece = isKnown ? data.subarray(offset, offset + PIECE) : new Uint8Array();
    try {
      if (!isKnown) await confirmOwner();
      /** @type {import("./types.js").UploadImageResponse} */
      const answer = await call("UploadImagePiece", { ...about, offset: String(offset), data: base64(piece) }, { signal });
      attempt = 0;
      isKnown = true;
      offset = Number(answer.committedBytes ?? 0);
      progress(answer.complete ? 1 : offset / data.length);
      if (answer.complete) return sha256;
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      // The answer to an earlier piece was lost, and the server has more than the page knows.
      const isBehind = error.code === "failed_precondition" && attempt === 0;
      if (!isBehind && !error.passing) throw error;
      if (isBehind) attempt += 1;
      else await pause(attempt++, signal);
      isKnown = false;
      offset = 0;
    }
  }
}

/** @param {Uint8Array<ArrayBuffer>} data */
async function digest(data) {
  if (!globalThis.crypto.subtle) return (await import("./sha256.js")).sha256(data);
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Uint8Array} data */
function base64(data) {
  let text = "";
  // String.fromCharCode takes a limited number of arguments.
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

/** The first picture among the files that were dropped or pasted. @param {DataTransfer | null} transfer */
export function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/") || /\.(tiff?|hei[cf])$/i.test(file.name));
}

/** Why the server does not take a picture, in sentences. @param {string} title @param {unknown} error */
export function refusal(title, error) {
  const reasons = error instanceof CallError ? error.fields.map(({ description }) => description) : [];
  const sentence = _("“{title}” cannot be used.", { title });
  if (reasons.some((reason) => / HEI[CF] /.test(reason))) return sentence + " " + _("It is a HEIC file. Save it as JPEG, and choose that.");
  // The server's words, which are English, begin after the subject.
  return sentence + " " + (reasons.map((reason) => `It ${reason}.`).join(" ") || errorText(error));
}
