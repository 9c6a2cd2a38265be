/*
 * The message field completes members after an @, by name or user id.
 * Its rule: what is chosen enters as the user id, which is what mentions are made from.
 */

import { Combobox } from "./combobox.js";

const BEGUN = /(?:^|[^\p{L}\p{N}._|@-])@([^\s@]{1,64})$/u; // as in `mentions.js`, an @ within a word is an address

/** The beginning of a name that is typed at the end of a text; "" if there is none. */
export function begunName(text) {
  return BEGUN.exec(text)?.[1] ?? "";
}

export class MentionField {
  #field;

  /** `find(text)` -> the users [{userId, name}] whose name or user id begins with a text. */
  constructor(field, find) {
    this.#field = field;
    const complete = async () => {
      const text = begunName(this.#before());
      const users = text ? await find(text) : [];
      return users.length === 1 && users[0].userId === text ? [] : users;
    };
    new Combobox(field, { find: complete, choose: (user) => this.#choose(user), several: true, prose: true });
  }

  #before() {
    return this.#field.value.slice(0, this.#field.selectionStart);
  }

  #choose({ userId }) {
    const before = this.#before();
    const begun = begunName(before);
    if (!begun) return; // the text has changed since
    this.#field.setRangeText(`${userId} `, before.length - begun.length, before.length, "end");
  }
}
