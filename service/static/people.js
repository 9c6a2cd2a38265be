/*
 * The fields in which people are named: chosen from a list by name, or typed as user ids.
 * Its rule: a user id is sent as it was typed or chosen; one that the server has never seen only after a question.
 */

import { Combobox } from "./combobox.js";
import { element } from "./dom.js";
import { folded, isolated } from "./names.js";

const USER_ID = /^(?!(?:service|os|node):)[!-~]{1,255}$/;

/**
 * Who is meant by what was typed: {user}, with a `question` to ask first, or {problem}.
 * `found` is what the server finds for it, {users, among}; without `among` it does not say who has signed in.
 */
export function meant(text, { users, among }) {
  const exact = users.find(({ userId }) => userId === text);
  if (exact) return { user: exact };
  const alike = users.filter(({ userId, name }) => [userId, name].some((each) => folded(each) === folded(text)));
  if (alike.length > 1) return { problem: `Several people are called ${text}. Choose one from the list.` };
  if (alike.length) return { user: alike[0] };
  if (!USER_ID.test(text)) return { problem: `No one here is called ${text}. Choose from the list, or type a user id, which has no spaces.` };
  const user = { userId: text, name: text };
  if (among === "anyone") return { user, question: `${isolated(text)} has never signed in here. Add anyway?` };
  if (among === "shared") return { user, question: `You share no room with ${isolated(text)}, who may never have signed in here. Add anyway?` };
  return { user };
}

export class PeopleField {
  #input;
  #chosen = []; // in a list: [{userId, name}]
  #chips = null;
  #find;
  #self;

  /** `find(text)` -> {users, among}. `list`: the field takes several people, separated by commas. `self()` is an id to refuse. */
  constructor(input, find, { list = false, self = () => undefined } = {}) {
    this.#input = input;
    this.#find = find;
    this.#self = self;
    const combobox = new Combobox(input, { find: () => this.#complete(), choose: (user) => this.#choose(user), several: list });
    input.addEventListener("input", () => input.setCustomValidity(""));
    if (!list) return;
    this.#chips = element("ul", { className: "chips", ariaLabel: "People to add" });
    input.parentElement.before(this.#chips);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.defaultPrevented) this.#take(event, combobox);
      if (event.key !== "Backspace" || input.value || !this.#chosen.length) return;
      combobox.close();
      this.#remove(this.#chosen.at(-1));
    });
  }

  clear() {
    this.#input.value = "";
    this.#input.setCustomValidity("");
    this.#chosen = [];
    this.#drawChips();
  }

  /** The people named, [{userId, name, confirmed}], after the questions; undefined if they cannot be added, or a question was declined. */
  async people() {
    const typed = this.#parts().map((text) => text.trim()).filter(Boolean);
    const people = new Map(this.#chosen.map((user) => [user.userId, user]));
    for (const text of typed) {
      const { user, question, problem } = meant(text, await this.#find(text));
      if (problem) return this.#report(problem);
      if (user.userId === this.#self()) return this.#report("This is you. Name another person.");
      if (question && !confirm(question)) return undefined;
      people.set(user.userId, { ...user, confirmed: question !== undefined });
    }
    return [...people.values()];
  }

  /** Adds those who are typed to the chosen ones; Enter here does not submit the form. */
  async #take(event, combobox) {
    if (event.isComposing) return;
    event.preventDefault();
    combobox.close();
    const typed = this.#input.value;
    const people = await this.people();
    if (!people || this.#input.value !== typed) return;
    this.#chosen = people;
    this.#input.value = "";
    this.#drawChips();
  }

  #report(problem) {
    this.#input.setCustomValidity(problem);
    this.#input.reportValidity();
  }

  async #complete() {
    const text = this.#parts().at(-1).trim();
    if (!text) return [];
    const { users } = await this.#find(text);
    return users.filter(({ userId }) => !this.#chosen.some((each) => each.userId === userId));
  }

  #parts() {
    return this.#chips ? this.#input.value.split(",") : [this.#input.value];
  }

  #choose(user) {
    this.#input.setCustomValidity("");
    if (!this.#chips) {
      this.#input.value = user.userId;
      return;
    }
    const others = this.#parts().slice(0, -1).map((text) => text.trim());
    this.#input.value = others.filter(Boolean).map((text) => `${text}, `).join("");
    this.#chosen.push(user);
    this.#drawChips();
  }

  #remove(user) {
    this.#chosen = this.#chosen.filter((each) => each !== user);
    this.#drawChips();
    this.#input.focus();
  }

  #drawChips() {
    this.#chips?.replaceChildren(...this.#chosen.map((user) => element(
      "li",
      { title: user.userId },
      element("bdi", { className: "name" }, user.name),
      element("button", { type: "button", ariaLabel: `Remove ${user.name}`, onclick: () => this.#remove(user) }, "×"),
    )));
  }
}
