/** All paintings as a wall of thumbnails that live. */

import { CallError, call } from "./connect.js";
import { ask, fill, loadStyle, make, settled } from "./dom.js";
import { keeps, openFilm } from "./film.js";
import { icon } from "./icons.js";
import * as jobs from "./jobs.js";
import { imageLink } from "./links.js";
import { copyText, openRecipe } from "./recipe_text.js";
import { go, jobAddress } from "./router.js";
import { _, duration, errorText, language, stateWord } from "./words.js";

/** @typedef {import("./jobs.js").Job} Job */
/** @typedef {import("./types.js").JobState} JobState */

const PAGE_SIZE = 60;
/** Longer side of a thumbnail in pixels: twice its height on the page, for fine screens. */
const THUMBNAIL_SIDE = 512;
/** How far outside of the window pictures are loaded already. */
const NEAR = "600px 0px";

/** The states of a filter, by its key. @type {Record<string, JobState[]>} */
const FILTERS = {
  all: [],
  active: ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_PAUSED"],
  finished: ["JOB_STATE_SUCCEEDED"],
  ended: ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED"],
};

/** @param {string} key */
function filterWord(key) {
  if (key === "active") return _("In progress");
  if (key === "finished") return _("Finished");
  if (key === "ended") return _("Failed or cancelled");
  return _("All");
}

/** @type {import("./router.js").Show} */
export async function showWall({ query, signal }) {
  await loadStyle("css/wall.css");
  return new Wall(query.get("title") ?? "", query.get("show") ?? "all", signal).element;
}

class Wall {
  /**
   * @param {string} title What is searched for.
   * @param {string} filter A key of `FILTERS`.
   * @param {AbortSignal} signal
   */
  constructor(title, filter, signal) {
    this.title = title;
    this.filter = filter in FILTERS ? filter : "all";
    this.signal = signal;
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** Cards whose job has changed since they were drawn. @type {Set<string>} */
    this.changed = new Set();
    this.outOfOrder = true;
    this.drawing = 0;
    /** The list of the present search, from the server. */
    this.list = { token: "", complete: false, loading: false };
    this.trouble = "";

    this.grid = make("ul", { class: "wall", "aria-label": _("Paintings") });
    this.notice = make("div", { class: "wall-notice" });
    this.count = make("p", { class: "visually-hidden", role: "status" });
    this.end = make("div", { class: "wall-end" });
    this.menu = new JobMenu();
    this.element = make("section", { class: "wall-part" }, this.head(), this.count, this.grid, this.notice, this.end, this.menu.element);

    this.nearness = new IntersectionObserver((entries) => this.onNear(entries), { rootMargin: NEAR });
    this.ending = new IntersectionObserver(([entry]) => entry.isIntersecting && this.loadMore(), { rootMargin: "900px 0px" });
    this.ending.observe(this.end);
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    const stopWatching = jobs.watchAll(({ name, change }) => this.onNews(name, change));
    signal.addEventListener("abort", () => {
      stopWatching();
      cancelAnimationFrame(this.drawing);
      this.nearness.disconnect();
      this.ending.disconnect();
      for (const card of this.cards.values()) card.remove();
    });
    this.draw();
  }

  head() {
    const search = make("input", { type: "search", value: this.title, placeholder: _("Search by title"), "aria-label": _("Search by title"), maxlength: "200" });
    const searched = settled(0.25, () => {
      this.title = search.value.trim();
      this.begin();
    });
    search.addEventListener("input", searched);
    const filters = Object.keys(FILTERS).map((key) =>
      make(
        "label",
        { class: "chip" },
        make("input", { type: "radio", name: "wall-filter", value: key, checked: key === this.filter, onchange: () => this.choose(key) }),
        make("span", {}, filterWord(key)),
      ),
    );
    const legend = make("legend", { class: "visually-hidden" }, _("Show"));
    this.search = make("search", {}, search, make("fieldset", { class: "chips" }, legend, ...filters));
    return make(
      "header",
      { class: "wall-head" },
      make("h1", {}, _("Paintings")),
      this.search,
    );
  }

  /** @param {string} filter */
  choose(filter) {
    this.filter = filter;
    this.begin();
  }

  /** Begins another search. The address keeps it, for the way back from a painting. */
  begin() {
    const query = new URLSearchParams();
    if (this.title) query.set("title", this.title);
    if (this.filter !== "all") query.set("show", this.filter);
    history.replaceState(null, "", `#/jobs${query.size ? `?${query}` : ""}`);
    this.list = { token: "", complete: false, loading: false };
    this.trouble = "";
    this.outOfOrder = true;
    this.drawSoon();
    void this.loadMore();
  }

  /** @param {Job} job */
  matches(job) {
    const states = FILTERS[this.filter];
    if (states.length && !states.includes(/** @type {JobState} */ (job.state))) return false;
    return (job.title ?? "").toLowerCase().includes(this.title.toLowerCase());
  }

  /**
   * @param {string} name
   * @param {import("./jobs.js").Change} change
   */
  onNews(name, change) {
    if (change === "job" || change === "deleted") this.outOfOrder = true;
    this.changed.add(name);
    this.drawSoon();
  }

  drawSoon() {
    if (!this.drawing) this.drawing = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawing = 0;
    if (this.outOfOrder) this.arrange();
    for (const name of this.changed) this.cards.get(name)?.draw();
    this.changed.clear();
  }

  /** Puts the cards of the jobs that match in order, and makes those that are missing. */
  arrange() {
    this.outOfOrder = false;
    const shown = jobs.list().filter((job) => this.matches(job));
    const names = new Set(shown.map((job) => job.name));
    for (const [name, card] of this.cards) {
      if (names.has(name)) continue;
      this.nearness.unobserve(card.element);
      card.remove();
      this.cards.delete(name);
    }
    /** @type {Element | null} */
    let next = this.grid.firstElementChild;
    for (const job of shown) {
      let card = this.cards.get(job.name);
      if (card && card.element === next) {
        next = next.nextElementSibling;
        continue;
      }
      if (!card) {
        card = new Card(job.name, (button) => this.menu.open(job.name, button));
        this.cards.set(job.name, card);
        this.nearness.observe(card.element);
      }
      this.grid.insertBefore(card.element, next);
    }
    this.tell(shown.length);
  }

  /** Says how many paintings there are, and what to do if there is none. @param {number} count */
  tell(count) {
    const searching = Boolean(this.title) || this.filter !== "all";
    this.count.textContent = this.list.complete ? (count === 1 ? _("One painting") : _("{count} paintings", { count })) : "";
    // On an empty wall there is nothing to search.
    if (this.search) this.search.hidden = !count && !searching && this.list.complete;
    if (this.trouble) {
      fill(this.notice, make("p", {}, this.trouble), make("button", { onclick: () => this.begin() }, _("Try again")));
    } else if (count) {
      fill(this.notice);
    } else if (!this.list.complete) {
      fill(this.notice, make("p", {}, _("Looking for your paintings …")));
    } else if (searching) {
      const all = () => go("/jobs");
      fill(this.notice, make("h2", {}, _("No painting is like that")), make("button", { onclick: all }, _("Show all paintings")));
    } else {
      fill(
        this.notice,
        icon("picture"),
        make("h2", {}, _("Nothing is painted yet")),
        make("p", {}, _("Choose a photograph and a style. Everything that you paint then hangs here.")),
        make("a", { class: "button first", href: "#/" }, _("Paint the first picture")),
      );
    }
  }

  /** Fetches the next page of the list, and further ones until the window is full. */
  async loadMore() {
    const list = this.list;
    if (list.complete || list.loading) return;
    list.loading = true;
    try {
      const request = { pageSize: PAGE_SIZE, pageToken: list.token, states: FILTERS[this.filter], title: this.title };
      const answer = await call("ListJobs", request, { signal: this.signal });
      if (list !== this.list) return;
      for (const job of answer.jobs ?? []) jobs.learn(job);
      list.token = answer.nextPageToken ?? "";
      list.complete = !list.token;
      this.trouble = "";
    } catch (error) {
      if (this.signal.aborted || list !== this.list) return;
      this.trouble = errorText(error);
    } finally {
      list.loading = false;
    }
    this.outOfOrder = true;
    this.draw();
    // The observer only tells of a change: if the end is still in sight, it has to look again.
    this.ending.unobserve(this.end);
    if (!this.trouble) this.ending.observe(this.end);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  onNear(entries) {
    for (const { target, isIntersecting } of entries) {
      this.cards.get(target.getAttribute("data-job") ?? "")?.near(isIntersecting);
    }
  }

  /** The arrow keys go from painting to painting. @param {KeyboardEvent} event */
  onKey(event) {
    const links = [...this.grid.querySelectorAll("a")];
    const at = links.indexOf(/** @type {HTMLAnchorElement} */ (event.target));
    if (at < 0) return;
    const job = links[at].closest("li")?.getAttribute("data-job");
    if (event.key === "ArrowRight") links[at + 1]?.focus();
    else if (event.key === "ArrowLeft") links[at - 1]?.focus();
    else if (event.key === "Delete" && job) void deleteJob(job);
    else return;
    event.preventDefault();
  }
}

/** A job on the wall. */
class Card {
  /**
   * @param {string} name
   * @param {(button: HTMLButtonElement) => void} openMenu
   */
  constructor(name, openMenu) {
    this.name = name;
    this.isNear = false;
    this.wants = false;
    /** What the picture shows, so that it is not loaded twice. */
    this.source = "";
    this.blobUrl = "";
    this.image = make("img", { alt: "", decoding: "async", hidden: true });
    this.image.addEventListener("load", () => this.loaded());
    this.image.addEventListener("error", () => void this.renew());
    this.blank = make("span", { class: "blank" }, icon("picture"));
    this.progress = make("progress", { max: "1", value: 0, hidden: true });
    this.title = make("span", { class: "title" });
    this.state = make("span", { class: "state" });
    const more = make(
      "button",
      { type: "button", class: "icon-button more", "aria-haspopup": "true", onclick: () => openMenu(more) },
      icon("menu"),
    );
    this.more = more;
    this.element = make(
      "li",
      { "data-job": name },
      make("a", { href: jobAddress(name) }, make("span", { class: "picture" }, this.image, this.blank, this.progress), this.title, this.state),
      more,
    );
    this.draw();
  }

  remove() {
    this.near(false);
    this.element.remove();
    if (this.blobUrl) URL.revokeObjectURL(this.blobUrl);
  }

  /** @param {boolean} isNear Whether the card is in the window or almost. */
  near(isNear) {
    this.isNear = isNear;
    this.draw();
  }

  draw() {
    const job = jobs.get(this.name);
    if (!job) {
      this.want(false);
      return;
    }
    const ratio = (job.width || 1) / (job.height || 1);
    this.element.style.setProperty("--ratio", String(Math.min(2.4, Math.max(0.5, ratio))));
    this.element.dataset.state = job.state;
    const title = job.title || _("Untitled");
    if (this.title.textContent !== title) {
      this.title.textContent = title;
      this.more.setAttribute("aria-label", _("More about {title}", { title }));
    }
    const state = stateText(job);
    if (this.state.textContent !== state) this.state.textContent = state;
    const progress = job.progress;
    this.progress.hidden = jobs.isFinal(job) || !progress?.evaluations;
    if (progress?.evaluations) this.progress.value = (progress.evaluation ?? 0) / progress.evaluations;
    this.progress.setAttribute("aria-label", state);
    this.want(this.isNear && !jobs.isFinal(job));
    if (this.isNear) this.drawPicture(job);
  }

  /** Asks for previews, or no longer. @param {boolean} wants */
  want(wants) {
    if (wants === this.wants) return;
    this.wants = wants;
    jobs.wantPreviews(this.name, wants);
  }

  /** @param {Job} job */
  drawPicture(job) {
    const preview = jobs.preview(this.name);
    if (job.state === "JOB_STATE_SUCCEEDED") {
      void this.show("result", () => imageLink({ resultOf: this.name, maxSide: THUMBNAIL_SIDE }));
    } else if (preview) {
      void this.show(`preview ${preview.sequence}`, async () => URL.createObjectURL(preview.blob));
    } else if (!this.source) {
      void this.show("photograph", () => this.photograph(job));
    }
  }

  /** Address of the photograph, for a job of which nothing else can be shown. @param {Job} job */
  async photograph(job) {
    const { spec } = job.spec ? job : await jobs.load(this.name);
    const sha256 = spec?.content?.sha256;
    return sha256 ? imageLink({ sha256, maxSide: THUMBNAIL_SIDE }) : "";
  }

  /**
   * Shows another picture. The one before stays until the new one is there.
   *
   * @param {string} source Names what is shown.
   * @param {() => Promise<string>} address
   */
  async show(source, address) {
    if (this.source === source) return;
    this.source = source;
    try {
      const url = await address();
      if (this.source !== source) {
        if (url.startsWith("blob:")) URL.revokeObjectURL(url);
      } else if (url) {
        if (this.blobUrl) URL.revokeObjectURL(this.blobUrl);
        this.blobUrl = url.startsWith("blob:") ? url : "";
        this.image.src = url;
      }
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      // Once the connection is back, something changes, and then it is tried again.
      if (this.source === source) this.source = "";
    }
  }

  loaded() {
    this.image.hidden = false;
    this.blank.hidden = true;
    this.element.classList.toggle("is-photograph", this.source === "photograph");
  }

  /** The address of a result does not work: it may have expired while the computer slept. */
  async renew() {
    if (this.source !== "result") return;
    this.source = "result again";
    const url = await imageLink({ resultOf: this.name, maxSide: THUMBNAIL_SIDE }, { fresh: true }).catch(() => "");
    if (url) this.image.src = url;
  }
}

/** What a card says of its job, in a few words. @param {Job} job */
function stateText(job) {
  const { progress } = job;
  if (job.held) return _("Held by the administrator");
  if (job.state === "JOB_STATE_RUNNING" && progress?.evaluations) {
    const percent = Math.floor((100 * (progress.evaluation ?? 0)) / progress.evaluations);
    const left = jobs.secondsLeft(job);
    return left === undefined ? _("{percent} %", { percent }) : _("{percent} % · ≈ {time}", { percent, time: duration(left) });
  }
  if (job.state === "JOB_STATE_QUEUED" && job.queuePosition) return _("Waiting, number {place} in the queue", { place: job.queuePosition });
  if (job.state === "JOB_STATE_SUCCEEDED") return ago(job.endTime ?? job.createTime);
  return stateWord(job.state);
}

const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
]);

/** A past time in words: "2 hours ago", or the date. @param {string | undefined} time */
function ago(time) {
  if (!time) return "";
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds > 7 * 86_400) return new Date(time).toLocaleDateString(language(), { dateStyle: "medium" });
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return new Intl.RelativeTimeFormat(language(), { numeric: "auto" }).format(-Math.floor(seconds / length), unit);
  }
  return _("Just now");
}

/** The menu of a job: one for the whole wall. */
class JobMenu {
  constructor() {
    this.element = make("div", { class: "job-menu", popover: "auto", role: "menu" });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
  }

  /**
   * @param {string} name
   * @param {HTMLButtonElement} button Beside which it opens.
   */
  async open(name, button) {
    const job = jobs.get(name);
    if (!job) return;
    const active = !jobs.isFinal(job);
    const paused = job.state === "JOB_STATE_PAUSED";
    this.element.setAttribute("aria-label", job.title || _("Untitled"));
    fill(
      this.element,
      active && !paused && this.item("pause", _("Pause"), () => act("PauseJob", name)),
      paused && !job.held && this.item("play", _("Resume"), () => act("ResumeJob", name)),
      active && this.item("stop", _("Cancel"), () => cancelJob(name)),
      this.item("again", _("Paint again"), () => go(`/?again=${encodeURIComponent(name)}`)),
      (await keeps(name)) && this.item("film", _("Film"), () => openFilm(name, job.title ?? "")),
      this.item("list", _("Recipe"), () => openRecipe(name)),
      this.item("link", _("Copy the link"), () => copyText(new URL(jobAddress(name), document.baseURI).href)),
      this.item("trash", _("Delete"), () => deleteJob(name), "danger"),
    );
    this.element.showPopover();
    const at = button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.element;
    this.element.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
    this.element.style.top = `${at.bottom + height + 8 > innerHeight ? Math.max(8, at.top - height - 4) : at.bottom + 4}px`;
    /** @type {HTMLElement | null} */ (this.element.firstElementChild)?.focus();
  }

  /**
   * @param {Parameters<typeof icon>[0]} picture
   * @param {string} label
   * @param {() => unknown} action
   * @param {string} [kind]
   */
  item(picture, label, action, kind = "") {
    const chosen = () => {
      this.element.hidePopover();
      action();
    };
    return make("button", { type: "button", role: "menuitem", class: `quiet ${kind}`, onclick: chosen }, icon(picture), label);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const items = /** @type {HTMLElement[]} */ ([...this.element.children]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    items[(at + step + items.length) % items.length]?.focus();
    event.preventDefault();
  }
}

/**
 * Makes a call about a job, and shows its answer or its error.
 *
 * @param {string} method
 * @param {string} name
 */
async function act(method, name) {
  try {
    const answer = await call(method, { name });
    if (method === "DeleteJob") jobs.forget(name);
    else jobs.learn(answer);
  } catch (error) {
    if (error instanceof CallError && error.code === "not_found") jobs.forget(name);
    else await ask(_("This did not work"), errorText(error), _("Close"), "");
  }
}

/** @param {string} name */
async function cancelJob(name) {
  const yes = await ask(_("Cancel this painting?"), _("What is painted so far is lost."), _("Cancel the painting"), _("Go on painting"));
  if (yes) await act("CancelJob", name);
}

/** @param {string} name */
async function deleteJob(name) {
  const title = jobs.get(name)?.title || _("Untitled");
  const yes = await ask(_("Delete “{title}”?", { title }), _("The painting is gone for good."), _("Delete"), _("Keep it"));
  if (yes) await act("DeleteJob", name);
}
