/** Paintings that differ only in their seed, side by side. */

import { CallError, call } from "./connect.js";
import { fill, loadStyle, make } from "./dom.js";
import * as jobs from "./jobs.js";
import { jobAddress } from "./router.js";
import { Stage } from "./stage.js";
import { _, errorText, stateWord } from "./words.js";

/**
 * @param {import("./router.js").Context} context The jobs' identifiers, with commas between them.
 * @returns {Promise<HTMLElement>}
 */
export async function showFour({ parameters: [ids], signal }) {
  await loadStyle("css/painting.css");
  const names = ids.split(",").slice(0, 8).map((id) => `jobs/${id}`);
  const error = make("p", { class: "notice error", role: "alert", hidden: true });
  const stop = make("button", { onclick: () => cancelAll(names).catch(say) }, _("Cancel all"));
  const say = (/** @type {unknown} */ trouble) => {
    error.hidden = false;
    fill(error, errorText(trouble));
  };
  const update = () => {
    const known = names.map((name) => jobs.get(name));
    stop.hidden = known.every((job) => !job || jobs.isFinal(job));
  };
  const cells = names.map((name) => cell(name, signal, update));
  update();
  return make(
    "section",
    { class: "four" },
    make("header", { class: "bar" }, make("h1", {}, _("Side by side")), stop),
    make("p", { class: "hint" }, _("They differ only in the seed. Open the one that you like.")),
    error,
    make("div", { class: "four-grid" }, ...cells),
  );
}

/** @param {string} name @param {AbortSignal} signal @param {() => void} update */
function cell(name, signal, update) {
  const stage = new Stage("");
  const caption = make("span", {});
  const bar = make("progress", { max: 1, "aria-label": _("Progress") });
  let isEnding = false;
  const stop = jobs.watch(name, ({ job, preview, change }) => {
    if (preview) stage.showPreview(preview);
    if (change === "preview") return;
    stage.resize(job.width ?? 0, job.height ?? 0);
    const { evaluation = 0, evaluations = 0 } = job.progress ?? {};
    bar.value = evaluations ? evaluation / evaluations : 0;
    bar.hidden = jobs.isFinal(job);
    fill(caption, `${_("Seed {seed}", { seed: job.recipe?.seed ?? 0 })} · ${change === "deleted" ? _("Deleted") : stateWord(job.state)}`);
    if (job.state === "JOB_STATE_SUCCEEDED" && !isEnding) {
      isEnding = true;
      void showResult(name, stage).catch(() => (isEnding = false));
    }
    update();
  });
  jobs.wantPreviews(name, true);
  signal.addEventListener("abort", () => {
    stop();
    jobs.wantPreviews(name, false);
  });
  if (!jobs.get(name)) jobs.load(name).catch((error) => fill(caption, errorText(error)));
  return make("a", { class: "four-cell", href: jobAddress(name) }, stage.element, bar, caption);
}

/** @param {string} name @param {Stage} stage */
async function showResult(name, stage) {
  const { imageLink } = await import("./links.js");
  await stage.showResult(await imageLink({ resultOf: name, maxSide: 1024 }));
}

/** @param {string[]} names */
async function cancelAll(names) {
  for (const name of names) {
    const job = jobs.get(name);
    if (!job || jobs.isFinal(job)) continue;
    try {
      jobs.learn(await call("CancelJob", { name }));
    } catch (error) {
      // It was finished in this moment.
      if (!(error instanceof CallError) || error.code !== "failed_precondition") throw error;
    }
  }
}
