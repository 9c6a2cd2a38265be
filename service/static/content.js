/*
 * The elements of a message's text.
 * Its rule: what people write enters as text nodes, and each block, link and code has a direction of its own.
 */

import { element } from "./dom.js";
import { blocksOf } from "./markup.js";

export function contentElement(content) {
  return element("div", { className: "content", dir: "auto" }, ...blocksOf(content).map(blockElement));
}

function blockElement({ kind, text, parts, ordered, items }) {
  if (kind === "text") return element("p", { dir: "auto" }, ...parts.map(partNode));
  if (kind === "code") return element("pre", { dir: "auto", tabIndex: 0 }, element("code", {}, text));
  return element(ordered ? "ol" : "ul", {}, ...items.map(itemElement));
}

function itemElement({ level, number, parts }) {
  const item = element("li", { dir: "auto" }, ...parts.map(partNode));
  if (number !== null) item.value = number;
  item.dataset.level = level;
  return item;
}

function partNode(part) {
  if (typeof part === "string") return part.replace(/\\(?=[*`])/g, ""); // which says that the next character is no markup
  const { kind, text, href, parts } = part;
  // The address is left to right, and shown as it was typed.
  if (kind === "link") return element("a", { href, target: "_blank", rel: "noopener noreferrer", dir: "ltr" }, text);
  if (kind === "code") return element("code", { dir: "auto" }, text);
  return element(kind, {}, ...parts.map(partNode));
}
