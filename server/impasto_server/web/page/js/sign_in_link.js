/** Sign-in links: whoever opens one is signed in, but nobody is signed out by one unasked. */

import { ask } from "./dom.js";
import { deleteDraft } from "./draft.js";
import { deleteAllFilms } from "./film_store.js";
import * as jobs from "./jobs.js";
import { say } from "./notice.js";
import { owner, signIn, tellTabs, tenantNow } from "./session.js";
import { _ } from "./words.js";

const REFUSED = () => _("This sign-in link was used already, or is too old. Ask for a new one.");

let isAsking = false;

/**
 * Uses a link's code while nobody is signed in.
 *
 * @param {string} code
 * @returns {Promise<string>} Why nobody is signed in now; "" if somebody is.
 */
export async function signInBy(code) {
  return (await signIn({ code })) ? "" : REFUSED();
}

/**
 * Uses a link's code while somebody is signed in, if they want that. Anybody can make a link and have it opened
 * here, and whoever made it would see what is painted from then on: so the code is not used before the answer.
 *
 * @param {string} code
 */
export async function switchBy(code) {
  if (isAsking) return;
  isAsking = true;
  const explanation = _(
    "You are signed in as {name}. After this link, what you paint belongs to whoever made it.",
    { name: owner() },
  );
  const agreed = await ask(_("Sign in as somebody else?"), explanation, _("Sign in with the link"), _("Stay signed in"));
  isAsking = false;
  if (!agreed) return;
  if (!(await signIn({ code }))) return say(REFUSED());
  const tenant = await tenantNow();
  if (tenant !== owner()) await forgetOwner();
  tellTabs(tenant);
  location.reload();
}

/** Deletes what this browser keeps for whoever was signed in: the next one must not see it. */
export async function forgetOwner() {
  jobs.stop();
  await Promise.all([deleteDraft(), deleteAllFilms()]);
}
