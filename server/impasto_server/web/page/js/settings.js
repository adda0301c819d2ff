/** What an artist chooses, and the recipe that follows: the words and ranges of the plugins for Krita and GIMP. */

import { fill, make } from "./dom.js";
import { icon } from "./icons.js";
import { _, numeral } from "./words.js";

/** @typedef {import("./types.js").Recipe} Recipe */
/** @typedef {import("./types.js").Objective} Objective */
/** @typedef {import("./types.js").Color} Color */
/** @typedef {import("./types.js").Effort} Effort */
/** @typedef {import("./connect.js").FieldError} FieldError */

/**
 * @typedef {object} Choices
 * @property {number} strength Strength of the style, 0 to 100: the content weight as artists see it.
 * @property {string} effort "DRAFT", "STANDARD" or "FINE"; "" if the number of evaluations counts.
 * @property {number} evaluations In place of the effort's; 0 for as many as the effort says.
 * @property {string} color "STYLE", "LUMINANCE" or "MATCHED".
 * @property {number} size Longer side of the painting in pixels; 0: that of the photograph, at most `LARGEST_OWN_SIZE`.
 * @property {number} strokeSize Size of the strokes in percent of the styles' own.
 * @property {number} seed
 * @property {string} objective "NEIGHBOURS", "BALANCED", "WASSERSTEIN" or "GATYS".
 */

/** @type {Choices} */
export const DEFAULTS = {
  strength: 50,
  effort: "STANDARD",
  evaluations: 0,
  color: "STYLE",
  size: 0,
  strokeSize: 100,
  seed: 0,
  objective: "NEIGHBOURS",
};

export const SIZES = [256, 512, 768, 1024, 1536, 2048, 3072];
/** Longer side of a painting that is as large as its photograph, at most. */
export const LARGEST_OWN_SIZE = 1024;
/** Shortest longer side that a recipe may have. */
const LEAST_SIZE = 16;
export const LARGEST_SEED = 2 ** 32 - 1;
/** Smallest and largest stroke size in percent. */
export const STROKE_SIZES = [10, 400];
export const MOST_EVALUATIONS = 100_000;
/** Factor between the content weights at strengths 0 and 50, and between those at 50 and 100. */
export const STRENGTH_SPAN = 8;

/** The content weight at strength 50: the objective's default. @param {string | undefined} objective */
function middleWeight(objective) {
  return objective?.endsWith("GATYS") || objective?.endsWith("REPORT") ? 1 : 0.3;
}

/** The content weight of a strength. @param {number} strength @param {string} [objective] */
export function contentWeight(strength, objective) {
  return Number((middleWeight(objective) * STRENGTH_SPAN ** ((50 - strength) / 50)).toPrecision(4));
}

/**
 * The recipe of choices.
 *
 * @param {Choices} choices
 * @param {number} [photoSide] Longer side of the photograph in pixels; 0 if it is not known.
 * @returns {Recipe}
 */
export function recipeOf(choices, photoSide = 0) {
  const own = Math.min(LARGEST_OWN_SIZE, Math.max(LEAST_SIZE, photoSide || LARGEST_OWN_SIZE));
  const work = choices.evaluations ? { evaluations: choices.evaluations } : { effort: /** @type {Effort} */ (`EFFORT_${choices.effort || "STANDARD"}`) };
  return {
    objective: /** @type {Objective} */ (`OBJECTIVE_${choices.objective}`),
    contentWeight: contentWeight(choices.strength, choices.objective),
    ...work,
    longestSide: choices.size || own,
    seed: choices.seed,
    styleScale: choices.strokeSize / 100,
    color: /** @type {Color} */ (`COLOR_${choices.color}`),
  };
}

/** The choices of a recipe. @param {Recipe} recipe @returns {Choices} */
export function choicesOf(recipe) {
  const weight = recipe.contentWeight ?? middleWeight(recipe.objective);
  const strength = 50 - (50 * Math.log(weight / middleWeight(recipe.objective))) / Math.log(STRENGTH_SPAN);
  return {
    strength: Math.round(Math.min(100, Math.max(0, strength))),
    effort: recipe.effort?.replace("EFFORT_", "") ?? "",
    evaluations: recipe.evaluations ?? 0,
    color: recipe.color?.replace("COLOR_", "") ?? DEFAULTS.color,
    size: recipe.longestSide ?? DEFAULTS.size,
    strokeSize: Math.round(100 * (recipe.styleScale ?? 1)),
    seed: recipe.seed ?? 0,
    objective: recipe.objective?.replace("OBJECTIVE_", "") ?? DEFAULTS.objective,
  };
}

/** A seed that is easy to read and to type. */
export function newSeed() {
  return Math.floor(Math.random() * 1_000_000);
}

/** The choices by the field of a recipe that an error names. @type {Record<string, keyof Choices>} */
const BY_FIELD = {
  content_weight: "strength",
  effort: "effort",
  evaluations: "evaluations",
  color: "color",
  longest_side: "size",
  style_scale: "strokeSize",
  seed: "seed",
  objective: "objective",
};

/**
 * The controls of the settings.
 *
 * @typedef {object} Panel
 * @property {HTMLElement} element
 * @property {(choices: Choices) => void} show Shows other choices, except in a control that is in use.
 * @property {(errors: FieldError[]) => FieldError[]} showErrors Shows what is wrong at its control; returns the
 *   errors that belong to none.
 */

/**
 * Makes the controls.
 *
 * @param {Choices} choices The first choices; the panel does not change them.
 * @param {{steering?: boolean, largestSize?: number, changed: (changes: Partial<Choices>) => void}} options
 *   `steering`: only what can change while it paints. `changed` hears of each change.
 * @returns {Panel}
 */
export function settingsPanel(choices, { steering = false, largestSize = Infinity, changed }) {
  /** @type {Map<string, Control>} */
  const controls = new Map();
  const add = (/** @type {Control} */ control) => {
    controls.set(control.name, control);
    return control.element;
  };
  const main = [
    add(
      slider("strength", _("Strength"), choices.strength, [0, 100], 1, "%", changed, [_("My picture"), _("The style")]),
    ),
    !steering && add(slider("strokeSize", _("Stroke size"), choices.strokeSize, STROKE_SIZES, 10, "%", changed)),
    add(effortChips(choices, changed)),
    add(
      list(
        "color",
        _("Colours"),
        choices.color,
        [
          ["STYLE", _("From the style")],
          ["LUMINANCE", _("My own (paint lightness only)")],
          ["MATCHED", _("My own (match the style)")],
        ],
        changed,
      ),
    ),
    !steering &&
      add(
        list(
          "size",
          _("Size"),
          String(choices.size),
          [0, ...SIZES.filter((size) => size <= largestSize)].map((size) => [String(size), sizeWord(size)]),
          ({ size }) => changed({ size: Number(size) }),
          (size) => sizeWord(Number(size)),
        ),
      ),
  ];
  const more = [
    !steering && add(seedField(choices.seed, changed)),
    add(
      number("evaluations", _("Evaluations"), choices.evaluations, [0, MOST_EVALUATIONS], changed, _("Number of steps of the painting, in place of the effort. 0: as many as the effort says.")),
    ),
    !steering &&
      add(
        list(
          "objective",
          _("Method"),
          choices.objective,
          [
            ["NEIGHBOURS", _("Neighbours: strokes as in the painting")],
            ["BALANCED", _("Balanced: colours and textures of the painting")],
            ["WASSERSTEIN", _("Wasserstein: as Balanced, with other statistics")],
            ["GATYS", _("Gatys: the formula of 2016")],
          ],
          changed,
        ),
      ),
  ];
  const fold = make("details", { class: "more" }, make("summary", {}, _("More")), make("div", { class: "stack" }, ...more));
  return {
    element: make("div", { class: "stack settings" }, ...main, fold),
    show(shown) {
      for (const [name, control] of controls) {
        if (!control.element.contains(document.activeElement)) control.show(shown[/** @type {keyof Choices} */ (name)], shown);
      }
    },
    showErrors(errors) {
      for (const control of controls.values()) control.say("");
      return errors.filter(({ field, description }) => {
        const control = controls.get(BY_FIELD[field.split(".").at(-1) ?? ""] ?? "");
        control?.say(description);
        if (control && fold.contains(control.element)) fold.open = true;
        return !control;
      });
    },
  };
}

/**
 * A control of one setting.
 *
 * @typedef {{name: string, element: HTMLElement, show: (value: any, all?: Choices) => void, say: (error: string) => void}} Control
 * @typedef {(changes: any) => void} Changed
 */

/** @param {number} size As in `Choices`. */
function sizeWord(size) {
  return size ? `${numeral(size)} px` : _("As the photo, at most {size} px", { size: numeral(LARGEST_OWN_SIZE) });
}

/** @param {string} name */
function errorOf(name) {
  const element = make("p", { class: "field-error", id: `error-${name}`, role: "alert", hidden: true });
  const say = (/** @type {string} */ text) => {
    element.hidden = !text;
    fill(element, text);
  };
  return { element, say };
}

/**
 * @param {string} name @param {string} label @param {number} value @param {number[]} range @param {number} step
 * @param {string} unit @param {Changed} changed @param {string[]} [ends] What the two ends mean.
 * @returns {Control}
 */
function slider(name, label, value, [least, most], step, unit, changed, ends) {
  const error = errorOf(name);
  const told = () => (unit ? `${input.value} ${unit}` : input.value);
  const input = make("input", { type: "range", name, min: least, max: most, step, value, "aria-describedby": error.element.id });
  const output = make("span", { class: "value", "aria-hidden": "true" }, told());
  input.addEventListener("input", () => {
    fill(output, told());
    changed({ [name]: Number(input.value) });
  });
  return {
    name,
    element: make(
      "label",
      { class: "field" },
      label,
      output,
      input,
      ends && make("span", { class: "ends hint", "aria-hidden": "true" }, ...ends.map((end) => make("span", {}, end))),
      error.element,
    ),
    show(shown) {
      input.value = String(shown);
      fill(output, told());
    },
    say: error.say,
  };
}

/**
 * The efforts, and beside them the number of evaluations while that counts in their place.
 *
 * @param {Choices} choices @param {Changed} changed
 * @returns {Control}
 */
function effortChips(choices, changed) {
  const error = errorOf("effort");
  const group = `effort-${Math.random()}`;
  const words = [["DRAFT", _("Draft")], ["STANDARD", _("Standard")], ["FINE", _("Fine")]];
  const chip = (/** @type {string} */ word, /** @type {Node | string} */ text) => {
    const input = make("input", { type: "radio", name: group, value: word, onchange: () => word && changed({ effort: word, evaluations: 0 }) });
    return { input, element: make("label", { class: "chip" }, input, make("span", {}, text)) };
  };
  const number = make("span", {});
  const efforts = words.map(([word, text]) => chip(word, text));
  const own = chip("", number);
  const show = (/** @type {string} */ effort, { evaluations } = choices) => {
    fill(number, _("{count} evaluations", { count: numeral(evaluations) }));
    own.element.hidden = !evaluations;
    own.input.checked = evaluations > 0;
    for (const { input } of efforts) input.checked = !evaluations && input.value === effort;
  };
  show(choices.effort);
  const chips = make("div", { class: "chips" }, ...efforts.map(({ element }) => element), own.element);
  return { name: "effort", element: make("fieldset", { class: "field" }, make("legend", {}, _("Effort")), chips, error.element), show, say: error.say };
}

/**
 * @param {string} name @param {string} label @param {string} value @param {string[][]} words Values and labels.
 * @param {Changed} changed
 * @param {(value: string) => string} [wordOf] The label of a value that is not offered, but may be shown.
 * @returns {Control}
 */
function list(name, label, value, words, changed, wordOf = (shown) => shown) {
  const error = errorOf(name);
  const option = (/** @type {string} */ word, /** @type {string} */ text) => make("option", { value: word }, text);
  const select = make(
    "select",
    { name, onchange: () => changed({ [name]: select.value }), "aria-describedby": error.element.id },
    ...words.map(([word, text]) => option(word, text)),
  );
  const show = (/** @type {string | number} */ shown) => {
    select.value = String(shown);
    if (select.value === String(shown)) return;
    // A painting by other means may have what is not offered here.
    select.append(option(String(shown), wordOf(String(shown))));
    select.value = String(shown);
  };
  show(value);
  return { name, element: make("label", { class: "field" }, label, select, error.element), show, say: error.say };
}

/**
 * @param {string} name @param {string} label @param {number} value @param {number[]} range
 * @param {Changed} changed @param {string} hint
 * @returns {Control}
 */
function number(name, label, value, [least, most], changed, hint) {
  const error = errorOf(name);
  const input = make("input", { type: "number", name, min: least, max: most, step: 1, value, inputmode: "numeric", "aria-describedby": error.element.id });
  input.addEventListener("change", () => {
    const given = Math.round(Number(input.value));
    const kept = Math.min(most, Math.max(least, Number.isFinite(given) ? given : least));
    input.value = String(kept);
    changed({ [name]: kept });
  });
  return {
    name,
    element: make("label", { class: "field" }, label, input, hint && make("span", { class: "hint" }, hint), error.element),
    show: (shown) => (input.value = String(shown)),
    say: error.say,
  };
}

/** @param {number} value @param {Changed} changed @returns {Control} */
function seedField(value, changed) {
  const hint = _("The same seed with the same settings gives the same painting; another seed gives another.");
  const control = number("seed", _("Seed"), value, [0, LARGEST_SEED], changed, hint);
  const roll = () => {
    const seed = newSeed();
    control.show(seed);
    changed({ seed });
  };
  const dice = make("button", { type: "button", class: "icon-button", title: _("Another seed"), "aria-label": _("Another seed"), onclick: roll }, icon("dice"));
  return { ...control, element: make("div", { class: "with-button" }, control.element, dice) };
}
