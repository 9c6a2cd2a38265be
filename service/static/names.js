/*
 * How names of people and rooms are shown.
 * Its rule: no name changes the order of the text around it, and two members of one name are told apart by their ids.
 */

import { element } from "./dom.js";
import { nameOf } from "./state.js";

const [BEGIN, END] = ["\u2068", "\u2069"]; // the isolate of Unicode; the server removes both from names
const ISOLATED = /\u2068([^\u2068\u2069]*)\u2069/;

const holders = new WeakMap(); // a room's members -> folded name -> who has it

/** A name as a part of a sentence, whatever its direction. */
export function isolated(name) {
  return BEGIN + name + END;
}

/** What a user is called in a room, as a part of a sentence: with the user id where another member has the same name. */
export function labelOf(room, userId, name = nameOf(room, userId)) {
  const others = holdersOf(room.members).get(folded(name)) ?? [];
  return others.some((other) => other !== userId) ? `${isolated(name)} (${isolated(userId)})` : isolated(name);
}

/** The nodes of a sentence: each isolated name is a `bdi`. */
export function withNames(sentence) {
  return sentence.split(ISOLATED).map((part, index) => (index % 2 ? element("bdi", {}, part) : part));
}

function holdersOf(members) {
  if (!holders.has(members)) {
    const found = new Map();
    for (const { userId, name } of members.values()) {
      const key = folded(name ?? userId);
      found.set(key, [...(found.get(key) ?? []), userId]);
    }
    holders.set(members, found);
  }
  return holders.get(members);
}

/** A name as it is compared with others. */
export function folded(name) {
  return name.normalize("NFKC").toLowerCase();
}
