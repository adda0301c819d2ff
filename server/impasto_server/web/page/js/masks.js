/**
 * Masks painted with a brush: one layer for each style and one for what stays as it is. A place of the
 * picture belongs to one layer at most; at soft edges the layers' shares of a place add up to one.
 */

/** The longer side of a mask in pixels. */
export const MASK_SIDE = 1024;

/** A layer's mask with less paint than this many whole pixels is as good as empty. */
const LEAST_PAINT = 16;

/**
 * @typedef {object} Stroke Something that was painted.
 * @property {number | null} layer The layer that gets the place; null: none, the place is erased.
 * @property {"brush" | "rectangle"} shape
 * @property {number[]} points x and y in turn, in shares of the picture's width and height. Of a
 *   rectangle: two corners.
 * @property {number} size Width of the brush, in shares of the longer side.
 * @property {number} softness Width of the soft edge, in shares of the brush's width: 0 to 1.
 */

/** What was painted, as layers. */
export class Masks {
  /**
   * @param {number} count Number of layers.
   * @param {number} width Of the picture, in pixels.
   * @param {number} height
   */
  constructor(count, width, height) {
    const scale = Math.min(1, MASK_SIDE / Math.max(width, height));
    this.width = Math.max(1, Math.round(width * scale));
    this.height = Math.max(1, Math.round(height * scale));
    this.layers = Array.from({ length: count }, () => this.canvas());
    /** The shape of one stroke. */
    this.shape = this.canvas();
  }

  /** A transparent canvas of the masks' size. */
  canvas() {
    const canvas = document.createElement("canvas");
    canvas.width = this.width;
    canvas.height = this.height;
    return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  }

  clear() {
    for (const layer of this.layers) layer.clearRect(0, 0, this.width, this.height);
  }

  /**
   * Gives the place of a stroke to its layer, and takes it from the others.
   *
   * @param {Stroke} stroke
   */
  paint(stroke) {
    this.draw(stroke);
    for (const [index, layer] of this.layers.entries()) {
      layer.globalCompositeOperation = index === stroke.layer ? "source-over" : "destination-out";
      layer.drawImage(this.shape.canvas, 0, 0);
    }
  }

  /**
   * Draws the shape of a stroke into `shape`.
   *
   * @param {Stroke} stroke
   */
  draw({ shape, points, size, softness }) {
    const context = this.shape;
    const [width, height] = [this.width, this.height];
    const brush = Math.max(1, size * Math.max(width, height));
    context.save();
    context.clearRect(0, 0, width, height);
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = context.fillStyle = context.shadowColor = "#fff";
    if (softness && shape === "brush") {
      // The shape itself lies beside the canvas; only its blurred shadow is on it. (Not every browser has
      // filters for canvases.)
      const aside = 2 * (width + height);
      context.translate(-aside, 0);
      context.shadowOffsetX = aside;
      context.shadowBlur = brush * softness * 0.5;
    }
    const [x, y] = points;
    if (shape === "rectangle") {
      const [, , right, bottom] = points;
      context.fillRect(x * width, y * height, (right - x) * width, (bottom - y) * height);
    } else {
      context.lineWidth = Math.max(1, brush * (1 - softness * 0.5));
      context.beginPath();
      context.moveTo(x * width, y * height);
      for (let i = 2; i < points.length; i += 2) context.lineTo(points[i] * width, points[i + 1] * height);
      if (points.length === 2) context.lineTo(x * width + 0.01, y * height);
      context.stroke();
    }
    context.restore();
  }

  /**
   * How much of the picture each layer has, 0 to 1 for each place.
   *
   * @returns {Uint8ClampedArray[]} One byte for each pixel, row by row.
   */
  shares() {
    return this.layers.map((layer) => {
      const { data } = layer.getImageData(0, 0, this.width, this.height);
      return Uint8ClampedArray.from({ length: this.width * this.height }, (_, index) => data[4 * index + 3]);
    });
  }

  /**
   * Writes a mask as a PNG: white on black.
   *
   * @param {Uint8ClampedArray} share As `shares` returns it.
   * @returns {Promise<Blob>}
   */
  png(share) {
    const picture = new ImageData(this.width, this.height);
    for (const [index, value] of share.entries()) picture.data.set([value, value, value, 255], 4 * index);
    const context = this.canvas();
    context.putImageData(picture, 0, 0);
    return new Promise((resolve, reject) => {
      context.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("No memory for a mask"))), "image/png");
    });
  }
}

/**
 * Whether a mask has too little paint to mean anything.
 *
 * @param {Uint8ClampedArray} share
 */
export function isEmpty(share) {
  let paint = 0;
  for (const value of share) paint += value;
  return paint < LEAST_PAINT * 255;
}

/**
 * Gives each place of the picture to a style: what nobody painted goes to the styles that were not painted
 * with, by their shares, or to the first one if there is none. The plugins do the same (hosts/areas.py).
 *
 * @param {Uint8ClampedArray[]} painted By style.
 * @param {number[]} shares The styles' shares.
 * @returns {{style: number, share: Uint8ClampedArray}[]} Empty if nothing was painted.
 */
export function regionsOf(painted, shares) {
  const regions = [...painted.entries()].filter(([, share]) => !isEmpty(share)).map(([style, share]) => ({ style, share }));
  if (!regions.length) return [];
  const left = new Uint8ClampedArray(painted[0].length).fill(255);
  for (const { share } of regions) for (const [index, value] of share.entries()) left[index] -= value;
  const taken = new Set(regions.map(({ style }) => style));
  const free = [...painted.keys()].filter((style) => !taken.has(style));
  if (!free.length) free.push(0);
  const total = free.reduce((sum, style) => sum + shares[style], 0);
  for (const style of free) {
    const share = left.map((value) => (value * shares[style]) / total);
    if (!isEmpty(share)) regions.push({ style, share });
  }
  return regions;
}
