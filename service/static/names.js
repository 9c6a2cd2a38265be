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

/** What a room is called: a direct room that has the names of its people, by those of the others. */
export function roomTitle(room, self) {
  const members = [...room.members.values()].map(({ userId, name = userId }) => ({ userId, name }));
  const names = members.map(({ name }) => name).sort().join();
  if (room.visibility !== "direct" || members.length < 2 || room.name.split(", ").sort().join() !== names) return room.name;
  return members.filter(({ userId }) => userId !== self).map(({ name }) => name).join(", ");
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

/** The people [{userId, name}] of a Map of members whose user id, or a word of whose name, begins with a text. */
export function peopleLike(members, text) {
  const begins = ({ userId, name = userId }) =>
    [userId, name, ...name.split(/\s+/u)].some((each) => folded(each).startsWith(folded(text)));
  return [...members.values()].filter(begins).map(({ userId, name = userId }) => ({ userId, name }));
}
