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
  const effort = effortOf(choices.objective, choices.evaluations);
  return effort ? { ...choices, effort, evaluations: 0 } : choices;
}

/**
 * The effort that gives a number of evaluations, such as "DRAFT"; undefined if none does.
 *
 * @param {string} objective Without its prefix, such as "NEIGHBOURS".
 * @param {number} evaluations
 */
export function effortOf(objective, evaluations) {
  const cases = RECIPE_FIELDS.find(({ name }) => name === "evaluations")?.cases ?? [];
  const ofObjective = cases.filter(({ when }) => when.objective === `OBJECTIVE_${objective}`);
  const usable = ofObjective.length ? ofObjective : cases.filter(({ when }) => !when.objective);
  const found = usable.find(({ value }) => value === evaluations);
  return found && String(found.when.effort).replace("EFFORT_", "");
}
