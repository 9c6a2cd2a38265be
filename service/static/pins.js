/*
 * The dialog with the pinned messages of the open room, the newest pin first, as of when it was opened.
 * Its rule: words of people enter as text.
 */

import { contentElement } from "./content.js";
import { $, element } from "./dom.js";
import { labelOf, withNames } from "./names.js";

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class PinsDialog {
  #current;
  #fetch;
  #before;
  #actions;

  /**
   * `current()` -> the open room, `fetch(roomId, before)` -> the ack of `message:pins`, or undefined.
   * `actions`: {show(message), mayUnpin(room), unpin(message) -> whether it is done}.
   */
  constructor(current, fetch, actions) {
    this.#current = current;
    this.#actions = actions;
    this.#fetch = fetch;
    $("pins-open").addEventListener("click", () => this.#open());
    $("pins-more").addEventListener("click", () => this.#load());
    $("pins-cancel").addEventListener("click", () => $("pins-dialog").close());
  }

  async #open() {
    $("pins-list").replaceChildren();
    this.#before = undefined;
    if (await this.#load()) $("pins-dialog").showModal();
  }

  async #load() {
    const room = this.#current();
    const page = await this.#fetch(room.roomId, this.#before);
    if (!page || this.#current()?.roomId !== room.roomId) return false;
    $("pins-list").append(...page.messages.map((message) => this.#element(room, message)));
    $("pins-none").hidden = $("pins-list").childElementCount > 0;
    $("pins-more").hidden = !page.hasMore;
    this.#before = page.messages.at(-1)?.pinSeq;
    return true;
  }

  #element(room, message) {
    const item = pinElement(room, message);
    const show = () => {
      $("pins-dialog").close();
      this.#actions.show(message);
    };
    const unpin = async () => {
      if (!(await this.#actions.unpin(message))) return;
      item.remove();
      $("pins-none").hidden = $("pins-list").childElementCount > 0;
    };
    const button = (words, act) => element("button", { type: "button", onclick: act }, words);
    const mayUnpin = this.#actions.mayUnpin(room);
    item.append(element("div", { className: "row" }, button("Show", show), mayUnpin ? button("Unpin", unpin) : null));
    return item;
  }
}

function pinElement(room, { messageId, userId, name, at, content }) {
  const item = element(
    "li",
    {},
    element("span", { className: "author" }, ...withNames(labelOf(room, userId, name ?? undefined))),
    element("time", { dateTime: at }, moment.format(new Date(at))),
    content === null ? element("p", { className: "content gone" }, "This message cannot be read any more.") : contentElement(content),
  );
  item.dataset.seq = messageId;
  return item;
}
