/** The choice of styles: the server's, with their pictures, and one's own; one of them, or several with shares. */

import { call } from "./connect.js";
import { fill, make } from "./dom.js";
import { icon } from "./icons.js";
import { ACCEPTED, Picture } from "./images.js";
import { _ } from "./words.js";

/** @typedef {import("./draft.js").KeptStyle} KeptStyle */

/**
 * A style that can be chosen: one that the server offers, or a picture of one's own.
 *
 * @typedef {object} StyleChoice
 * @property {string} title
 * @property {string | null} url Address of a small picture.
 * @property {string} [named] `NamedStyle.name`.
 * @property {Picture} [own]
 * @property {number} share In proportion to those of the other chosen styles.
 * @property {boolean} chosen
 */

export class StyleChooser {
  /**
   * @param {() => void} changed Hears of each change.
   * @param {(title: string, error: unknown) => void} failed Hears that a picture could not be sent.
   */
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
    /** @type {StyleChoice[]} */
    this.styles = [];
    this.isMixing = false;
    this.tiles = make("div", { class: "tiles", role: "group", "aria-label": _("Styles") });
    this.shares = make("div", { class: "stack shares" });
    this.file = make("input", { type: "file", accept: ACCEPTED, hidden: true, onchange: () => this.#chosenFile() });
    this.mix = make("input", { type: "checkbox", onchange: () => this.#setMixing(this.mix.checked) });
    this.error = make("p", { class: "field-error", role: "alert", hidden: true });
    this.element = make(
      "section",
      { class: "styles", "aria-labelledby": "styles-title" },
      make("h2", { id: "styles-title" }, _("Style")),
      this.tiles,
      this.file,
      make("label", { class: "check" }, this.mix, _("Mix several styles")),
      this.shares,
      this.error,
    );
  }

  /** The styles that are chosen. */
  get chosen() {
    return this.styles.filter((style) => style.chosen);
  }

  /** Fetches the server's styles, and shows those that were kept. @param {KeptStyle[]} kept @param {AbortSignal} signal */
  async load(kept, signal) {
    /** @type {import("./types.js").NamedStyle[]} */
    const offered = [];
    for (let pageToken = ""; ; ) {
      const answer = await call("ListStyles", { pageToken }, { signal });
      offered.push(...(answer.styles ?? []));
      pageToken = answer.nextPageToken ?? "";
      if (!pageToken) break;
    }
    const own = kept.flatMap(({ blob, name = "", share, chosen }) => (blob ? [ownStyle(new Picture(blob, name), share, chosen)] : []));
    const named = offered.map(({ name = "", title = "", thumbnail }) => {
      const before = kept.find((each) => each.named === name);
      return {
        title: title || name,
        url: thumbnail ? `data:image/jpeg;base64,${thumbnail}` : null,
        named: name,
        share: before?.share ?? 1,
        chosen: before?.chosen ?? false,
      };
    });
    this.styles = [...own, ...this.styles, ...named];
    if (!this.chosen.length && this.styles.length) this.styles[0].chosen = true;
    this.isMixing = this.chosen.length > 1;
    this.mix.checked = this.isMixing;
    for (const style of own) this.#send(style);
    this.#show();
  }

  /**
   * Chooses the styles of a job.
   *
   * @param {import("./types.js").Style[]} wanted
   * @param {(sha256: string) => Promise<Blob>} fetched Fetches a picture from the server.
   * @param {string[]} titles Of the styles, if they are known.
   */
  async use(wanted, fetched, titles) {
    const own = await Promise.all(
      wanted.map(
        async ({ image, weight = 1 }, index) => image?.sha256 && ownStyle(new Picture(await fetched(image.sha256), titles[index] ?? ""), weight, true),
      ),
    );
    for (const style of this.styles) {
      const chosen = wanted.find(({ image }) => image?.style && image.style === style.named);
      style.chosen = Boolean(chosen);
      style.share = chosen?.weight ?? style.share;
    }
    for (const style of own) {
      if (!style) continue;
      this.styles.unshift(style);
      this.#send(style);
    }
    if (!this.chosen.length && this.styles.length) this.styles[0].chosen = true;
    this.isMixing = this.chosen.length > 1;
    this.mix.checked = this.isMixing;
    this.#show();
  }

  /** Adds a picture of one's own, and chooses it. @param {File} file */
  add(file) {
    const style = ownStyle(new Picture(file, file.name), 1, false);
    this.styles.unshift(style);
    this.#choose(style);
    this.#send(style);
  }

  /** What is to be kept until the page is opened again. @returns {KeptStyle[]} */
  kept() {
    return this.styles
      .filter((style) => style.own || style.chosen)
      .map(({ named, own, share, chosen }) => ({ named, blob: own?.blob, name: own?.name, share, chosen }));
  }

  /**
   * The chosen styles as the server wants them; sends what is not sent yet.
   *
   * @returns {Promise<import("./types.js").Style[]>}
   */
  async message() {
    const chosen = this.chosen;
    return Promise.all(
      chosen.map(async (style) => ({
        image: style.own ? { sha256: await style.own.send() } : { style: style.named },
        ...(chosen.length > 1 ? { weight: style.share } : {}),
      })),
    );
  }

  /** Shows what is wrong with the styles; "" if nothing is. @param {string} text */
  say(text) {
    this.error.hidden = !text;
    fill(this.error, text);
  }

  /** @param {StyleChoice} style */
  #send(style) {
    style.own?.send().then(this.changed, (error) => {
      if (error.name === "AbortError") return;
      this.#remove(style);
      this.failed(style.title, error);
    });
  }

  /** @param {StyleChoice} style */
  #choose(style) {
    if (this.isMixing) {
      // At least one style stays chosen.
      style.chosen = !style.chosen || this.chosen.length === 1;
    } else {
      for (const each of this.styles) each.chosen = each === style;
    }
    this.#show();
    this.changed();
  }

  /** @param {StyleChoice} style */
  #remove(style) {
    style.own?.close();
    this.styles = this.styles.filter((each) => each !== style);
    if (!this.chosen.length && this.styles.length) this.styles[0].chosen = true;
    this.#show();
    this.changed();
  }

  /** @param {boolean} on */
  #setMixing(on) {
    this.isMixing = on;
    const [first] = this.chosen;
    if (!on) for (const style of this.styles) style.chosen = style === first;
    this.#show();
    this.changed();
  }

  #chosenFile() {
    for (const file of this.file.files ?? []) this.add(file);
    this.file.value = "";
  }

  #show() {
    const focused = this.tiles.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
    fill(
      this.tiles,
      ...this.styles.map((style, index) => this.#tile(style, index)),
      make("button", { type: "button", class: "tile add", "data-key": "add", onclick: () => this.file.click() }, icon("plus"), make("span", { class: "tile-title" }, _("Your own"))),
    );
    if (focused) /** @type {HTMLElement | null} */ (this.tiles.querySelector(`[data-key="${focused}"]`))?.focus();
    const chosen = this.isMixing && this.chosen.length > 1 ? this.chosen : [];
    fill(this.shares, ...chosen.map((style) => this.#share(style)));
  }

  /** @param {StyleChoice} style @param {number} index */
  #tile(style, index) {
    const picture = style.url
      ? make("img", { src: style.url, alt: "", onerror: (/** @type {Event} */ event) => /** @type {Element} */ (event.target).replaceWith(icon("picture")) })
      : icon("picture");
    const button = make(
      "button",
      { type: "button", class: "tile", "data-key": index, "aria-pressed": style.chosen ? "true" : "false", title: style.title, onclick: () => this.#choose(style) },
      picture,
      make("span", { class: "tile-title" }, style.title),
    );
    if (!style.own) return button;
    const label = _("Remove {title}", { title: style.title });
    const remove = make("button", { type: "button", class: "tile-remove", title: label, "aria-label": label, onclick: () => this.#remove(style) }, icon("close"));
    return make("div", { class: "tile-box" }, button, remove);
  }

  /** @param {StyleChoice} style */
  #share(style) {
    const output = make("span", { class: "value", "aria-hidden": "true" });
    const tell = () => {
      const all = this.chosen.reduce((sum, each) => sum + each.share, 0);
      for (const [index, each] of this.chosen.entries()) {
        const shown = this.shares.querySelectorAll(".value")[index];
        if (shown) fill(shown, `${Math.round((100 * each.share) / all)} %`);
      }
    };
    const input = make("input", { type: "range", min: 5, max: 100, step: 5, value: Math.round(style.share * 50) });
    input.addEventListener("input", () => {
      style.share = Number(input.value) / 50;
      tell();
      this.changed();
    });
    queueMicrotask(tell);
    return make("label", { class: "field" }, _("Share of {title}", { title: style.title }), output, input);
  }
}

/** @param {Picture} own @param {number} share @param {boolean} chosen @returns {StyleChoice} */
function ownStyle(own, share, chosen) {
  return { title: own.name.replace(/\.\w+$/, "") || _("Your own"), url: own.url, own, share, chosen };
}
