/*
 * The field one writes in. Enter sends, Shift+Enter makes a new line.
 * Its rule: a draft stays with its room until it is sent.
 */

import { $ } from "./dom.js";

export class Composer {
  #field = $("message-text");
  #roomId = null; // whose draft is in the field
  #drafts = new Map();

  /** `say(text)` is called with what is to be sent. */
  constructor(say) {
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $("message-form").requestSubmit();
    });
    $("message-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#field.value;
      this.#field.focus();
      if (!text.trim()) return;
      this.#field.value = "";
      say(text);
    });
  }

  switchTo(roomId) {
    if (roomId === this.#roomId) return;
    this.#drafts.set(this.#roomId, this.#field.value);
    this.#field.value = this.#drafts.get(roomId) ?? "";
    this.#roomId = roomId;
  }

  /** Puts a text back to be written again, after whatever is in the field. */
  takeBack(text) {
    this.#field.value = [this.#field.value, text].filter(Boolean).join("\n");
    this.#field.focus();
  }

  clear() {
    this.switchTo(null);
    this.#drafts.clear();
  }
}
