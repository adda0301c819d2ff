/**
 * Where a painting is shown: its previews while it is painted, its result, and the photograph to compare.
 *
 * The frame has the proportions of the result from the beginning, so that nothing jumps when previews grow.
 */

import { make } from "./dom.js";
import { _ } from "./words.js";

/** @typedef {import("./jobs.js").PreviewPicture} PreviewPicture */

export class Stage {
  /** @param {string} label What the picture is, for those who do not see it. */
  constructor(label) {
    this.canvas = make("canvas", { class: "picture", role: "img", "aria-label": label, width: 1, height: 1 });
    this.result = make("img", { class: "picture", alt: label, hidden: true });
    this.photo = make("img", { class: "picture photo", alt: "", hidden: true });
    this.split = make("input", { type: "range", class: "split", min: 0, max: 100, step: 1, value: 50, "aria-label": _("Compare with the photograph") });
    this.comparison = make("div", { class: "comparison", hidden: true }, this.split);
    this.frame = make("div", { class: "frame" }, this.canvas, this.result, this.photo, this.comparison);
    this.element = make("div", { class: "stage", tabindex: -1 }, this.frame);
    this.context = this.canvas.getContext("2d");
    /** Whether a picture is there to see. */
    this.isShown = false;
    /** The newest preview that is not drawn yet. @type {PreviewPicture | undefined} */
    this.next = undefined;
    this.isDrawing = false;
    this.drawn = -1;
    this.split.addEventListener("input", () => this.#place());
    this.frame.addEventListener("click", () => this.comparison.hidden && this.#toggleFull());
    this.#place();
  }

  /** Gives the frame the size of the result. @param {number} width In pixels. @param {number} height */
  resize(width, height) {
    if (!width || !height) return;
    this.frame.style.setProperty("--width", `${width}px`);
    this.frame.style.setProperty("--ratio", String(width / height));
  }

  /** Shows a preview, unless a newer one comes before it can be drawn. @param {PreviewPicture} preview */
  showPreview(preview) {
    if (preview.sequence <= this.drawn || !this.result.hidden) return;
    this.next = preview;
    if (!this.isDrawing) void this.#draw();
  }

  async #draw() {
    this.isDrawing = true;
    while (this.next) {
      await new Promise(requestAnimationFrame);
      const preview = this.next;
      this.next = undefined;
      const bitmap = await createImageBitmap(preview.blob).catch(() => null);
      if (!bitmap) continue;
      if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
        this.canvas.width = bitmap.width;
        this.canvas.height = bitmap.height;
      }
      this.context?.drawImage(bitmap, 0, 0);
      bitmap.close();
      this.drawn = preview.sequence;
      this.isShown = true;
      this.element.dataset.preview = String(preview.evaluation);
    }
    this.isDrawing = false;
  }

  /**
   * Shows the result in place of the previews.
   *
   * @param {string} url Its address.
   * @param {string} [fullUrl] Its address with all pixels, for a look at 100 %.
   */
  async showResult(url, fullUrl = url) {
    this.fullUrl = fullUrl;
    const loaded = new Image();
    loaded.src = url;
    await loaded.decode();
    this.result.src = url;
    await this.result.decode();
    this.result.hidden = false;
    this.canvas.hidden = true;
    this.isShown = true;
    this.element.dataset.result = "";
  }

  /** The photograph to compare with. @param {string} url */
  setPhoto(url) {
    this.photo.src = url;
  }

  /** Shows or hides the photograph beside the painting. @param {boolean} on */
  compare(on) {
    if (on) this.#setFull(false);
    this.photo.hidden = !on;
    this.comparison.hidden = !on;
    this.#place();
    if (on) this.split.focus();
  }

  #place() {
    this.frame.style.setProperty("--split", `${this.split.value}%`);
    this.split.setAttribute("aria-valuetext", _("{percent} % photograph", { percent: this.split.value }));
  }

  #toggleFull() {
    if (!this.result.hidden) this.#setFull(!this.element.classList.contains("full"));
  }

  /** @param {boolean} on One pixel of the result is one pixel of the page. */
  #setFull(on) {
    this.element.classList.toggle("full", on);
    if (on && this.fullUrl && this.result.src !== this.fullUrl) this.result.src = this.fullUrl;
  }
}
