/** Starts the page: signs in, and shows the part that the address names under the page's head. */

import { CallError, refusals } from "./connect.js";
import { ask, fill, make } from "./dom.js";
import { forgetDrafts } from "./draft.js";
import { icon } from "./icons.js";
import * as jobs from "./jobs.js";
import { Router } from "./router.js";
import { forgetServerInfo, onOtherTab, serverInfo, session, signIn, signOut, takeCode } from "./session.js";
import { signInPart } from "./sign_in.js";
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
  location.reload();
});
const router = new Router(ROUTES, main, partShown, partFailed);

let needsToken = false;
let shown = "";

await start();

async function start() {
  startTheme();
  await startLanguage();
  document.body.append(skipLink(), head, banner, main);
  jobs.watchConnection((state) => {
    banner.hidden = state !== "lost";
    fill(banner, state === "lost" ? _("Connection lost, trying again…") : "");
  });
  refusals.addEventListener("refused", () => needsToken && showSignIn());
  // Somebody else may be signed in now: nothing of the one before stays to be seen.
  onOtherTab(() => location.reload());
  const code = takeCode();
  try {
    const notice = code && !(await useCode(code)) ? _("This sign-in link was used already, or is too old. Ask for a new one.") : "";
    await enter(notice);
  } catch (error) {
    showTrouble(error);
  }
}

/**
 * Signs in with the code of a link. Any page can lead here with a link of somebody else's: whoever is signed in
 * already is asked.
 *
 * @param {string} code
 * @returns {Promise<boolean>} False: the code is not valid any more.
 */
async function useCode(code) {
  const state = await session();
  if (!state.needsToken) return true;
  if (state.signedIn) {
    const name = (await serverInfo()).tenant ?? "";
    forgetServerInfo();
    const explanation = _("You are signed in as {name}. After this link, what you paint belongs to whoever made it.", { name });
    if (!(await ask(_("Sign in as somebody else?"), explanation, _("Sign in with the link"), _("Stay signed in")))) return true;
  }
  return signIn({ code });
}

/**
 * Shows the page to whoever is signed in, or else asks for a token.
 *
 * @param {string} [notice] What is said to those who have to sign in.
 */
async function enter(notice = "") {
  const state = await session();
  needsToken = state.needsToken;
  if (needsToken && !state.signedIn) {
    showSignIn(notice);
    return;
  }
  const info = await serverInfo();
  jobs.start();
  void import("./film.js").then((film) => film.record());
  fillHead(info);
  await router.show();
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
  if (main.querySelector(".sign-in")) return;
  router.leaving.abort();
  jobs.stop();
  forgetServerInfo();
  fillHead(undefined);
  const signedIn = () => enter().catch(showTrouble);
  fill(main, signInPart(notice, signedIn));
}

/** The page cannot start now. @param {unknown} error */
function showTrouble(error) {
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
    else fill(main, signInPart("", () => enter().catch(showTrouble)));
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
  await signOut();
  // Whoever uses this browser next must not see them.
  await Promise.all([forgetDrafts(), (await import("./film_store.js")).deleteAllFilms()]);
  showSignIn();
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
