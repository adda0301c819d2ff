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
 * @property {number} size Longer side of the painting in pixels.
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
  size: 1024,
  strokeSize: 100,
  seed: 0,
  objective: "NEIGHBOURS",
};

export const SIZES = [512, 768, 1024, 1536, 2048, 3072];
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

/** The recipe of choices. @param {Choices} choices @returns {Recipe} */
export function recipeOf(choices) {
  const work = choices.evaluations ? { evaluations: choices.evaluations } : { effort: /** @type {Effort} */ (`EFFORT_${choices.effort || "STANDARD"}`) };
  return {
    objective: /** @type {Objective} */ (`OBJECTIVE_${choices.objective}`),
    contentWeight: contentWeight(choices.strength, choices.objective),
    ...work,
    longestSide: choices.size,
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
export function settingsPanel(choices, { steering = false, largestSize = 8192, changed }) {
  /** @type {Map<string, Control>} */
  const controls = new Map();
  const add = (/** @type {Control} */ control) => {
    controls.set(control.name, control);
    return control.element;
  };
  const main = [
    add(
      slider("strength", _("Strength"), choices.strength, [0, 100], 1, "", changed, [_("My picture"), _("The style")]),
    ),
    !steering && add(slider("strokeSize", _("Stroke size"), choices.strokeSize, STROKE_SIZES, 10, "%", changed)),
    add(
      chips("effort", _("Effort"), choices.effort, [["DRAFT", _("Draft")], ["STANDARD", _("Standard")], ["FINE", _("Fine")]], (change) =>
        changed({ ...change, evaluations: 0 }),
      ),
    ),
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
          [...new Set([...SIZES.filter((size) => size <= largestSize), choices.size])].sort((a, b) => a - b).map((size) => [String(size), `${numeral(size)} px`]),
          ({ size }) => changed({ size: Number(size) }),
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
        if (!control.element.contains(document.activeElement)) control.show(shown[/** @type {keyof Choices} */ (name)]);
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
 * @typedef {{name: string, element: HTMLElement, show: (value: any) => void, say: (error: string) => void}} Control
 * @typedef {(changes: any) => void} Changed
 */

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
 * @param {string} name @param {string} label @param {string} value @param {string[][]} words Values and labels.
 * @param {Changed} changed
 * @returns {Control}
 */
function chips(name, label, value, words, changed) {
  const error = errorOf(name);
  const group = `${name}-${Math.random()}`;
  const inputs = words.map(([word]) => make("input", { type: "radio", name: group, value: word, checked: word === value, onchange: () => changed({ [name]: word }) }));
  return {
    name,
    element: make(
      "fieldset",
      { class: "field" },
      make("legend", {}, label),
      make("div", { class: "chips" }, ...words.map(([, text], index) => make("label", { class: "chip" }, inputs[index], make("span", {}, text)))),
      error.element,
    ),
    show: (shown) => inputs.forEach((input) => (input.checked = input.value === shown)),
    say: error.say,
  };
}

/**
 * @param {string} name @param {string} label @param {string} value @param {string[][]} words Values and labels.
 * @param {Changed} changed
 * @returns {Control}
 */
function list(name, label, value, words, changed) {
  const error = errorOf(name);
  const select = make(
    "select",
    { name, onchange: () => changed({ [name]: select.value }), "aria-describedby": error.element.id },
    ...words.map(([word, text]) => make("option", { value: word, selected: word === value }, text)),
  );
  return {
    name,
    element: make("label", { class: "field" }, label, select, error.element),
    show: (shown) => (select.value = String(shown)),
    say: error.say,
  };
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
