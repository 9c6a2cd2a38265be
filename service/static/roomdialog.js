/*
 * The dialog about the open room: its name and topic, its archive, and who is banned from it.
 * Its rule: it shows what the person's role may change; the server decides all the same.
 */

import { $ } from "./dom.js";
import { isolated } from "./names.js";
import { mayModerate } from "./state.js";

const owns = (room, self) => (room.members.get(self)?.role ?? room.role) === "owner";

/** Whether somebody can do anything with that dialog. */
export function mayChange(room, self) {
  return room.visibility !== "direct" && mayModerate(room, self) && (!room.archived || owns(room, self));
}

export class RoomDialog {
  #dialog = $("room-dialog");
  #current;

  /** `current()` -> {room, self}; `actions`: {update(fields), archive(), reopen(), unban(userId)}. */
  constructor(current, actions) {
    this.#current = current;
    $("room-open").addEventListener("click", () => this.#open());
    $("room-cancel").addEventListener("click", () => this.#dialog.close());
    $("room-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const changed = this.#changed();
      if (Object.keys(changed).length) actions.update(changed);
      this.#dialog.close();
    });
    $("room-archive").addEventListener("click", () => {
      const { room } = this.#current();
      if (room.archived) actions.reopen();
      else if (confirm(`Archive ${isolated(room.name)}? It can be read then, and nothing can be added.`)) actions.archive();
      this.#dialog.close();
    });
    $("unban-form").addEventListener("submit", (event) => {
      event.preventDefault();
      actions.unban($("unban-user").value.trim());
      $("unban-user").value = "";
      this.#dialog.close();
    });
  }

  #open() {
    const { room, self } = this.#current();
    $("room-rename").value = room.name;
    $("room-rename").disabled = !owns(room, self);
    $("room-retopic").value = room.topic ?? "";
    $("room-form").hidden = $("unban-form").hidden = room.archived;
    $("room-archive").hidden = !owns(room, self);
    $("room-archive").textContent = room.archived ? "Reopen this room" : "Archive this room";
    this.#dialog.showModal();
  }

  /** Only what was changed is sent, so that nobody's change is undone by a form that was open meanwhile. */
  #changed() {
    const { room } = this.#current();
    const [name, topic] = [$("room-rename").value.trim(), $("room-retopic").value.trim()];
    return { ...(name && name !== room.name ? { name } : {}), ...(topic !== (room.topic ?? "") ? { topic } : {}) };
  }
}
