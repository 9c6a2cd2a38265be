/*
 * A field that completes people by name (WAI-ARIA 1.2, editable combobox with a list).
 * Its rule: what is typed stays as it is typed; only a person who is chosen from the list replaces it.
 */

import { element } from "./dom.js";

const PAUSE_MS = 150; // after a key, before the server is asked
const SHOWN = 8;

export class Combobox {
  #input;
  #list;
  #status;
  #find;
  #choose;
  #several;
  #prose;
  #users = [];
  #active = -1;
  #asked = 0; // so that an answer that comes late changes nothing
  #timer;

  /**
   * `find()` -> the users [{userId, name}] for what is typed; `choose(user)` takes the chosen one. Enter takes the first
   * of the list, in a field for one person only if there is no other. `prose`: the field holds more than names.
   */
  constructor(input, { find, choose, several = false, prose = false }) {
    this.#input = input;
    this.#several = several;
    this.#prose = prose;
    this.#find = find;
    this.#choose = choose;
    this.#list = element("ul", { id: `${input.id}-list`, className: "options", role: "listbox", ariaLabel: "People", hidden: true });
    this.#status = element("span", { className: "unseen", role: "status" });
    const box = element("div", { className: "combobox" });
    input.replaceWith(box);
    box.append(input, this.#list, this.#status);
    const attributes = { "aria-autocomplete": "list", "aria-controls": this.#list.id };
    const ofNames = { role: "combobox", "aria-expanded": "false", spellcheck: "false" };
    for (const [name, value] of Object.entries(prose ? attributes : { ...attributes, ...ofNames })) input.setAttribute(name, value);
    input.addEventListener("input", () => this.#soon());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.#onKey(event));
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  }

  close() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#show([]);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
  }

  async #ask() {
    const asked = (this.#asked += 1);
    const users = await this.#find();
    if (asked === this.#asked) this.#show(users.slice(0, SHOWN));
  }

  #show(users) {
    this.#users = users;
    this.#list.replaceChildren(...users.map((user, index) => this.#option(user, index)));
    this.#list.hidden = !users.length;
    if (!this.#prose) this.#input.setAttribute("aria-expanded", String(users.length > 0));
    this.#status.textContent = users.length ? `${users.length} ${users.length === 1 ? "person" : "people"} found` : "";
    this.#activate(-1);
    if (users.length) this.#list.scrollIntoView({ block: "nearest" });
  }

  #option(user, index) {
    const { userId, name } = user;
    return element(
      "li",
      { id: `${this.#list.id}-${index}`, role: "option", ariaSelected: "false", onclick: () => this.#pick(user) },
      element("bdi", { className: "name" }, name),
      name === userId ? null : element("bdi", { className: "hint" }, userId),
    );
  }

  #activate(index) {
    const { children } = this.#list;
    if (children[this.#active]) children[this.#active].ariaSelected = "false";
    this.#active = index;
    if (!children[index]) return this.#input.removeAttribute("aria-activedescendant");
    children[index].ariaSelected = "true";
    children[index].scrollIntoView({ block: "nearest" });
    return this.#input.setAttribute("aria-activedescendant", children[index].id);
  }

  #pick(user) {
    this.close();
    this.#choose(user);
    this.#input.focus();
  }

  #onKey(event) {
    if (event.isComposing || event.shiftKey || !this.#handles(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Does what a key means here; returns whether it means something. */
  #handles(key) {
    const count = this.#users.length;
    if (!count && this.#prose) return false;
    if (key === "ArrowDown" || key === "ArrowUp") {
      if (!count) this.#ask();
      else if (key === "ArrowDown") this.#activate(this.#active + 1 < count ? this.#active + 1 : -1);
      else this.#activate(this.#active < 0 ? count - 1 : this.#active - 1);
      return true;
    }
    if (!count) return false;
    if (key === "Enter") {
      if (this.#active < 0 && count > 1 && !this.#several) return false;
      this.#pick(this.#users[Math.max(0, this.#active)]);
    }
    if (key === "Escape") this.close();
    return key === "Enter" || key === "Escape";
  }
}
