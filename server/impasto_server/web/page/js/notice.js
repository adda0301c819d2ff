/** A sentence above whatever part of the page is shown, until people have read it. */

import { fill, make } from "./dom.js";
import { icon } from "./icons.js";
import { _ } from "./words.js";

export const noticeBar = make("div", { class: "banner notice-bar", role: "status", hidden: true });

/** Says something. @param {string} text "" says nothing any more. */
export function say(text) {
  noticeBar.hidden = !text;
  const label = _("Close");
  fill(noticeBar, make("span", {}, text), make("button", { class: "icon-button", "aria-label": label, title: label, onclick: () => say("") }, icon("close")));
}
