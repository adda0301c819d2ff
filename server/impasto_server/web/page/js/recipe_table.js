// The fields of a recipe: ranges, defaults, help. `poe page-contract` writes this file from the table in
// server/impasto_server/engine/recipe.py: change it there.

/**
 * @typedef {object} RecipeField
 * @property {string} name Its name in JSON.
 * @property {"number" | "whole number" | "yes or no" | "choice" | "layers"} kind Kind of its values.
 * @property {string} help What it sets, in English.
 * @property {string} range The range of a number in words, "0.1 to 4".
 * @property {string} default The default in words, "0.3; 1 with gatys or report".
 * @property {unknown} [value] The default, unless one of `cases` applies.
 * @property {{when: Record<string, unknown>, value: unknown}[]} [cases] Values of other fields,
 *   and the default with these; the first that applies counts.
 * @property {number} [least] Smallest value of a number.
 * @property {boolean} [aboveLeast] Whether the value must be above `least`.
 * @property {number} [most] Largest value of a number.
 * @property {string} [unit] Unit of a number.
 * @property {string[]} [words] Values of a choice as in JSON, or names of layers.
 * @property {string[]} [fixedBy] Objectives that fix the field, as in JSON.
 * @property {boolean} [steerable] Whether it may change while the job is painted.
 * @property {boolean} [photographOnly] Whether it does not apply to textures.
 * @property {boolean} [detail] Whether few people need it.
 */

/** @type {RecipeField[]} */
export const RECIPE_FIELDS = [
  {
    "name": "objective",
    "kind": "choice",
    "help": "Formula that the painting follows.",
    "range": "",
    "default": "neighbours",
    "value": "OBJECTIVE_NEIGHBOURS",
    "words": [
      "OBJECTIVE_BALANCED",
      "OBJECTIVE_GATYS",
      "OBJECTIVE_REPORT",
      "OBJECTIVE_WASSERSTEIN",
      "OBJECTIVE_NEIGHBOURS"
    ]
  },
  {
    "name": "contentWeight",
    "kind": "number",
    "help": "Weight of the content. A larger weight keeps more of the photograph.",
    "range": "0 or more",
    "default": "0.3; 1 with gatys or report",
    "value": 0.3,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_GATYS"
        },
        "value": 1.0
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": 1.0
      }
    ],
    "least": 0.0,
    "steerable": true,
    "photographOnly": true
  },
  {
    "name": "styleWeight",
    "kind": "number",
    "help": "Weight of the style loss. A larger weight takes more from the paintings. With neighbours, which has no content loss, it counts only relative to the total variation and cannot be 0.",
    "range": "0 or more",
    "default": "1; 10000000 with gatys; 100 with report",
    "value": 1.0,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_GATYS"
        },
        "value": 10000000.0
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": 100.0
      }
    ],
    "least": 0.0,
    "steerable": true,
    "detail": true
  },
  {
    "name": "tvWeight",
    "kind": "number",
    "help": "Weight of the total variation. A larger weight gives smoother areas.",
    "range": "0 or more",
    "default": "0; 0.005 with neighbours",
    "value": 0.0,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_NEIGHBOURS"
        },
        "value": 0.005
      }
    ],
    "least": 0.0,
    "steerable": true,
    "detail": true
  },
  {
    "name": "optimizer",
    "kind": "choice",
    "help": "Optimiser that changes the image.",
    "range": "",
    "default": "lbfgs; adam with report",
    "value": "OPTIMIZER_LBFGS",
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": "OPTIMIZER_ADAM"
      }
    ],
    "words": [
      "OPTIMIZER_ADAM",
      "OPTIMIZER_LBFGS"
    ],
    "steerable": true,
    "detail": true
  },
  {
    "name": "learningRate",
    "kind": "number",
    "help": "Step length of Adam in units of the normalised image; with lbfgs, a factor of each step.",
    "range": "more than 0, at most 100",
    "default": "0.05; 1 with lbfgs; 0.003 with report",
    "value": 0.05,
    "cases": [
      {
        "when": {
          "optimizer": "OPTIMIZER_LBFGS"
        },
        "value": 1.0
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": 0.003
      }
    ],
    "least": 0.0,
    "most": 100.0,
    "aboveLeast": true,
    "steerable": true,
    "detail": true
  },
  {
    "name": "effort",
    "kind": "choice",
    "help": "Amount of work, by name. Give this or a number of evaluations.",
    "range": "",
    "default": "standard",
    "value": "EFFORT_STANDARD",
    "words": [
      "EFFORT_DRAFT",
      "EFFORT_STANDARD",
      "EFFORT_FINE"
    ],
    "steerable": true
  },
  {
    "name": "evaluations",
    "kind": "whole number",
    "help": "Number of evaluations of the loss, over all scales. Give this or an effort.",
    "range": "1 to 100000",
    "default": "that of the effort: draft 30 (report 500, neighbours 40); standard 68 (report 2000, neighbours 80); fine 200 (report 5000, neighbours 250)",
    "value": 68,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_REPORT",
          "effort": "EFFORT_DRAFT"
        },
        "value": 500
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT",
          "effort": "EFFORT_STANDARD"
        },
        "value": 2000
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT",
          "effort": "EFFORT_FINE"
        },
        "value": 5000
      },
      {
        "when": {
          "objective": "OBJECTIVE_NEIGHBOURS",
          "effort": "EFFORT_DRAFT"
        },
        "value": 40
      },
      {
        "when": {
          "objective": "OBJECTIVE_NEIGHBOURS",
          "effort": "EFFORT_STANDARD"
        },
        "value": 80
      },
      {
        "when": {
          "objective": "OBJECTIVE_NEIGHBOURS",
          "effort": "EFFORT_FINE"
        },
        "value": 250
      },
      {
        "when": {
          "effort": "EFFORT_DRAFT"
        },
        "value": 30
      },
      {
        "when": {
          "effort": "EFFORT_STANDARD"
        },
        "value": 68
      },
      {
        "when": {
          "effort": "EFFORT_FINE"
        },
        "value": 200
      }
    ],
    "least": 1,
    "most": 100000,
    "steerable": true
  },
  {
    "name": "longestSide",
    "kind": "whole number",
    "help": "Longer side of the result in pixels.",
    "range": "16 to 8192",
    "default": "the content's own, at most 512 (report 400)",
    "value": 512,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": 400
      }
    ],
    "least": 16,
    "most": 8192,
    "unit": "px",
    "photographOnly": true
  },
  {
    "name": "start",
    "kind": "choice",
    "help": "Picture that the painting starts from.",
    "range": "",
    "default": "content; noise with a texture",
    "value": "START_CONTENT",
    "cases": [
      {
        "when": {
          "texture": true
        },
        "value": "START_NOISE"
      }
    ],
    "words": [
      "START_CONTENT",
      "START_NOISE",
      "START_IMAGE"
    ]
  },
  {
    "name": "seed",
    "kind": "whole number",
    "help": "Seed of the random numbers.",
    "range": "0 to 4294967295",
    "default": "0",
    "value": 0,
    "least": 0,
    "most": 4294967295
  },
  {
    "name": "precision",
    "kind": "choice",
    "help": "Arithmetic of the feature network. auto takes the faster one on the device.",
    "range": "",
    "default": "auto; float32 with report",
    "value": "PRECISION_AUTO",
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": "PRECISION_FLOAT32"
      }
    ],
    "words": [
      "PRECISION_AUTO",
      "PRECISION_FLOAT32",
      "PRECISION_BFLOAT16"
    ],
    "steerable": true,
    "detail": true
  },
  {
    "name": "styleScale",
    "kind": "number",
    "help": "Size of the styles' strokes relative to the content: at 2 they are twice as large. Not with report.",
    "range": "0.1 to 4",
    "default": "1",
    "value": 1.0,
    "least": 0.1,
    "most": 4.0,
    "fixedBy": [
      "OBJECTIVE_REPORT"
    ]
  },
  {
    "name": "color",
    "kind": "choice",
    "help": "Colours of the result: those of the style (style); those of the photograph, of which only the lightness is painted (luminance); or those of the photograph, to which the style's colours are matched first (matched).",
    "range": "",
    "default": "style",
    "value": "COLOR_STYLE",
    "words": [
      "COLOR_STYLE",
      "COLOR_LUMINANCE",
      "COLOR_MATCHED"
    ],
    "steerable": true
  },
  {
    "name": "contentLayers",
    "kind": "layers",
    "help": "Layers at which the content is compared, with their shares. Not with report or neighbours.",
    "range": "more than 0",
    "default": "the objective's own",
    "least": 0.0,
    "aboveLeast": true,
    "words": [
      "relu1_1",
      "relu1_2",
      "relu2_1",
      "relu2_2",
      "relu3_1",
      "relu3_2",
      "relu3_3",
      "relu3_4",
      "relu4_1",
      "relu4_2",
      "relu4_3",
      "relu4_4",
      "relu5_1"
    ],
    "fixedBy": [
      "OBJECTIVE_REPORT",
      "OBJECTIVE_NEIGHBOURS"
    ],
    "steerable": true,
    "photographOnly": true,
    "detail": true
  },
  {
    "name": "styleLayers",
    "kind": "layers",
    "help": "Layers at which the style is compared, with their shares. Not with report or neighbours.",
    "range": "more than 0",
    "default": "the objective's own",
    "least": 0.0,
    "aboveLeast": true,
    "words": [
      "relu1_1",
      "relu1_2",
      "relu2_1",
      "relu2_2",
      "relu3_1",
      "relu3_2",
      "relu3_3",
      "relu3_4",
      "relu4_1",
      "relu4_2",
      "relu4_3",
      "relu4_4",
      "relu5_1"
    ],
    "fixedBy": [
      "OBJECTIVE_REPORT",
      "OBJECTIVE_NEIGHBOURS"
    ],
    "steerable": true,
    "detail": true
  },
  {
    "name": "averaging",
    "kind": "number",
    "help": "Decay of the running average of Adam's images, which is shown because it has less noise than the last image; at 0 there is no average. It has no effect with lbfgs.",
    "range": "0 to 0.9999",
    "default": "0.99; 0 with lbfgs or report",
    "value": 0.99,
    "cases": [
      {
        "when": {
          "optimizer": "OPTIMIZER_LBFGS"
        },
        "value": 0.0
      },
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": 0.0
      }
    ],
    "least": 0.0,
    "most": 0.9999,
    "steerable": true,
    "detail": true
  },
  {
    "name": "stopOnPlateau",
    "kind": "yes or no",
    "help": "Finish a scale early when its loss has almost stopped falling.",
    "range": "",
    "default": "yes; no with report",
    "value": true,
    "cases": [
      {
        "when": {
          "objective": "OBJECTIVE_REPORT"
        },
        "value": false
      }
    ],
    "steerable": true,
    "detail": true
  }
];
