/**
 * Calls of the service over the Connect protocol, with JSON: https://connectrpc.com/docs/protocol.
 *
 * `call("CreateJob", message)` for an answer, `stream("WatchJob", message)` for many; "Admin/GetStatus" is a
 * call of the service Admin. Messages are in proto3's JSON form (types.d.ts).
 */

import { readDetails } from "./error_details.js";

/** @typedef {import("./error_details.js").FieldError} FieldError */

/** Seconds after which a call without an answer has failed. */
const PATIENCE = 60;

/** A call that failed. */
export class CallError extends Error {
  /**
   * @param {string} code gRPC's code in Connect's spelling, such as "invalid_argument".
   * @param {string} message What went wrong and what to do, in the server's words (English).
   * @param {{type?: string, value?: string}[]} [details]
   */
  constructor(code, message, details = []) {
    super(message);
    this.name = "CallError";
    this.code = code;
    const read = readDetails(details);
    /** The reason of google.rpc.ErrorInfo, such as "QUEUE_FULL"; "" if there is none. */
    this.reason = read.reason;
    /** What is wrong with the fields of the request, by their path in it. @type {FieldError[]} */
    this.fields = read.fields;
    /** Seconds after which to try again; undefined if the server does not say. */
    this.retryAfter = read.retryAfter;
  }

  /** Whether the same call may succeed later: the connection broke, or the server is away for a moment. */
  get passing() {
    // Without an ErrorInfo these do not come from the server: a proxy said so, or the connection broke.
    const broken = ["canceled", "internal", "unknown"].includes(this.code) && !this.reason;
    return this.code === "unavailable" || this.code === "deadline_exceeded" || broken;
  }
}

/** Hears of every call that was refused because nobody is signed in. */
export const refusals = new EventTarget();

/**
 * Makes a call and returns the answer.
 *
 * @param {string} method Such as "CreateJob" or "Admin/GetStatus".
 * @param {object} [message]
 * @param {{signal?: AbortSignal, timeout?: number}} [options] `timeout` in seconds.
 * @returns {Promise<any>} The answer's JSON.
 * @throws {CallError} The call failed.
 * @throws {DOMException} "AbortError": `signal` ended it.
 */
export async function call(method, message = {}, { signal, timeout = PATIENCE } = {}) {
  const limit = AbortSignal.timeout(timeout * 1000);
  const response = await send(method, message, "application/json", either(signal, limit), signal);
  try {
    return await response.json();
  } catch (error) {
    throw broken(error, signal);
  }
}

/**
 * Makes a call and yields its answers as they come. Leaving the loop ends the call.
 *
 * @param {string} method
 * @param {object} [message]
 * @param {{signal?: AbortSignal}} [options]
 * @returns {AsyncGenerator<any, void, void>} The answers' JSON.
 * @throws {CallError} The call failed; answers may have come before.
 * @throws {DOMException} "AbortError": `signal` ended it.
 */
export async function* stream(method, message = {}, { signal } = {}) {
  const ended = new AbortController();
  const response = await send(method, envelope(message), "application/connect+json", either(signal, ended.signal), signal);
  if (!response.body) throw new CallError("unavailable", "The answer is empty.");
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let buffer = new Uint8Array();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw broken(error, signal);
      });
      if (done) throw new CallError("unavailable", "The connection broke.");
      buffer = joined(buffer, value);
      while (buffer.length >= 5) {
        const length = new DataView(buffer.buffer, buffer.byteOffset).getUint32(1);
        if (buffer.length < 5 + length) break;
        const isLast = (buffer[0] & 2) !== 0;
        const json = JSON.parse(decoder.decode(buffer.subarray(5, 5 + length)) || "{}");
        buffer = buffer.subarray(5 + length);
        if (isLast) {
          if (json.error) throw told(json.error, "unknown");
          return;
        }
        yield json;
      }
    }
  } finally {
    ended.abort();
  }
}

/**
 * @param {string} method
 * @param {object | Uint8Array} message
 * @param {string} type
 * @param {AbortSignal} ending Ends the call, for whatever reason.
 * @param {AbortSignal | undefined} signal The caller's wish to end it.
 * @returns {Promise<Response>}
 */
async function send(method, message, type, ending, signal) {
  const service = method.includes("/") ? "impasto.v1." : "impasto.v1.StyleTransfer/";
  /** @type {Response} */
  let response;
  try {
    response = await fetch(new URL(service + method, document.baseURI), {
      method: "POST",
      headers: { "Content-Type": type, "Connect-Protocol-Version": "1" },
      body: message instanceof Uint8Array ? /** @type {BufferSource} */ (message) : JSON.stringify(message),
      signal: ending,
    });
  } catch (error) {
    throw broken(error, signal);
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const error = told(answer, codeOf(response.status));
  if (error.code === "unauthenticated") refusals.dispatchEvent(new Event("refused"));
  throw error;
}

/**
 * @param {{code?: string, message?: string, details?: {type?: string, value?: string}[]}} error
 * @param {string} code In place of an absent one.
 */
function told(error, code) {
  return new CallError(error.code ?? code, error.message ?? "", error.details ?? []);
}

/** Connect's code for an answer that is not Connect's, such as a proxy's. @param {number} status */
function codeOf(status) {
  if (status === 401) return "unauthenticated";
  if (status === 403) return "permission_denied";
  if (status === 404) return "unimplemented";
  return [429, 502, 503, 504].includes(status) ? "unavailable" : "unknown";
}

/** @param {unknown} error @param {AbortSignal | undefined} signal */
function broken(error, signal) {
  if (signal?.aborted) return new DOMException("The call was ended.", "AbortError");
  const late = error instanceof DOMException && error.name === "TimeoutError";
  return new CallError(late ? "deadline_exceeded" : "unavailable", "The server does not answer.");
}

/** @param {AbortSignal | undefined} first @param {AbortSignal} second */
function either(first, second) {
  return first ? AbortSignal.any([first, second]) : second;
}

/** A message with the flags and the length that Connect puts before it. @param {object} message */
function envelope(message) {
  const body = new TextEncoder().encode(JSON.stringify(message));
  const whole = new Uint8Array(5 + body.length);
  new DataView(whole.buffer).setUint32(1, body.length);
  whole.set(body, 5);
  return whole;
}

/** @param {Uint8Array<ArrayBuffer>} first @param {Uint8Array} second */
function joined(first, second) {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/**
 * Waits before a call is repeated: longer each time, at most 5 s, and never two pages in step.
 *
 * @param {number} attempt From 0.
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} Ends at once when `signal` does.
 */
export function pause(attempt, signal) {
  const seconds = Math.min(5, 0.25 * 2 ** attempt) * (0.75 + Math.random() / 2);
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
