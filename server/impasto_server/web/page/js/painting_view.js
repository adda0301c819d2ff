/** One painting: to watch, to steer while it is painted, and to take home. */

import { CallError, call } from "./connect.js";
import { ask, fill, loadStyle, make } from "./dom.js";
import { icon } from "./icons.js";
import * as jobs from "./jobs.js";
import { FOUR, paintAgain } from "./paint.js";
import { withEffort } from "./effort.js";
import { go } from "./router.js";
import { choicesOf, recipeOf, settingsPanel } from "./settings.js";
import { Stage } from "./stage.js";
import { Steering } from "./steering.js";
import { _, duration, errorText, numeral, secondsOf, stateWord } from "./words.js";

/** @typedef {import("./types.js").Job & {name: string}} Job */

/** Seconds between two reports to screen readers. */
const REPORT_EACH = 10;
/** Longest side of the result as it is shown at first; a click shows all pixels. */
const SHOWN_SIDE = 2048;

/**
 * @param {import("./router.js").Context} context
 * @returns {Promise<HTMLElement>}
 */
export async function showPainting({ parameters: [id], signal }) {
  await loadStyle("css/painting.css");
  return new PaintingView(`jobs/${id}`, signal).element;
}

class PaintingView {
  /** @param {string} name `Job.name`. @param {AbortSignal} signal Ends when the view is left. */
  constructor(name, signal) {
    this.name = name;
    this.signal = signal;
    /** @type {Job | undefined} */
    this.job = undefined;
    /** What the controls show. @type {import("./settings.js").Choices | undefined} */
    this.choices = undefined;
    this.stage = new Stage(_("The painting"));
    this.title = make("h1", {}, " ");
    this.state = make("span", { class: "state" });
    this.bar = make("progress", { max: 1, "aria-label": _("Progress") });
    this.line = make("p", { class: "progress-line" });
    this.report = make("p", { class: "visually-hidden", role: "status" });
    this.reported = { at: -Infinity, text: "" };
    this.notice = make("div", { class: "notice", hidden: true });
    this.error = make("div", { class: "notice error", role: "alert", hidden: true });
    this.buttons = make("div", { class: "buttons" });
    this.compareButton = make("button", { class: "compare", "aria-pressed": "false", hidden: true, onclick: () => this.#compare() }, icon("compare"), _("Compare"));
    this.steering = make("section", { class: "steering", hidden: true, "aria-labelledby": "steering-title" });
    this.done = make("section", { class: "stack", hidden: true });
    this.facts = make("p", { class: "hint facts" });
    this.element = make(
      "div",
      { class: "painting" },
      make("section", { class: "hero", "aria-label": _("The painting") }, this.stage.element, make("div", { class: "hero-tools" }, this.compareButton)),
      make(
        "div",
        { class: "side" },
        make("header", {}, this.title, this.state),
        make("div", { class: "progress-box" }, this.bar, this.line),
        this.report,
        this.error,
        this.notice,
        this.buttons,
        this.steering,
        this.done,
        this.facts,
      ),
    );
    this.#begin();
  }

  #begin() {
    const stop = jobs.watch(this.name, (news) => this.#hear(news));
    jobs.wantPreviews(this.name, true);
    this.signal.addEventListener("abort", () => {
      stop();
      jobs.wantPreviews(this.name, false);
    });
    const load = () =>
      jobs.load(this.name).then(
        (job) => this.#setPhoto(job.spec?.content?.sha256),
        (error) => {
          if (this.signal.aborted) return;
          if (error instanceof CallError && error.passing) setTimeout(load, 1500);
          else this.#gone(error);
        },
      );
    void load();
  }

  /** @param {import("./jobs.js").News} news */
  #hear({ job, preview, change }) {
    if (change === "deleted") return this.#gone(new CallError("not_found", ""));
    const before = this.job;
    this.job = job;
    if (preview) this.stage.showPreview(preview);
    if (change === "preview") return;
    this.#showProgress(job);
    if (change === "job") this.#showJob(job, before);
  }

  /** @param {Job} job @param {Job | undefined} before */
  #showJob(job, before) {
    fill(this.title, job.title || _("Painting"));
    document.title = `${job.title || _("Painting")} – Impasto`;
    this.stage.resize(job.width ?? 0, job.height ?? 0);
    fill(this.state, job.held ? _("Held by the administrator") : stateWord(job.state));
    this.state.dataset.state = job.state ?? "";
    if (before?.state !== job.state || before?.held !== job.held) this.#showButtons(job);
    this.#showSteering(job);
    this.#showFacts(job);
    if (jobs.isFinal(job) && !(before && jobs.isFinal(before))) void this.#showEnd(job);
  }

  /** @param {Job} job */
  #showProgress(job) {
    const { evaluation = 0, evaluations = job.recipe?.evaluations ?? 0, preparing } = job.progress ?? {};
    const isWaiting = job.state === "JOB_STATE_QUEUED";
    this.bar.hidden = jobs.isFinal(job);
    if (evaluations && (evaluation || !isWaiting)) this.bar.value = evaluation / evaluations;
    else this.bar.removeAttribute("value");
    const left = jobs.secondsLeft(job);
    const parts = [];
    if (isWaiting) parts.push(job.queuePosition ? _("Place {position} in the queue", { position: job.queuePosition }) : _("Waiting for a device"));
    if (!jobs.isFinal(job) && evaluations && !(preparing && !evaluation)) parts.push(_("{made} of {all}", { made: evaluation, all: evaluations }));
    if (preparing) parts.push(_("comparing with the style, {percent} %", { percent: Math.round(100 * preparing) }));
    // Both would need two lines on a telephone, and what is below would jump.
    else if (left !== undefined) parts.push(_("about {time} left", { time: duration(left) }));
    const text = parts.join(" · ");
    fill(this.line, text);
    this.line.hidden = !text;
    this.#report(`${job.held ? _("Held by the administrator") : stateWord(job.state)}. ${text}`, job.state ?? "");
  }

  /** Tells screen readers, but not each step. @param {string} text @param {string} state */
  #report(text, state) {
    const now = performance.now() / 1000;
    if (state === this.reported.text && now - this.reported.at < REPORT_EACH) return;
    this.reported = { at: now, text: state };
    fill(this.report, text);
  }

  /** @param {Job} job */
  #showButtons(job) {
    const isPaused = job.state === "JOB_STATE_PAUSED";
    const isFinal = jobs.isFinal(job);
    fill(
      this.buttons,
      ...(isFinal
        ? []
        : [
            isPaused
              ? make("button", { class: "primary", disabled: job.held, onclick: () => this.#do("ResumeJob") }, icon("play"), _("Resume"))
              : make("button", { onclick: () => this.#do("PauseJob") }, icon("pause"), _("Pause")),
            make("button", { onclick: () => this.#cancel() }, icon("stop"), _("Cancel")),
          ]),
    );
    this.notice.hidden = isFinal;
    if (isFinal) return;
    fill(
      this.notice,
      isPaused
        ? _("It stays paused, also when you leave this page. You find it again under Paintings.")
        : _("You can leave this page: the painting goes on, and you find it again under Paintings."),
    );
  }

  /** @param {"PauseJob" | "ResumeJob" | "CancelJob"} method */
  async #do(method) {
    await this.#try(async () => jobs.learn(await call(method, { name: this.name })));
  }

  async #cancel() {
    const isSure = await ask(_("Cancel this painting?"), _("What is painted so far is thrown away."), _("Cancel the painting"), _("Go on painting"));
    if (isSure) await this.#do("CancelJob");
  }

  /** @param {() => Promise<unknown>} action */
  async #try(action) {
    this.#say("");
    try {
      await action();
    } catch (error) {
      this.#say(errorText(error));
    }
  }

  /** @param {Job} job */
  #showSteering(job) {
    this.steering.hidden = jobs.isFinal(job);
    if (this.steering.hidden || !job.recipe) return;
    if (!this.choices || !this.steer?.isBusy) this.choices = withEffort(choicesOf(job.recipe));
    if (this.panel) {
      this.panel.show(this.choices);
      return;
    }
    this.steer = new Steering(this.name, this.signal, (error) => {
      const fields = error instanceof CallError ? error.fields : [];
      const others = this.panel?.showErrors(fields) ?? [];
      this.#say(error && (!fields.length || others.length) ? errorText(error) : "");
    });
    this.panel = settingsPanel(this.choices, { steering: true, changed: (changes) => this.#steer(changes) });
    fill(this.steering, make("h2", { id: "steering-title" }, _("Steer it while it is painted")), this.panel.element);
  }

  /** @param {Partial<import("./settings.js").Choices>} changes */
  #steer(changes) {
    if (!this.choices) return;
    this.choices = { ...this.choices, ...changes };
    const recipe = recipeOf(this.choices);
    /** @type {import("./types.js").Recipe} */
    const fields = {};
    if ("strength" in changes) fields.contentWeight = recipe.contentWeight;
    if ("color" in changes) fields.color = recipe.color;
    if ("effort" in changes) fields.effort = recipe.effort;
    else if (changes.evaluations) fields.evaluations = recipe.evaluations;
    else if ("evaluations" in changes) fields.effort = "EFFORT_STANDARD";
    this.steer?.want(fields);
  }

  /** Shows the result, or why there is none. @param {Job} job */
  async #showEnd(job) {
    this.done.hidden = false;
    const again = make("button", { onclick: () => this.#again(1) }, icon("again"), _("Again with a new seed"));
    const four = make("button", { onclick: () => this.#again(FOUR) }, icon("grid"), _("Four seeds side by side"));
    const change = make("a", { class: "button", href: `#/?again=${this.name}` }, icon("sliders"), _("Change and paint again"));
    const remove = make("button", { class: "danger", onclick: () => this.#delete() }, icon("trash"), _("Delete"));
    if (job.state !== "JOB_STATE_SUCCEEDED") {
      if (job.state === "JOB_STATE_FAILED") this.#say(job.error?.message || _("The painting failed."));
      fill(this.done, make("div", { class: "buttons" }, again, change, remove));
      if (!this.stage.isShown) this.stage.element.dataset.empty = "";
      return;
    }
    const { openRecipe } = await import("./recipe_text.js");
    const film = make("button", { hidden: true, onclick: async () => (await import("./film.js")).openFilm(this.name, job.title ?? "") }, icon("film"), _("Film"));
    const link = make("button", { onclick: () => this.#share(link) }, icon("link"), _("Copy a link to the picture"));
    const downloads = make("div", { class: "buttons downloads" });
    fill(
      this.done,
      make("h2", {}, _("Download")),
      downloads,
      make("div", { class: "stack buttons-column" }, again, four, change, film, link, make("button", { onclick: () => openRecipe(this.name) }, icon("list"), _("Recipe")), remove),
    );
    void import("./film.js").then(async ({ keeps }) => (film.hidden = !(await keeps(this.name))));
    await this.#try(() => this.#showResult(job, downloads));
  }

  /** @param {Job} job @param {HTMLElement} downloads */
  async #showResult(job, downloads) {
    const { imageLink } = await import("./links.js");
    const formats = /** @type {const} */ ([["PNG", "png"], ["JPEG", "jpg"], ["WEBP", "webp"]]);
    const shown = imageLink({ resultOf: this.name, maxSide: Math.min(SHOWN_SIDE, Math.max(job.width ?? 0, job.height ?? 0, 16)) });
    const links = await Promise.all(formats.map(([format]) => imageLink({ resultOf: this.name, format: `IMAGE_FORMAT_${format}` })));
    fill(
      downloads,
      ...formats.map(([format, ending], index) => {
        const file = `${fileName(job.title)}.${ending}`;
        const address = `${links[index]}?download=${encodeURIComponent(file)}`;
        return make("a", { class: "button", href: address, download: file }, icon("download"), format === "WEBP" ? "WebP" : format);
      }),
    );
    await this.stage.showResult(await shown, links[0]);
  }

  /** @param {number} count */
  async #again(count) {
    await this.#try(async () => {
      const job = this.job?.spec ? this.job : await jobs.load(this.name);
      if (count === 1) {
        go(`/${(await paintAgain(job)).name}`);
        return;
      }
      const names = [this.name];
      while (names.length < count) names.push((await paintAgain(job)).name);
      go(`/four/${names.map((name) => name.replace("jobs/", "")).join(",")}`);
    });
  }

  async #delete() {
    const isSure = await ask(_("Delete this painting?"), _("Its picture and its recipe are deleted from the server."), _("Delete"), _("Keep it"));
    if (!isSure) return;
    await this.#try(async () => {
      await call("DeleteJob", { name: this.name });
      go("/jobs", { instead: true });
      jobs.forget(this.name);
    });
  }

  /** Copies an address of the picture that works without a token, for a day. @param {HTMLButtonElement} button */
  async #share(button) {
    await this.#try(async () => {
      const { copyText } = await import("./recipe_text.js");
      const answer = await call("CreateImageLinks", { sources: [{ resultOf: this.name, format: "IMAGE_FORMAT_JPEG" }], lifetime: "86400s" });
      await copyText(new URL(answer.links[0].path, document.baseURI).href);
      fill(button, icon("check"), _("Copied. It works for a day."));
    });
  }

  /** @param {string | undefined} sha256 The photograph. */
  async #setPhoto(sha256) {
    if (!sha256 || this.signal.aborted) return;
    const { imageLink } = await import("./links.js");
    const address = await imageLink({ sha256, maxSide: SHOWN_SIDE }).catch(() => "");
    if (!address) return;
    this.stage.setPhoto(address);
    this.compareButton.hidden = false;
  }

  #compare() {
    const on = this.compareButton.getAttribute("aria-pressed") !== "true";
    this.compareButton.setAttribute("aria-pressed", String(on));
    this.stage.compare(on);
  }

  /** @param {Job} job */
  #showFacts(job) {
    const seconds = secondsOf(job.progress?.deviceTime);
    const parts = [
      job.width && `${job.width} × ${job.height}`,
      _("Seed {seed}", { seed: job.recipe?.seed ?? 0 }),
      jobs.isFinal(job) && seconds !== undefined && _("painted in {time}", { time: duration(seconds) }),
      jobs.isFinal(job) && job.recipe?.evaluations && _("{count} evaluations", { count: numeral(job.progress?.evaluation ?? job.recipe.evaluations) }),
      job.device,
    ];
    fill(this.facts, parts.filter(Boolean).join(" · "));
  }

  /** The job does not exist (any more). @param {unknown} error */
  #gone(error) {
    if (this.signal.aborted) return;
    fill(this.title, _("There is no such painting"));
    this.#say(errorText(error));
    for (const part of [this.bar, this.line, this.notice, this.buttons, this.steering, this.done, this.compareButton]) part.hidden = true;
    if (!this.stage.isShown) this.stage.element.dataset.empty = "";
  }

  /** @param {string} text "" hides it. */
  #say(text) {
    this.error.hidden = !text;
    fill(this.error, text);
  }
}

/** A name for a downloaded file. @param {string | undefined} title */
function fileName(title) {
  return (title ?? "").replace(/[\\/:*?"<>|]+/g, " ").trim() || "painting";
}
