/** Efforts and their numbers of evaluations. */

import { RECIPE_FIELDS } from "./recipe_table.js";

/** @typedef {import("./settings.js").Choices} Choices */

/**
 * Choices with the effort by name, where their number of evaluations is that of an effort. The server always
 * tells the number, never the effort that it comes from.
 *
 * @param {Choices} choices
 * @returns {Choices}
 */
export function withEffort(choices) {
  const effort = ["DRAFT", "STANDARD", "FINE"].find((word) => evaluationsOf(choices.objective, word) === choices.evaluations);
  return effort ? { ...choices, effort, evaluations: 0 } : choices;
}

/** @param {string} objective @param {string} effort Both without their prefix. */
function evaluationsOf(objective, effort) {
  const cases = RECIPE_FIELDS.find(({ name }) => name === "evaluations")?.cases ?? [];
  const found = cases.find(
    ({ when }) => when.effort === `EFFORT_${effort}` && (!when.objective || when.objective === `OBJECTIVE_${objective}`),
  );
  return found?.value;
}
