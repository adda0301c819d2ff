/**
 * Paints regions on the photograph: which style where, and what stays as it is.
 *
 * Everything that is painted is a list of strokes, so that it can be undone, and gone on with later.
 */

import { loadStyle, make, settled } from "./dom.js";
import { icon } from "./icons.js";
import { Masks, isEmpty, regionsOf } from "./masks.js";
import { _, language } from "./words.js";

/** @typedef {import("./masks.js").Stroke} Stroke */

/**
 * @typedef {object} RegionStyle
 * @property {string} title
 * @property {string | null} picture Address of a small picture.
 * @property {number} [share] Default 1.
 */

/**
 * @typedef {object} Regions What was painted.
 * @property {{style: number, mask: Blob}[]} regions They cover the picture exactly once; empty: all styles
 *   are used everywhere. The masks are PNGs, white inside.
 * @property {Blob | null} selection White where the picture is painted; null: everywhere.
 * @property {Stroke[]} strokes To go on with.
 */

/** Colours that people with any kind of colour vision can tell apart (Okabe and Ito). */
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"];
/** Stripes of what stays as it is: seen on dark photographs and on bright ones. */
const STRIPES = ["#202020", "#f4f4f4"];
const TINT = 0.55;
const LARGEST_ZOOM = 8;

/**
 * Opens the dialog.
 *
 * @param {{photo: Blob, styles: RegionStyle[], regions: Regions | null}} what `regions`: what this function
 *   returned before for this photograph.
 * @returns {Promise<Regions | null>} Null: closed without a change.
 * @throws {DOMException} The browser cannot show the photograph.
 */
export async function openRegions({ photo, styles, regions }) {
  const [picture] = await Promise.all([createImageBitmap(photo), loadStyle("css/regions.css")]);
  const editor = new RegionEditor(picture, styles, regions?.strokes ?? []);
  try {
    return await editor.run();
  } finally {
    picture.close();
  }
}

class RegionEditor {
  /**
   * @param {ImageBitmap} picture
   * @param {RegionStyle[]} styles
   * @param {Stroke[]} strokes
   */
  constructor(picture, styles, strokes) {
    this.picture = picture;
    this.styles = styles;
    /** The layer of what stays as it is; those before are the styles'. */
    this.kept = styles.length;
    this.masks = new Masks(styles.length + 1, picture.width, picture.height);
    this.colours = styles.map((_style, index) => COLOURS[index % COLOURS.length]);
    this.done = [...strokes];
    /** @type {Stroke[]} */
    this.undone = [];
    /** @type {Stroke | null} */
    this.current = null;
    /** @type {number | null} */
    this.layer = styles.length > 1 ? 1 : this.kept;
    /** Fingers, pens and mice that are down. @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.view = { zoom: 1, x: 0, y: 0 };
    this.drawing = 0;
    this.tint = this.masks.canvas();
    this.stripes = stripes(this.tint, Math.max(this.masks.width, this.masks.height));
    this.canvas = make("canvas", { class: "paint", width: this.masks.width, height: this.masks.height });
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.cursor = make("span", { class: "brush-cursor", hidden: true });
    this.sheet = make("div", { class: "sheet" }, this.photograph(), this.canvas);
    this.stage = make("div", { class: "regions-stage", tabindex: "0", role: "img", "aria-label": _("The photograph, with what is painted on it") }, this.sheet, this.cursor);
    this.status = make("p", { class: "status", role: "status" });
    this.rest = make("p", { class: "hint rest", role: "status" });
    this.explain = settled(0.3, () => this.dialog.open && this.tellOfTheRest());
    this.size = make("input", { type: "range", min: "1", max: "40", value: "8", id: "regions-size" });
    this.softness = make("input", { type: "range", min: "0", max: "100", value: "30", id: "regions-softness" });
    this.undoButton = this.button("undo", _("Undo"), () => this.undo());
    this.redoButton = this.button("redo", _("Redo"), () => this.redo());
    this.clearButton = make("button", { type: "button", class: "quiet", onclick: () => this.clear() }, _("Clear all"));
    this.dialog = this.makeDialog();
    this.replay();
  }

  /** Shows the dialog until it is closed. @returns {Promise<Regions | null>} */
  run() {
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.tellOfTheRest();
    this.fit();
    const watcher = new ResizeObserver(() => this.fit());
    watcher.observe(this.stage);
    return new Promise((resolve, reject) => {
      this.dialog.addEventListener("close", () => {
        watcher.disconnect();
        cancelAnimationFrame(this.drawing);
        this.dialog.remove();
        if (this.dialog.returnValue === "done") this.result().then(resolve, reject);
        else resolve(null);
      });
    });
  }

  /** @returns {Promise<Regions>} */
  async result() {
    const shares = this.masks.shares();
    const kept = shares[this.kept];
    const regions = regionsOf(
      shares.slice(0, this.kept),
      this.styles.map((style) => style.share ?? 1),
    );
    return {
      regions: await Promise.all(regions.map(async ({ style, share }) => ({ style, mask: await this.masks.png(share) }))),
      selection: isEmpty(kept) ? null : await this.masks.png(kept.map((value) => 255 - value)),
      strokes: this.done,
    };
  }

  makeDialog() {
    const dialog = make(
      "dialog",
      { class: "regions", "aria-labelledby": "regions-title" },
      make(
        "header",
        {},
        make("h2", { id: "regions-title" }, _("Regions")),
        this.status,
        make("button", { type: "button", class: "quiet", onclick: () => this.dialog.close() }, _("Cancel")),
        make("button", { type: "button", class: "primary", onclick: () => this.finish() }, _("Done")),
      ),
      make("div", { class: "tools" }, this.rest, this.brushes(), this.brushSettings(), this.byNumbers()),
      this.stage,
    );
    dialog.addEventListener("keydown", (event) => this.onKey(event));
    const stage = this.stage;
    stage.addEventListener("pointerdown", (event) => this.onDown(event));
    stage.addEventListener("pointermove", (event) => this.onMove(event));
    for (const kind of /** @type {const} */ (["pointerup", "pointercancel"])) {
      stage.addEventListener(kind, (event) => this.onUp(event));
    }
    stage.addEventListener("pointerleave", () => (this.cursor.hidden = true));
    stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    return dialog;
  }

  /** The photograph, no larger than a screen needs it. */
  photograph() {
    const { width, height } = this.picture;
    const scale = Math.min(1, 2048 / Math.max(width, height));
    const canvas = make("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d")?.drawImage(this.picture, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  /** What to paint with: the styles, what stays as it is, and the eraser. */
  brushes() {
    const choices = this.styles.map((style, index) => this.brush(index, style.title, style.picture));
    return make(
      "fieldset",
      { class: "brushes" },
      make("legend", {}, _("Paint with")),
      ...choices,
      this.brush(this.kept, _("Leave as it is"), null),
      this.brush(null, _("Eraser"), null),
    );
  }

  /**
   * @param {number | null} layer
   * @param {string} title
   * @param {string | null} picture
   */
  brush(layer, title, picture) {
    const kind = layer === null ? "eraser" : layer === this.kept ? "kept" : "";
    const swatch = make("span", { class: `swatch ${kind}` });
    if (!kind) swatch.style.background = this.colours[Number(layer)];
    const input = make("input", {
      type: "radio",
      name: "regions-brush",
      value: layer ?? "eraser",
      checked: layer === this.layer,
      onchange: () => (this.layer = layer),
    });
    return make("label", { class: "brush" }, input, swatch, picture && make("img", { src: picture, alt: "" }), make("span", {}, title));
  }

  brushSettings() {
    return make(
      "div",
      { class: "brush-settings" },
      make("label", { for: this.size.id }, _("Brush size"), this.size),
      make("label", { for: this.softness.id }, _("Soft edge"), this.softness),
      make(
        "div",
        { class: "row" },
        this.undoButton,
        this.redoButton,
        this.button("plus", _("Zoom in"), () => this.zoomBy(1.5)),
        this.button("minus", _("Zoom out"), () => this.zoomBy(1 / 1.5)),
        this.clearButton,
      ),
    );
  }

  /** The way without a pointer: a rectangle by numbers, or the whole picture. */
  byNumbers() {
    const fields = [
      [_("Left"), 25],
      [_("Top"), 25],
      [_("Width"), 50],
      [_("Height"), 50],
    ].map(([label, value]) => {
      const input = make("input", { type: "number", min: "0", max: "100", value, inputmode: "decimal" });
      return { input, label: make("label", {}, `${label} (%)`, input) };
    });
    const rectangle = () => {
      const [left, top, width, height] = fields.map(({ input }) => (Number(input.value) || 0) / 100);
      this.fill([left, top, Math.min(1, left + width), Math.min(1, top + height)]);
    };
    return make(
      "details",
      { class: "by-numbers" },
      make("summary", {}, _("By numbers")),
      make("div", { class: "numbers" }, ...fields.map(({ label }) => label)),
      make(
        "div",
        { class: "row" },
        make("button", { type: "button", onclick: rectangle }, _("Fill the rectangle")),
        make("button", { type: "button", onclick: () => this.fill([0, 0, 1, 1]) }, _("Fill everything")),
      ),
    );
  }

  /**
   * @param {Parameters<typeof icon>[0]} name
   * @param {string} label
   * @param {() => void} action
   */
  button(name, label, action) {
    return make("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick: action }, icon(name));
  }

  /** Fills a rectangle. @param {number[]} points Its left, top, right and bottom, 0 to 1. */
  fill(points) {
    this.add({ layer: this.layer, shape: "rectangle", points, size: 0, softness: 0 });
  }

  /** @param {Stroke} stroke */
  add(stroke) {
    this.done.push(stroke);
    this.undone = [];
    this.masks.paint(stroke);
    this.changed();
  }

  undo() {
    const stroke = this.done.pop();
    if (!stroke) return;
    this.undone.push(stroke);
    this.replay();
  }

  redo() {
    const stroke = this.undone.pop();
    if (!stroke) return;
    this.done.push(stroke);
    this.masks.paint(stroke);
    this.changed();
  }

  clear() {
    // One step of undoing for each stroke would be tedious: erasing everything is a stroke, too.
    this.add({ layer: null, shape: "rectangle", points: [0, 0, 1, 1], size: 0, softness: 0 });
  }

  replay() {
    this.masks.clear();
    for (const stroke of this.done) this.masks.paint(stroke);
    this.changed();
  }

  changed() {
    this.undoButton.disabled = !this.done.length;
    this.redoButton.disabled = !this.undone.length;
    this.clearButton.disabled = !this.done.length;
    this.status.textContent = "";
    this.drawSoon();
    this.explain();
  }

  /** Says what becomes of the places without a colour, as `regionsOf` decides it. */
  tellOfTheRest() {
    const shares = this.masks.shares().slice(0, this.kept);
    const free = shares.flatMap((share, style) => (isEmpty(share) ? [style] : []));
    const used = free.length ? free : [0];
    const names = used.map((style) => _("“{title}”", { title: this.styles[style].title }));
    const list = new Intl.ListFormat(language()).format(names);
    if (this.styles.length === 1) this.rest.textContent = _("Everything is painted, except what you mark to be left as it is.");
    else if (used.length === 1) this.rest.textContent = _("Places without a colour are painted as {style}.", { style: list });
    else this.rest.textContent = _("Places without a colour are painted in a mix of {styles}.", { styles: list });
  }

  finish() {
    const kept = this.masks.shares()[this.kept];
    if (isEmpty(kept.map((value) => 255 - value))) {
      this.status.textContent = _("Nothing is left to paint. Erase a part of what stays as it is.");
    } else {
      this.dialog.close("done");
    }
  }

  drawSoon() {
    cancelAnimationFrame(this.drawing);
    this.drawing = requestAnimationFrame(() => this.draw());
  }

  /** Draws the layers in their colours, with the stroke that is being painted. */
  draw() {
    const { width, height } = this.masks;
    const { tint, context } = this;
    context.clearRect(0, 0, width, height);
    if (this.current) this.masks.draw(this.current);
    for (const [index, layer] of this.masks.layers.entries()) {
      tint.globalCompositeOperation = "copy";
      tint.drawImage(layer.canvas, 0, 0);
      if (this.current) {
        tint.globalCompositeOperation = index === this.current.layer ? "source-over" : "destination-out";
        tint.drawImage(this.masks.shape.canvas, 0, 0);
      }
      tint.globalCompositeOperation = "source-in";
      tint.fillStyle = this.colours[index] ?? this.stripes;
      tint.fillRect(0, 0, width, height);
      context.globalAlpha = index === this.kept ? 0.75 : TINT;
      context.drawImage(tint.canvas, 0, 0);
    }
  }

  /** Makes the sheet as large as the stage allows, in the proportions of the photograph. */
  fit() {
    const { clientWidth, clientHeight } = this.stage;
    const scale = Math.min(clientWidth / this.picture.width, clientHeight / this.picture.height);
    this.sheet.style.width = `${this.picture.width * scale}px`;
    this.sheet.style.height = `${this.picture.height * scale}px`;
    this.place();
  }

  /** Zooms and moves the sheet, which is in the middle of the stage at first. */
  place() {
    const { view, sheet } = this;
    view.zoom = Math.min(LARGEST_ZOOM, Math.max(1, view.zoom));
    const room = (view.zoom - 1) / 2;
    view.x = Math.min(room * sheet.offsetWidth, Math.max(-room * sheet.offsetWidth, view.x));
    view.y = Math.min(room * sheet.offsetHeight, Math.max(-room * sheet.offsetHeight, view.y));
    sheet.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  }

  /**
   * Zooms; the place under a point of the window stays where it is.
   *
   * @param {number} factor
   * @param {{x: number, y: number}} [at] Default: the middle of the stage.
   */
  zoomBy(factor, at) {
    const { view } = this;
    const box = this.stage.getBoundingClientRect();
    const x = at ? at.x - box.x - box.width / 2 : 0;
    const y = at ? at.y - box.y - box.height / 2 : 0;
    const before = view.zoom;
    view.zoom = Math.min(LARGEST_ZOOM, Math.max(1, before * factor));
    view.x = x - ((x - view.x) * view.zoom) / before;
    view.y = y - ((y - view.y) * view.zoom) / before;
    this.place();
  }

  /** A point of the window as a point of the picture. @param {{clientX: number, clientY: number}} event */
  point({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [(clientX - box.x) / box.width, (clientY - box.y) / box.height];
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    if (event.button) return;
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size > 1) {
      // Two fingers move and zoom the picture; what the first has begun was no stroke.
      this.current = null;
      this.drawSoon();
      return;
    }
    this.current = {
      layer: this.layer,
      shape: "brush",
      points: this.point(event),
      // The brush keeps its size on the screen: zoomed in, one paints finer.
      size: this.size.valueAsNumber / 100 / this.view.zoom,
      softness: this.softness.valueAsNumber / 100,
    };
    this.drawSoon();
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    this.showCursor(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size > 1) this.pinch(event.pointerId, before, now);
    else if (this.current) {
      const moves = event.getCoalescedEvents?.() ?? [];
      for (const each of moves.length ? moves : [event]) this.current.points.push(...this.point(each));
      this.drawSoon();
    }
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    this.pointers.delete(event.pointerId);
    const stroke = this.current;
    this.current = null;
    if (stroke && event.type === "pointerup") this.add(stroke);
    else this.drawSoon();
  }

  /**
   * One of two fingers has moved.
   *
   * @param {number} moved
   * @param {{x: number, y: number}} before
   * @param {{x: number, y: number}} now
   */
  pinch(moved, before, now) {
    const other = [...this.pointers].find(([id]) => id !== moved)?.[1];
    if (!other) return;
    this.view.x += (now.x - before.x) / 2;
    this.view.y += (now.y - before.y) / 2;
    const distance = (/** @type {{x: number, y: number}} */ point) => Math.hypot(point.x - other.x, point.y - other.y);
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    this.zoomBy(distance(now) / Math.max(1, distance(before)), middle);
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 300), { x: event.clientX, y: event.clientY });
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "z") event.shiftKey ? this.redo() : this.undo();
    else if (command && event.key.toLowerCase() === "y") this.redo();
    else if (event.key === "[") this.size.valueAsNumber -= 1;
    else if (event.key === "]") this.size.valueAsNumber += 1;
    else if (event.key === "+") this.zoomBy(1.5);
    else if (event.key === "-" && !(event.target instanceof HTMLInputElement)) this.zoomBy(1 / 1.5);
    else return;
    event.preventDefault();
  }

  /** Shows the brush as large as it paints. @param {PointerEvent} event */
  showCursor(event) {
    this.cursor.hidden = event.pointerType === "touch";
    const stage = this.stage.getBoundingClientRect();
    const size = (this.size.valueAsNumber / 100) * Math.max(this.sheet.offsetWidth, this.sheet.offsetHeight);
    this.cursor.style.width = this.cursor.style.height = `${size}px`;
    this.cursor.style.transform = `translate(${event.clientX - stage.x - size / 2}px, ${event.clientY - stage.y - size / 2}px)`;
  }
}

/**
 * Slanted stripes to fill with.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} side Longer side of what is filled, in pixels: the stripes are as wide on the screen on all of them.
 */
function stripes(context, side) {
  const size = 2 * Math.max(4, Math.round(side / 100));
  const tile = make("canvas", { width: size, height: size });
  const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  pen.fillStyle = STRIPES[0];
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = STRIPES[1];
  pen.lineWidth = size / 4;
  for (const offset of [-size, 0, size]) {
    pen.moveTo(offset - size, 2 * size);
    pen.lineTo(offset + 2 * size, -size);
  }
  pen.stroke();
  return /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
}
