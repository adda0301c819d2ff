/** The page's icons: strokes of the text's colour on a grid of 24. */

const PATHS = {
  plus: "M12 5v14M5 12h14",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  gauge: "M4 18a8 8 0 1 1 16 0M12 18l4-6",
  menu: "M4 7h16M4 12h16M4 17h16",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  camera: "M4 8h4l2-3h4l2 3h4v11H4zM12 17a4 4 0 1 0 0-8 4 4 0 0 0 0 8",
  close: "M6 6l12 12M18 6L6 18",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6h12v12H6z",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  compare: "M12 3v18M8 8l-4 4 4 4M16 8l4 4-4 4",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01",
  again: "M4 12a8 8 0 1 0 3-6.2L4 8M4 3v5h5",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  film: "M4 5h16v14H4zM8 5v14M16 5v14M4 12h16",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  brush: "M14 6l4 4-8 8c-2 2-6 2-6 2s2-2 2-4 0-2 2-4zM14 6l4-3 3 3-3 4",
  check: "M5 13l5 5 9-11",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M16 16l5 5",
  minus: "M5 12h14",
  undo: "M9 5L4 10l5 5M4 10h10a5 5 0 0 1 0 10h-4",
  redo: "M15 5l5 5-5 5M20 10H10a5 5 0 0 0 0 10h4",
  list: "M5 6h14M5 12h14M5 18h9",
  lock: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
};

/**
 * Makes an icon. It is hidden from screen readers: what it stands for must be said beside it.
 *
 * @param {keyof typeof PATHS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
