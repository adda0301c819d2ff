/** Starts the page: signs in, and shows the part that the address names under the page's head. */

import { CallError, refusals } from "./connect.js";
import { fill, make } from "./dom.js";
import { icon } from "./icons.js";
import * as jobs from "./jobs.js";
import { noticeBar, say } from "./notice.js";
import { Router } from "./router.js";
import { confirmOwner, forgetServerInfo, serverInfo, session, signOut, takeCode, tellTabs, tenantNow } from "./session.js";
import { signInPart } from "./sign_in.js";
import { forgetOwner, signInBy, switchBy } from "./sign_in_link.js";
import { startTheme, themeChoice } from "./theme.js";
import { _, errorText, LANGUAGES, language, setLanguage, startLanguage } from "./words.js";

/** @type {Record<string, import("./router.js").Show>} */
const ROUTES = {
  "/": async (context) => (await import("./painting_form.js")).showForm(context),
  "/jobs": async (context) => (await import("./wall.js")).showWall(context),
  "/jobs/:": async (context) => (await import("./painting_view.js")).showPainting(context),
  "/four/:": async (context) => (await import("./four.js")).showFour(context),
  "/admin": async (context) => (await import("./admin.js")).showAdmin(context),
};

const head = make("header", { class: "head" });
const banner = make("div", { class: "banner", role: "status", hidden: true });
const main = make("main", { id: "main", tabindex: "-1" });
// A sign-in link that is opened where the page is open already; before the router, which knows no such part.
window.addEventListener("hashchange", (event) => {
  if (!location.hash.startsWith("#code=")) return;
  event.stopImmediatePropagation();
  useLink(takeCode(new URL(event.oldURL).hash)).catch((error) => say(errorText(error)));
});
const router = new Router(ROUTES, main, partShown, partFailed);

let needsToken = false;
let shown = "";

await start();

async function start() {
  startTheme();
  await startLanguage();
  document.body.append(skipLink(), head, banner, noticeBar, main);
  let wasLost = false;
  jobs.watchConnection((state) => {
    banner.hidden = state !== "lost";
    fill(banner, state === "lost" ? _("Connection lost, trying again…") : "");
    if (state === "live" && wasLost) confirmAgain();
    wasLost = state === "lost";
  });
  refusals.addEventListener("refused", () => needsToken && showSignIn());
  for (const name of ["focus", "pageshow"]) window.addEventListener(name, confirmAgain);
  document.addEventListener("visibilitychange", () => document.hidden || confirmAgain());
  const code = takeCode();
  try {
    await enter();
    if (code) await useLink(code);
  } catch (error) {
    showTrouble(error);
  }
}

/** Perhaps another tab has signed somebody else in. */
function confirmAgain() {
  // Whatever else is wrong, the calls that matter find it themselves.
  if (router.isOpen) confirmOwner().catch(() => {});
}

/** Signs in by a link, unless somebody is signed in who does not want that. @param {string} code */
async function useLink(code) {
  if (!needsToken) return;
  if (router.isOpen) return switchBy(code);
  const trouble = await signInBy(code);
  if (trouble) return showSignIn(trouble);
  await signedIn();
  // Whoever had a link opened here is not who uses the page.
  say(_("Signed in as {name}.", { name: (await serverInfo()).tenant ?? "" }));
}

/** Somebody has signed in. */
async function signedIn() {
  tellTabs(await tenantNow());
  await enter();
}

/** Shows the page to whoever is signed in, or else asks for a token. */
async function enter() {
  const state = await session();
  needsToken = state.needsToken;
  if (needsToken && !state.signedIn) {
    showSignIn();
    return;
  }
  const info = await serverInfo();
  jobs.start();
  void import("./film.js").then((film) => film.record());
  fillHead(info);
  await router.open();
}

/** @param {string} pattern The route of the part that is shown. */
function partShown(pattern) {
  if (pattern !== "/jobs/:") document.title = "Impasto";
  // Whoever does not see the page is told where they are; at the start the browser tells it.
  if (shown) main.focus({ preventScroll: true });
  markShown(pattern);
}

/** A part of the page cannot be shown now; it is tried again. @param {unknown} error */
function partFailed(error) {
  if (main.querySelector(".sign-in")) return;
  const again = make("button", { class: "primary", onclick: () => router.show() }, _("Try again"));
  fill(main, make("section", { class: "narrow" }, make("p", { class: "notice error", role: "alert" }, errorText(error)), make("p", {}, again)));
  const { signal } = router.leaving;
  if (error instanceof CallError && error.passing) setTimeout(() => signal.aborted || router.show(), 2000);
}

/** @param {string} [notice] */
function showSignIn(notice = "") {
  if (main.querySelector(".sign-in") && !notice) return;
  router.close();
  jobs.stop();
  forgetServerInfo();
  fillHead(undefined);
  fill(main, signInPart(notice, () => signedIn().catch(showTrouble)));
}

/** The page cannot start now. @param {unknown} error */
function showTrouble(error) {
  // The page is loaded anew.
  if (error instanceof DOMException && error.name === "AbortError") return;
  fillHead(undefined);
  const again = make("button", { class: "primary", onclick: () => location.reload() }, _("Try again"));
  fill(main, make("section", { class: "narrow" }, make("h1", {}, _("The server does not answer")), make("p", {}, errorText(error)), again));
  setTimeout(() => enter().catch(showTrouble), 2000);
}

/** @param {import("./types.js").GetServerInfoResponse | undefined} info Nobody is signed in without it. */
function fillHead(info) {
  const brand = make("a", { class: "brand", href: "#/", "aria-label": "Impasto" }, make("img", { src: "favicon.svg", alt: "", width: 28, height: 28 }), make("span", {}, "Impasto"));
  const links = info && [
    tab("/", "plus", _("New painting")),
    tab("/jobs", "grid", _("Paintings")),
    info.administrator && tab("/admin", "gauge", _("Administration")),
  ];
  fill(
    head,
    brand,
    links ? make("nav", { class: "tabs", "aria-label": _("Parts of the page") }, ...links) : make("span", { class: "tabs" }),
    make("button", { class: "icon-button", popovertarget: "menu", "aria-label": _("Settings of the page") }, icon("menu")),
    menu(info),
  );
  markShown(shown);
}

/** @param {string} path @param {Parameters<typeof icon>[0]} picture @param {string} label */
function tab(path, picture, label) {
  return make("a", { class: "tab", href: `#${path}`, "data-path": path }, icon(picture), make("span", {}, label));
}

/** Theme, language, and who is signed in. @param {import("./types.js").GetServerInfoResponse | undefined} info */
function menu(info) {
  const languages = make(
    "select",
    { onchange: change },
    ...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, lang: code, selected: code === language() }, name)),
  );
  async function change() {
    await setLanguage(languages.value);
    fillHead(info);
    if (info) await router.show();
    else fill(main, signInPart("", () => signedIn().catch(showTrouble)));
  }
  return make(
    "div",
    { id: "menu", class: "menu", popover: "auto" },
    themeChoice(),
    make("label", { class: "field" }, _("Language"), languages),
    info && make("p", { class: "quiet-text" }, info.tenant ? _("Signed in as {name}.", { name: info.tenant }) : _("This server needs no token."), " ", _("Impasto {version}", { version: info.version ?? "" })),
    info && needsToken && make("button", { onclick: leave }, _("Sign out")),
  );
}

async function leave() {
  try {
    await signOut();
  } catch (error) {
    say(errorText(error));
    return;
  }
  router.close();
  await forgetOwner();
  tellTabs(null);
  location.reload();
}

/** Marks the part that is shown. @param {string} pattern Its route. */
function markShown(pattern) {
  shown = pattern;
  for (const link of head.querySelectorAll(".tab")) {
    const path = link.getAttribute("data-path");
    if (path === pattern || (path === "/jobs" && pattern.startsWith("/jobs/"))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function skipLink() {
  const skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    main.focus();
  };
  return make("a", { class: "skip", href: "#main", onclick: skip }, _("To the content"));
}
