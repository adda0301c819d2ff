/** Asks for a token. */

import { fill, make } from "./dom.js";
import { signIn } from "./session.js";
import { _, errorText } from "./words.js";

/**
 * The part of the page where one signs in.
 *
 * @param {string} notice Why it is shown; "" without a special reason.
 * @param {() => void} signedIn Called once the server knows the token.
 * @returns {HTMLElement}
 */
export function signInPart(notice, signedIn) {
  const token = make("input", {
    type: "password",
    id: "token",
    name: "token",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "sign-in-error",
  });
  const keep = make("input", { type: "checkbox", name: "keep", checked: true });
  const error = make("p", { id: "sign-in-error", class: "notice error", role: "alert", hidden: !notice }, notice);
  const button = make("button", { class: "primary", type: "submit" }, _("Sign in"));

  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      if (await signIn({ token: token.value.trim(), keep: keep.checked })) return signedIn();
      say(_("The server does not know this token. Copy it once more, without spaces before or after it."));
      token.select();
    } catch (trouble) {
      say(errorText(trouble));
    } finally {
      button.disabled = false;
    }
  };
  const say = (/** @type {string} */ text) => {
    error.hidden = false;
    fill(error, text);
  };

  return make(
    "section",
    { class: "sign-in narrow" },
    make("h1", {}, _("Sign in")),
    make("p", {}, _("This server paints for those who have a token. Its administrator gives you yours.")),
    make(
      "form",
      { class: "card", onsubmit: submit },
      make("label", { class: "field", for: "token" }, _("Token")),
      token,
      make("label", { class: "check" }, keep, _("Stay signed in on this device")),
      error,
      button,
    ),
  );
}
