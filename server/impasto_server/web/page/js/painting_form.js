/** A new painting: the photograph, the style, the settings, and the button that begins it. */

import { CallError, call } from "./connect.js";
import { fill, loadStyle, make, settled } from "./dom.js";
import { keepChoices, keepDraft, keptChoices, keptDraft } from "./draft.js";
import { icon } from "./icons.js";
import { ACCEPTED, Picture, pictureIn, refusal, sendImage } from "./images.js";
import * as jobs from "./jobs.js";
import { say } from "./notice.js";
import { createJob, FOUR, styleTitles } from "./paint.js";
import { go } from "./router.js";
import { serverInfo } from "./session.js";
import { choicesOf, LARGEST_OWN_SIZE, newSeed, recipeOf, settingsPanel } from "./settings.js";
import { StyleChooser } from "./style_chooser.js";
import { _, dataSize, duration, errorText, secondsOf } from "./words.js";

/** @typedef {import("./types.js").JobSpec} JobSpec */

/**
 * @param {import("./router.js").Context} context `?again=jobs/ID` fills the form from that job.
 * @returns {Promise<HTMLElement>}
 */
export async function showForm({ query, signal }) {
  await loadStyle("css/painting.css");
  const info = await serverInfo();
  const form = new PaintingForm(info, signal);
  await form.fill(query.get("again"));
  return form.element;
}

class PaintingForm {
  /**
   * @param {import("./types.js").GetServerInfoResponse} info
   * @param {AbortSignal} signal Ends when the form is left.
   */
  constructor({ limits = {} }, signal) {
    this.signal = signal;
    this.choices = keptChoices();
    this.largestSize = limits.maxLongestSide ?? Infinity;
    /** @type {Picture | null} */
    this.photo = null;
    /** @type {import("./regions.js").Regions | null} */
    this.regions = null;
    this.styles = new StyleChooser(
      () => this.#changed(),
      (title, error) => this.#say(refusal(title, error)),
    );
    this.panel = settingsPanel(this.choices, {
      largestSize: this.largestSize,
      changed: (changes) => {
        this.choices = { ...this.choices, ...changes };
        this.panel.show(this.choices);
        this.#settingsChanged();
      },
    });
    this.stage = make("div", { class: "photo-stage" });
    this.file = make("input", { type: "file", accept: ACCEPTED, hidden: true, onchange: () => this.#chosenFile(this.file) });
    this.camera = make("input", { type: "file", accept: "image/*", capture: "environment", hidden: true, onchange: () => this.#chosenFile(this.camera) });
    this.missing = make("p", { class: "field-error", role: "alert", hidden: true });
    this.estimate = make("p", { class: "estimate hint", role: "status" });
    this.error = make("div", { class: "notice error", role: "alert", hidden: true });
    this.paint = make("button", { type: "submit", class: "primary large" }, icon("brush"), _("Paint"));
    this.four = make("button", { type: "button", title: _("Four paintings that differ only in the seed, side by side"), onclick: () => this.#begin(FOUR) }, icon("grid"), _("Four seeds"));
    this.askEstimate = settled(0.5, () => this.#estimate());
    this.keep = settled(0.3, () => keepDraft({ photo: this.photo && { blob: this.photo.blob, name: this.photo.name }, styles: this.styles.kept() }));
    this.element = make(
      "form",
      { class: "painting-form", novalidate: true, onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), this.#begin(1)) },
      make("h1", { class: "visually-hidden" }, _("New painting")),
      make("section", { class: "photo", "aria-label": _("Photo") }, this.stage, this.file, this.camera),
      make(
        "div",
        { class: "side" },
        this.styles.element,
        make("section", { "aria-labelledby": "settings-title" }, make("h2", { id: "settings-title" }, _("Settings")), this.panel.element),
        make("div", { class: "begin" }, this.error, this.estimate, make("div", { class: "buttons" }, this.paint, this.four)),
      ),
    );
    this.#listen();
  }

  /** Fills the form with what was kept, or from a job. @param {string | null} again `Job.name`. */
  async fill(again) {
    const kept = await keptDraft();
    if (kept?.photo && !again) this.#use(new Picture(kept.photo.blob, kept.photo.name));
    else this.#showPhoto();
    await this.styles.load(kept?.styles ?? [], this.signal);
    if (again) await this.#fillFrom(again).catch((error) => this.#say(errorText(error)));
    this.#changed();
    // What the painting is shown with is at hand when it begins.
    void import("./painting_view.js");
  }

  /** Takes the settings and the pictures of a job. @param {string} name */
  async #fillFrom(name) {
    const job = await jobs.load(name);
    const { imageLink } = await import("./links.js");
    const { withEffort } = await import("./effort.js");
    this.choices = withEffort(choicesOf(job.recipe ?? {}));
    this.panel.show(this.choices);
    const fetched = async (/** @type {string} */ sha256) => {
      const response = await fetch(new URL(await imageLink({ sha256 }), document.baseURI), { signal: this.signal });
      if (!response.ok) throw new CallError("not_found", "");
      return response.blob();
    };
    await this.styles.use(job.spec?.styles ?? [], fetched, styleTitles(job));
    const sha256 = job.spec?.content?.sha256;
    // The title is made of the photo's name and the styles'.
    if (sha256) this.#use(new Picture(await fetched(sha256), (job.title ?? "").split(" – ")[0]));
  }

  #listen() {
    const options = { signal: this.signal };
    const over = (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      this.element.classList.add("dropping");
    };
    const drop = (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      this.element.classList.remove("dropping");
      const file = pictureIn(event.dataTransfer);
      if (!file) this.#say(_("This is no picture. Drop a file such as a JPEG or a PNG."));
      else if (this.styles.element.contains(/** @type {Node} */ (event.target))) this.styles.add(file);
      else this.#use(new Picture(file, file.name));
    };
    document.addEventListener("dragover", over, options);
    document.addEventListener("drop", drop, options);
    document.addEventListener("dragleave", (event) => !event.relatedTarget && this.element.classList.remove("dropping"), options);
    document.addEventListener(
      "paste",
      (event) => {
        const file = pictureIn(event.clipboardData);
        if (!file) return;
        event.preventDefault();
        if (this.styles.element.contains(document.activeElement)) this.styles.add(file);
        else this.#use(new Picture(file, file.name));
      },
      options,
    );
    this.signal.addEventListener("abort", () => this.photo?.close());
  }

  /** @param {HTMLInputElement} input */
  #chosenFile(input) {
    const [file] = input.files ?? [];
    if (file) this.#use(new Picture(file, file.name));
    input.value = "";
  }

  /** Uses another photograph. @param {Picture} photo */
  #use(photo) {
    this.#say("");
    this.photo?.close();
    this.photo = photo;
    this.regions = null;
    this.#showPhoto();
    this.#send(photo);
    this.#changed();
  }

  /** The photograph cannot be painted. @param {Picture} photo @param {unknown} error */
  #drop(photo, error) {
    photo.close();
    this.photo = null;
    this.regions = null;
    this.#showPhoto();
    this.#changed();
    this.#say(refusal(photo.name || _("Your photo"), error));
    this.error.scrollIntoView({ block: "nearest" });
  }

  /** Sends the photograph while people still choose, so that painting begins at once. @param {Picture} photo */
  #send(photo) {
    photo.send().then(
      () => this.askEstimate(),
      (error) => {
        if (photo !== this.photo || error.name === "AbortError") return;
        if (error.code === "invalid_argument") this.#drop(photo, error);
        else this.#say(errorText(error));
      },
    );
  }

  #showPhoto() {
    const choose = make("button", { type: "button", onclick: () => this.file.click() }, icon("picture"), this.photo ? _("Another photo") : _("Choose a photo"));
    const isHandheld = matchMedia("(pointer: coarse)").matches;
    const camera = isHandheld && make("button", { type: "button", onclick: () => this.camera.click() }, icon("camera"), _("Camera"));
    this.stage.classList.toggle("empty", !this.photo);
    this.stage.classList.remove("missing");
    this.missing.hidden = true;
    if (!this.photo) {
      choose.classList.add("primary");
      fill(
        this.stage,
        make(
          "div",
          { class: "invitation" },
          this.missing,
          make("p", { class: "invitation-title" }, _("Which photo shall be painted?")),
          make("p", { class: "hint" }, isHandheld ? _("Choose one, or take one.") : _("Drop one here, paste one, or choose one.")),
          make("div", { class: "buttons" }, choose, camera),
        ),
      );
      return;
    }
    const photo = this.photo;
    const title = photo.name || _("Your photo");
    const picture = make("img", { src: photo.url, alt: title, class: "photo-picture" });
    picture.addEventListener("error", () => {
      picture.replaceWith(make("div", { class: "photo-picture unseen" }, icon("picture"), make("p", {}, title), make("p", { class: "hint" }, _("The browser cannot show this kind of file, but it can be painted."))));
      regions.hidden = true;
    });
    const bar = make("progress", { max: 1, value: photo.sent, "aria-label": _("Sending the photo") });
    const sending = make("div", { class: "sending", hidden: photo.sent === 1 }, bar);
    photo.news.addEventListener("sent", () => {
      bar.value = photo.sent;
      sending.hidden = photo.sent === 1;
    });
    const regions = make("button", { type: "button", onclick: () => this.#openRegions() }, icon("brush"), _("Regions"));
    this.regionsButton = regions;
    fill(this.stage, picture, sending, make("div", { class: "buttons photo-buttons" }, choose, camera, regions));
  }

  async #openRegions() {
    if (!this.photo) return;
    const { openRegions } = await import("./regions.js");
    const styles = this.styles.chosen.map(({ title, url, share }) => ({ title, picture: url, share }));
    const painted = await openRegions({ photo: this.photo.blob, styles, regions: this.regions });
    if (painted) this.regions = painted;
    this.#changed();
  }

  #settingsChanged() {
    keepChoices(this.choices);
    this.askEstimate();
  }

  /** The photograph or the styles have changed. */
  #changed() {
    this.keep();
    this.styles.say("");
    // Regions name styles by their position: with fewer styles they mean nothing.
    const count = this.styles.chosen.length;
    if (this.regions?.regions.some(({ style }) => style >= count)) this.regions = null;
    const isPainted = Boolean(this.regions && (this.regions.regions.length || this.regions.selection));
    if (this.regionsButton) {
      this.regionsButton.setAttribute("aria-pressed", String(isPainted));
      fill(this.regionsButton, icon(isPainted ? "check" : "brush"), isPainted ? _("Regions are painted") : _("Regions"));
    }
    this.#mayBegin();
    this.#settingsChanged();
  }

  #mayBegin() {
    this.paint.disabled = this.isBusy === true;
    this.four.disabled = this.isBusy === true;
  }

  /** What is to be painted; sends what is not sent yet. @returns {Promise<JobSpec>} */
  async #spec() {
    const photo = /** @type {Picture} */ (this.photo);
    const [sha256, styles, side] = await Promise.all([photo.send(), this.styles.message(), photo.side()]);
    /** @type {JobSpec} */
    const spec = { content: { sha256 }, styles, recipe: recipeOf(this.choices, Math.min(side || LARGEST_OWN_SIZE, this.largestSize)) };
    if (this.regions?.regions.length) {
      spec.regions = await Promise.all(
        this.regions.regions.map(async ({ style, mask }) => ({ style, contentMask: { sha256: await sendImage(mask) } })),
      );
    }
    if (this.regions?.selection) spec.selection = { sha256: await sendImage(this.regions.selection) };
    return spec;
  }

  async #estimate() {
    if (!this.photo || this.photo.sent < 1 || !this.styles.chosen.length || this.signal.aborted) {
      fill(this.estimate);
      return;
    }
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const spec = await this.#spec();
      /** @type {import("./types.js").EstimateJobResponse} */
      const answer = await call("EstimateJob", { spec }, { signal: this.asking.signal });
      fill(this.estimate, ...estimateLines(answer));
      this.panel.showErrors([]);
    } catch (error) {
      if (!(error instanceof CallError)) return;
      fill(this.estimate);
      // A server without estimates, or one that is busy, says so when the painting begins.
      if (error.fields.length) this.panel.showErrors(error.fields);
    }
  }

  /** Begins as many paintings. @param {number} count */
  async #begin(count) {
    this.#say("");
    if (!this.photo) {
      this.#askForPhoto(_("Choose a photo first."));
      return;
    }
    if (this.isBusy) return;
    this.isBusy = true;
    this.#mayBegin();
    try {
      const created = await this.#create(count);
      if (created.length === 1) go(`/${created[0]}`);
      else go(`/four/${created.map((name) => name.replace("jobs/", "")).join(",")}`);
    } catch (error) {
      this.#refused(error);
    } finally {
      this.isBusy = false;
      this.#mayBegin();
    }
  }

  /**
   * Creates as many jobs as the server takes, and says why if they are fewer.
   *
   * @param {number} count
   * @returns {Promise<string[]>} `Job.name` of each; at least one.
   */
  async #create(count) {
    let spec = await this.#spec();
    const title = [this.photo?.name.replace(/\.\w+$/, ""), this.styles.chosen.map((style) => style.title).join(", ")].filter(Boolean).join(" – ");
    const names = [];
    for (let index = 0; index < count; index++) {
      const seed = count === 1 ? this.choices.seed : newSeed();
      const create = () => createJob({ ...spec, recipe: { ...spec.recipe, seed } }, title);
      const creating = create().catch(async (error) => {
        // The server has deleted an image that nobody used for a day.
        if (!(error instanceof CallError) || error.code !== "failed_precondition") throw error;
        await Promise.all([this.photo?.resend(), ...this.styles.chosen.map((style) => style.own?.resend())]);
        spec = await this.#spec();
        return create();
      });
      try {
        names.push((await creating).name);
      } catch (error) {
        if (!names.length) throw error;
        say(_("{count} of {all} were begun.", { count: names.length, all: count }) + " " + errorText(error));
        break;
      }
    }
    return names;
  }

  /** Shows at its place why nothing is painted. @param {unknown} error */
  #refused(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    const fields = error instanceof CallError ? error.fields : [];
    const others = this.panel.showErrors(fields);
    const ofStyles = others.filter(({ field }) => /(^|\.)styles?\b/.test(field));
    this.styles.say(ofStyles.map(({ description }) => description).join(" "));
    const rest = others.filter((each) => !ofStyles.includes(each));
    if (rest.length) this.#say(rest.map(({ description }) => description).join(" "));
    else if (!fields.length) this.#say(errorText(error));
    this.element.querySelector(".field-error:not([hidden])")?.scrollIntoView({ block: "center" });
  }

  /** Says where the photograph is missing, and leads there. @param {string} text */
  #askForPhoto(text) {
    this.missing.hidden = false;
    fill(this.missing, text);
    this.stage.classList.add("missing");
    this.stage.scrollIntoView({ block: "center" });
    this.stage.querySelector("button")?.focus({ preventScroll: true });
  }

  /** @param {string} text "" hides it. */
  #say(text) {
    this.error.hidden = !text;
    fill(this.error, text);
  }
}

/** What a painting would take, in two lines. @param {import("./types.js").EstimateJobResponse} answer */
function estimateLines(answer) {
  const alone = secondsOf(answer.deviceTime ?? answer.timeLeft);
  const seconds = secondsOf(answer.timeLeft) ?? alone;
  const memory = Number(answer.memoryPlan?.estimatedBytes ?? 0);
  const times = [
    seconds !== undefined && _("about {time}", { time: duration(seconds) }),
    // The other three take their turns with it.
    seconds !== undefined && alone !== undefined && _("four seeds about {time}", { time: duration(seconds + (FOUR - 1) * alone) }),
  ];
  const sizes = [answer.width && answer.height && `${answer.width} × ${answer.height} px`, memory > 0 && _("{size} of memory", { size: dataSize(memory) })];
  return [times, sizes].map((parts) => make("span", {}, parts.filter(Boolean).join(" · "))).filter((line) => line.textContent);
}
