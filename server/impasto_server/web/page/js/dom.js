/** Makes elements. */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Attributes
 */

/**
 * Makes an element.
 *
 * `make("button", { class: "quiet", onclick: leave }, "Leave")`. An attribute that begins with "on" is a
 * listener; true and false set and omit an attribute; what the element has as a property is set as one.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === undefined || value === null || value === false) continue;
    else if (["value", "checked", "disabled", "hidden", "muted"].includes(name)) Object.assign(element, { [name]: value });
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  fill(element, ...children);
  return element;
}

/**
 * Replaces an element's children.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  const kept = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.replaceChildren(...kept.map((child) => (child instanceof Node ? child : String(child))));
}

/**
 * Returns a function that waits: it calls `action` with its newest values once it was not called for a while.
 *
 * @template {any[]} T
 * @param {number} seconds
 * @param {(...values: T) => void} action
 * @returns {(...values: T) => void}
 */
export function settled(seconds, action) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), seconds * 1000);
  };
}

/** @type {Map<string, Promise<void>>} */
const styles = new Map();

/**
 * Loads a style sheet of a part of the page, once.
 *
 * @param {string} path Relative to the page, such as "css/wall.css".
 * @returns {Promise<void>} Ends when it is loaded, or cannot be.
 */
export function loadStyle(path) {
  const loaded =
    styles.get(path) ??
    new Promise((resolve) => {
      const done = () => resolve();
      document.head.append(make("link", { rel: "stylesheet", href: path, onload: done, onerror: done }));
    });
  styles.set(path, loaded);
  return loaded;
}

/**
 * Asks a question in a dialog.
 *
 * @param {string} question
 * @param {string} explanation
 * @param {string} yes What the button says that agrees.
 * @param {string} no "" if there is nothing to choose.
 * @returns {Promise<boolean>}
 */
export function ask(question, explanation, yes, no) {
  return new Promise((resolve) => {
    const dialog = make(
      "dialog",
      { class: "question", "aria-labelledby": "question", onclose: () => done() },
      make("h2", { id: "question" }, question),
      make("p", {}, explanation),
      make(
        "form",
        { method: "dialog", class: "buttons" },
        no && make("button", { value: "no" }, no),
        make("button", { value: "yes", class: no && "danger" }, yes),
      ),
    );
    const done = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
