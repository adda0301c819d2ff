/**
 * The parts of the page by the address's fragment: "#/", "#/jobs", "#/jobs/ID". A fragment, not a path, so
 * that the page works behind any path of a reverse proxy, and from the browser's history.
 */

/**
 * @typedef {object} Context What a part of the page is given.
 * @property {string[]} parameters What stands in place of each ":" in the route.
 * @property {URLSearchParams} query What follows "?" in the fragment.
 * @property {AbortSignal} signal Ends when the part is left: give it to calls, streams and listeners.
 *
 * @typedef {(context: Context) => HTMLElement | Promise<HTMLElement>} Show Makes a part of the page.
 */

export class Router {
  /**
   * @param {Record<string, Show>} routes By their pattern, such as "/jobs/:".
   * @param {HTMLElement} outlet Where a part is shown.
   * @param {(pattern: string) => void} shown Hears of the part that is shown.
   * @param {(error: unknown) => void} failed Hears that a part cannot be shown now.
   */
  constructor(routes, outlet, shown, failed) {
    this.routes = routes;
    this.outlet = outlet;
    this.shown = shown;
    this.failed = failed;
    this.leaving = new AbortController();
    /** Whether parts are shown at all: not while nobody is signed in. */
    this.isOpen = false;
    window.addEventListener("hashchange", () => this.show());
  }

  /** From now on shows the parts that the address names. */
  open() {
    this.isOpen = true;
    return this.show();
  }

  /** Leaves the part that is shown, and shows no other. */
  close() {
    this.isOpen = false;
    this.leaving.abort();
  }

  /** Shows the part that the address names; the first one if it names none. */
  async show() {
    if (!this.isOpen) return;
    this.leaving.abort();
    const leaving = new AbortController();
    this.leaving = leaving;
    const [path, query] = location.hash.replace(/^#/, "").split("?");
    for (const [pattern, show] of Object.entries(this.routes)) {
      const parameters = matched(pattern, path || "/");
      if (!parameters) continue;
      const showing = show({ parameters, query: new URLSearchParams(query), signal: leaving.signal });
      const part = await Promise.resolve(showing).catch((error) => !leaving.signal.aborted && this.failed(error));
      if (leaving.signal.aborted || !part) return;
      this.outlet.replaceChildren(part);
      window.scrollTo(0, 0);
      this.shown(pattern);
      return;
    }
    go("/");
  }
}

/**
 * Goes to a part of the page.
 *
 * @param {string} path Such as "/jobs".
 * @param {{instead?: boolean}} [options] `instead`: the part that is left is not kept in the history.
 */
export function go(path, { instead = false } = {}) {
  if (instead) {
    history.replaceState(null, "", `#${path}`);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = path;
  }
}

/** Address of a job on the page. @param {string} name `Job.name`. */
export function jobAddress(name) {
  return `#/${name}`;
}

/** @param {string} pattern @param {string} path @returns {string[] | null} */
function matched(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const parameters = [];
  for (const [index, part] of wanted.entries()) {
    if (part === ":") parameters.push(decodeURIComponent(given[index]));
    else if (part !== given[index]) return null;
  }
  return parameters;
}
