/*
 * The field one writes in. Enter sends, Shift+Enter makes a new line, Arrow Up in an empty field edits the last message,
 * Escape gives up a reply or an edit.
 * Its rule: a draft stays with its room until it is sent; an edit never takes the place of a draft for good.
 */

import { $ } from "./dom.js";
import { MentionField } from "./mentionfield.js";
import { withNames } from "./names.js";

const QUOTED = 120; // characters of the message that is answered
const TYPING_AGAIN_MS = 3_000; // the server takes six seconds of silence for the end of it

export class Composer {
  #field = $("message-text");
  #roomId = null; // whose draft is in the field
  #drafts = new Map();
  #about = null; // {kind: "reply" | "edit", message}
  #toldTyping = 0;
  #actions;

  /** `actions`: {say(text, replyTo), edit(message, text), editLast(), typing(roomId, begins), people(text)}. */
  constructor(actions) {
    this.#actions = actions;
    new MentionField(this.#field, actions.people); // first, since it takes the keys that it handles
    this.#field.addEventListener("keydown", (event) => this.#onKey(event));
    this.#field.addEventListener("input", () => this.#tellTyping());
    $("about-cancel").addEventListener("click", () => this.#giveUp());
    $("message-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#field.focus();
      if (this.#field.value.trim()) this.#send(this.#field.value);
    });
  }

  switchTo(roomId) {
    if (roomId === this.#roomId) return;
    this.#giveUp();
    this.#drafts.set(this.#roomId, this.#field.value);
    this.#field.value = this.#drafts.get(roomId) ?? "";
    this.#roomId = roomId;
  }

  /** What is written in each room and not sent: [[roomId, text]]. */
  get drafts() {
    this.switchTo(null);
    return [...this.#drafts].filter(([roomId, text]) => roomId && text);
  }

  /** Puts drafts back; those of a room that was left meanwhile wait for it. */
  set drafts(drafts) {
    this.#drafts = new Map(drafts);
  }

  /** Puts a text back to be written again, after whatever is in the field. */
  takeBack(text) {
    this.#field.value = [this.#field.value, text].filter(Boolean).join("\n");
    this.#field.focus();
  }

  reply(message, author) {
    this.#giveUp();
    this.#begin({ kind: "reply", message }, `Reply to ${author}: ${message.content.slice(0, QUOTED)}`);
  }

  edit(message) {
    this.#giveUp();
    this.#drafts.set(this.#roomId, this.#field.value);
    this.#field.value = message.content;
    this.#begin({ kind: "edit", message }, "Edit your message");
  }

  clear() {
    this.switchTo(null);
    this.#drafts.clear();
  }

  #onKey(event) {
    if (event.isComposing || event.defaultPrevented) return;
    if (event.key === "Escape" && this.#about) this.#giveUp();
    else if (event.key === "ArrowUp" && !this.#field.value && !this.#about) this.#actions.editLast();
    else if (event.key === "Enter" && !event.shiftKey) $("message-form").requestSubmit();
    else return;
    event.preventDefault();
  }

  #send(text) {
    const about = this.#about;
    this.#toldTyping = 0; // the others take a message for the end of typing
    if (about?.kind === "edit") {
      this.#giveUp();
      if (text !== about.message.content) this.#actions.edit(about.message, text);
      return;
    }
    this.#field.value = "";
    this.#giveUp();
    this.#actions.say(text, about?.message.messageId);
  }

  #begin(about, label) {
    this.#about = about;
    $("about-label").replaceChildren(...withNames(label));
    $("about").hidden = false;
    this.#field.focus();
  }

  #giveUp() {
    if (this.#about?.kind === "edit") this.#field.value = this.#drafts.get(this.#roomId) ?? "";
    this.#about = null;
    $("about").hidden = true;
    if (this.#toldTyping && !this.#field.value) this.#stopTyping();
  }

  #tellTyping() {
    if (!this.#field.value) return this.#toldTyping && this.#stopTyping();
    if (this.#about?.kind === "edit" || Date.now() - this.#toldTyping < TYPING_AGAIN_MS) return undefined;
    this.#toldTyping = Date.now();
    return this.#actions.typing(this.#roomId, true);
  }

  #stopTyping() {
    this.#toldTyping = 0;
    this.#actions.typing(this.#roomId, false);
  }
}
