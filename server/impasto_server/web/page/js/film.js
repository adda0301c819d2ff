/** The film of a painting: the previews that the page has seen, one after the other. */

import { loadStyle, make } from "./dom.js";
import { deleteFilm, frameCount, framesOf, keepFrame } from "./film_store.js";
import { icon } from "./icons.js";
import * as jobs from "./jobs.js";
import { imageLink } from "./links.js";
import { _, errorText } from "./words.js";

/** Time of a frame, and of the last one, in ms. */
const FRAME_MS = 120;
const LAST_MS = 1200;
/** Longer side of the film in pixels, at most. */
const FILM_SIDE = 1024;
/** A film of fewer frames is none. */
const LEAST_FRAMES = 3;
const VIDEO_TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

let recording = false;

/** From now on keeps the previews that come, of all jobs. */
export function record() {
  if (recording) return;
  recording = true;
  jobs.watchAll(({ name, preview, change }) => {
    if (change === "preview" && preview) void keepFrame(name, preview);
    else if (change === "deleted") void deleteFilm(name);
  });
}

/**
 * Whether there is a film of a job.
 *
 * @param {string} name `Job.name`.
 * @returns {Promise<boolean>}
 */
export async function keeps(name) {
  return (await frameCount(name)) >= LEAST_FRAMES;
}

/**
 * Plays the film of a job in a dialog.
 *
 * @param {string} name `Job.name`.
 * @param {string} title
 */
export async function openFilm(name, title) {
  await loadStyle("css/dialogs.css");
  const player = new Player(title);
  player.show();
  try {
    await player.load(await pictures(name));
  } catch (error) {
    player.tell(errorText(error));
  }
}

/** The pictures of a film: the previews, then the result if there is one. @param {string} name */
async function pictures(name) {
  const blobs = (await framesOf(name)).map((frame) => frame.blob);
  if (jobs.get(name)?.state === "JOB_STATE_SUCCEEDED") {
    const response = await fetch(await imageLink({ resultOf: name, maxSide: FILM_SIDE }));
    if (response.ok) blobs.push(await response.blob());
  }
  return Promise.all(blobs.map((blob) => createImageBitmap(blob)));
}

class Player {
  /** @param {string} title */
  constructor(title) {
    this.title = title || _("Untitled");
    /** @type {ImageBitmap[]} */
    this.frames = [];
    this.at = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** Called when the last frame has been shown for long enough. @type {() => void} */
    this.atEnd = () => {};
    this.canvas = make("canvas", { role: "img", "aria-label": _("Film of {title}", { title: this.title }) });
    this.message = make("p", { class: "hint", role: "status" }, _("Loading the film …"));
    this.playButton = make("button", { type: "button", class: "icon-button", onclick: () => (this.timer ? this.pause() : this.play()) });
    this.scrubber = make("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": _("Place in the film"), oninput: () => this.scrub() });
    this.number = make("span", { class: "hint number", "aria-hidden": "true" });
    this.saveButton = make("button", { type: "button", disabled: true, onclick: () => void this.save() }, icon("download"), _("Save as video"));
    this.dialog = make(
      "dialog",
      { class: "film", "aria-labelledby": "film-title", onclose: () => this.close() },
      make("h2", { id: "film-title" }, this.title),
      this.canvas,
      make("div", { class: "film-controls" }, this.playButton, this.scrubber, this.number),
      make(
        "form",
        { method: "dialog", class: "buttons" },
        this.message,
        videoType() && this.saveButton,
        make("button", { class: "primary" }, _("Close")),
      ),
    );
    this.drawButton();
  }

  show() {
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  close() {
    this.pause();
    for (const frame of this.frames) frame.close();
    this.dialog.remove();
  }

  /** @param {ImageBitmap[]} frames */
  async load(frames) {
    this.frames = frames;
    const largest = frames.reduce((one, other) => (other.width > one.width ? other : one));
    this.canvas.width = largest.width;
    this.canvas.height = largest.height;
    this.scrubber.max = String(frames.length - 1);
    this.saveButton.disabled = false;
    this.message.textContent = "";
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.draw(0);
    else this.play();
  }

  /** @param {string} text */
  tell(text) {
    this.message.textContent = text;
  }

  play() {
    if (!this.frames.length) return;
    if (this.at === this.frames.length - 1) this.at = 0;
    clearTimeout(this.timer);
    const step = () => {
      this.draw(this.at);
      const isLast = this.at === this.frames.length - 1;
      this.timer = setTimeout(isLast ? () => this.ended() : step, isLast ? LAST_MS : FRAME_MS);
      if (!isLast) this.at += 1;
    };
    step();
    this.drawButton();
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.drawButton();
  }

  ended() {
    this.pause();
    this.atEnd();
  }

  scrub() {
    this.pause();
    this.at = this.scrubber.valueAsNumber;
    this.draw(this.at);
  }

  /** @param {number} index */
  draw(index) {
    const context = this.canvas.getContext("2d");
    if (!context || !this.frames[index]) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.frames[index], 0, 0, this.canvas.width, this.canvas.height);
    this.scrubber.value = String(index);
    this.number.textContent = `${index + 1} / ${this.frames.length}`;
    this.scrubber.setAttribute("aria-valuetext", _("Picture {number} of {count}", { number: index + 1, count: this.frames.length }));
  }

  drawButton() {
    const label = this.timer ? _("Pause") : _("Play");
    this.playButton.setAttribute("aria-label", label);
    this.playButton.replaceChildren(icon(this.timer ? "pause" : "play"));
  }

  /** Plays the film once, from its beginning, and saves it as it is played. */
  async save() {
    const type = videoType();
    this.saveButton.disabled = this.scrubber.disabled = this.playButton.disabled = true;
    this.tell(_("Recording the video …"));
    const recorder = new MediaRecorder(this.canvas.captureStream(30), { mimeType: type, videoBitsPerSecond: 6_000_000 });
    /** @type {Blob[]} */
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    this.dialog.addEventListener("close", () => recorder.state === "recording" && recorder.stop());
    this.atEnd = () => recorder.stop();
    recorder.start();
    this.at = 0;
    this.play();
    await stopped;
    this.atEnd = () => {};
    this.saveButton.disabled = this.scrubber.disabled = this.playButton.disabled = false;
    this.tell("");
    if (!this.dialog.open) return;
    const url = URL.createObjectURL(new Blob(pieces, { type: type.split(";")[0] }));
    make("a", { href: url, download: `${this.title}.webm` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }
}

/** The kind of video that the browser can make; "" if none. */
function videoType() {
  if (typeof MediaRecorder === "undefined") return "";
  return VIDEO_TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
}
