/**
 * The details of an error, which Connect sends as binary messages even in JSON: google.rpc's BadRequest,
 * ErrorInfo, RetryInfo, PreconditionFailure and QuotaFailure. They have strings and small numbers only, so
 * that a few lines read them.
 */

/**
 * @typedef {{field: string, description: string}} FieldError What is wrong with a field of a request.
 * @typedef {{reason: string, fields: FieldError[], retryAfter: number | undefined}} Details
 */

/**
 * Reads what the page uses of an error's details.
 *
 * @param {{type?: string, value?: string}[]} details As in a Connect error; `value` is base64.
 * @returns {Details} `retryAfter` in seconds.
 */
export function readDetails(details) {
  /** @type {Details} */
  const read = { reason: "", fields: [], retryAfter: undefined };
  for (const detail of details) {
    const type = (detail.type ?? "").replace(/^.*[/]/, "");
    const message = parse(bytes(detail.value ?? ""));
    if (type === "google.rpc.ErrorInfo") {
      read.reason = text(message, 1);
    } else if (type === "google.rpc.BadRequest") {
      for (const violation of messages(message, 1)) {
        read.fields.push({ field: text(violation, 1), description: text(violation, 2) });
      }
    } else if (type === "google.rpc.RetryInfo") {
      const [delay] = messages(message, 1);
      read.retryAfter = delay ? number(delay, 1) + number(delay, 2) / 1e9 : 0;
    }
  }
  return read;
}

/** @typedef {Map<number, (number | Uint8Array)[]>} Parsed Values by the number of their field. */

/**
 * @param {Uint8Array} data
 * @returns {Parsed}
 */
function parse(data) {
  /** @type {Parsed} */
  const fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; at < data.length; factor *= 128) {
      const byte = data[at++];
      value += (byte & 127) * factor;
      if (byte < 128) break;
    }
    return value;
  };
  while (at < data.length) {
    const key = varint();
    const kind = key & 7;
    /** @type {number | Uint8Array} */
    let value = 0;
    if (kind === 0) value = varint();
    else if (kind === 2) {
      const length = varint();
      value = data.subarray(at, at + length);
      at += length;
    } else at += kind === 1 ? 8 : 4;
    const number = Math.floor(key / 8);
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}

/** @param {Parsed} message @param {number} field */
function text(message, field) {
  const value = message.get(field)?.[0];
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : "";
}

/** @param {Parsed} message @param {number} field */
function number(message, field) {
  const value = message.get(field)?.[0];
  return typeof value === "number" ? value : 0;
}

/** @param {Parsed} message @param {number} field */
function messages(message, field) {
  return (message.get(field) ?? []).filter((value) => value instanceof Uint8Array).map(parse);
}

/** @param {string} base64 With or without padding. */
function bytes(base64) {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
