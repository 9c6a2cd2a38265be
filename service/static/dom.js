/*
 * Making elements and keeping lists of them in step.
 * Its rule: text enters the page as text nodes only. Nothing here, or built on it, parses HTML.
 */

export const $ = (id) => document.getElementById(id);

/** element("li", {className: "x"}, "text", child, null) -> the element; null and "" children are left out. */
export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/**
 * A list whose children follow an array of flat rows, each with a `key`. A row whose fields are all the same keeps its
 * element, so that focus, selection and scroll position survive.
 */
export class KeyedList {
  #list;
  #make;
  #shown = new Map(); // key -> {row, node}

  constructor(list, make) {
    this.#list = list;
    this.#make = make;
  }

  render(rows) {
    const kept = new Map();
    let place = this.#list.firstElementChild;
    for (const row of rows) {
      const node = this.#nodeFor(row);
      if (node === place) place = place.nextElementSibling;
      else this.#list.insertBefore(node, place);
      kept.set(row.key, { row, node });
    }
    for (const [key, { node }] of this.#shown) if (kept.get(key)?.node !== node) retire(node, kept.get(key)?.node);
    this.#shown = kept;
  }

  #nodeFor(row) {
    const shown = this.#shown.get(row.key);
    return shown && same(shown.row, row) ? shown.node : this.#make(row);
  }
}

function retire(node, successor) {
  if (node.contains(document.activeElement)) successor?.querySelector("button")?.focus();
  node.remove();
}

function same(a, b) {
  return Object.keys({ ...a, ...b }).every((field) => a[field] === b[field]);
}
