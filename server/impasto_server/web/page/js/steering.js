/** Steering from sliders, which change faster than a server should be called. */

import { CallError, call, pause } from "./connect.js";
import * as jobs from "./jobs.js";

/** @typedef {import("./types.js").Recipe} Recipe */

/** Seconds that a change waits for a newer one. */
const DELAY = 0.15;

/** Changes of a job's recipe that are still to be sent. */
export class Steering {
  /**
   * @param {string} name `Job.name`.
   * @param {AbortSignal} signal
   * @param {(error: unknown) => void} failed Hears that a change was refused; undefined once one was accepted.
   */
  constructor(name, signal, failed) {
    this.name = name;
    this.signal = signal;
    this.failed = failed;
    /** @type {Recipe} */
    this.wanted = {};
    this.isSending = false;
  }

  /** Whether something is on its way: what the server tells is older then. */
  get isBusy() {
    return this.isSending;
  }

  /** Changes fields of the recipe; a newer value replaces an older one. @param {Recipe} fields */
  want(fields) {
    // Of the two ways to say how long to work, the newer one counts.
    if ("effort" in fields) delete this.wanted.evaluations;
    if ("evaluations" in fields) delete this.wanted.effort;
    Object.assign(this.wanted, fields);
    if (!this.isSending) void this.#send();
  }

  async #send() {
    this.isSending = true;
    for (let attempt = 0; Object.keys(this.wanted).length && !this.signal.aborted; ) {
      await new Promise((resolve) => setTimeout(resolve, DELAY * 1000));
      const recipe = this.wanted;
      this.wanted = {};
      const updateMask = Object.keys(recipe).map((field) => `recipe.${field}`).join(",");
      try {
        jobs.learn(await call("UpdateJob", { job: { name: this.name, recipe }, updateMask }));
        attempt = 0;
        this.failed(undefined);
      } catch (error) {
        if (error instanceof CallError && error.passing) {
          this.wanted = { ...recipe, ...this.wanted };
          await pause(attempt++, this.signal);
        } else {
          this.failed(error);
        }
      }
    }
    this.isSending = false;
  }
}
