/*
 * The dialog that makes a room.
 * Its rule: the input stays until the server has made the room. A private room gets its id from the server, since an id
 * made from its name would tell others who use the name that there is such a room.
 */

import { $ } from "./dom.js";
import { roomIdFor } from "./session.js";

export class CreateDialog {
  #dialog = $("create-dialog");
  #people;
  #create;

  /** `people`: {people(), clear()}; `create(fields)` -> {} if the room was made, or {problem}. */
  constructor(people, create) {
    this.#people = people;
    this.#create = create;
    $("create-open").addEventListener("click", () => this.#open());
    $("create-cancel").addEventListener("click", () => this.#dialog.close());
    $("create-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  #open() {
    $("create-error").textContent = "";
    $("create-submit").disabled = false;
    this.#dialog.showModal();
  }

  async #submit() {
    const people = await this.#people.people();
    if (!people || !this.#dialog.open || $("create-submit").disabled) return;
    $("create-submit").disabled = true;
    const { problem } = await this.#create(this.#fields(people));
    $("create-submit").disabled = false;
    $("create-error").textContent = problem ?? "";
    if (problem !== undefined) return;
    this.#dialog.close();
    $("create-form").reset();
    this.#people.clear();
  }

  #fields(people) {
    const name = $("create-name").value.trim();
    const visibility = $("create-private").checked ? "private" : "public";
    const roomId = visibility === "public" ? roomIdFor(name) || undefined : undefined;
    return { roomId, name, visibility, members: people.map(({ userId }) => userId) };
  }
}
