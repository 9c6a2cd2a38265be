/*
 * The messages of the open room: what rows there are, what each looks like, and where the view is scrolled to.
 * Its rule: a message is shown as sent only once the server has given it a number.
 */

import { $, element, KeyedList } from "./dom.js";
import { nameOf } from "./state.js";

const SAME_BREATH_MS = 5 * 60_000;
const NEAR_PX = 40;
const NAMES_SHOWN = 3;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export class Timeline {
  #scroller = $("timeline");
  #list;
  #roomId = null;
  #following = true; // the end: new messages scroll into view

  /** `actions`: {retry(ref), edit(ref), discard(ref)} for messages that failed. */
  constructor(actions) {
    this.#list = new KeyedList($("messages"), (row) => messageElement(row, actions));
    this.#scroller.addEventListener("scroll", () => (this.#following = this.#isAtEnd()));
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#scroller);
  }

  /** Whether the newest message is on screen. */
  get showsEnd() {
    return this.#following && this.#scroller.clientHeight > 0;
  }

  /** `readBefore`: the last message read when the room was opened; what others wrote after it begins under a "New" line. */
  render(room, { self, online, readBefore }) {
    if (room.roomId !== this.#roomId) this.#following = true;
    const fromEnd = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    const oldest = $("messages").firstElementChild;
    this.#list.render(rowsOf(room, { self, online, readBefore }));
    if (this.#following) this.toEnd();
    else if (oldest !== $("messages").firstElementChild) this.#scroller.scrollTop = this.#scroller.scrollHeight - fromEnd;
    this.#roomId = room.roomId;
  }

  clear() {
    this.#list.render([]);
    this.#roomId = null;
  }

  toEnd() {
    this.#following = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }
}

function rowsOf(room, { self, online, readBefore }) {
  const seen = seenBy(room, self);
  const firstNew = room.messages.find(({ seq, userId }) => seq > readBefore && userId !== self)?.seq;
  const lastOwn = room.messages.findLast(({ userId }) => userId === self)?.seq;
  const rows = room.messages.map((message, index) => {
    const before = room.messages[index - 1];
    const newDay = !before || day.format(new Date(before.at)) !== day.format(new Date(message.at));
    return {
      key: message.ref ?? `seq ${message.seq}`,
      message,
      author: message.name ?? nameOf(room, message.userId),
      own: message.userId === self,
      day: newDay ? day.format(new Date(message.at)) : "",
      isNew: message.seq === firstNew,
      continued: !newDay && message.seq !== firstNew && inOneBreath(before, message),
      note: seen.get(message.seq) ?? (message.seq === lastOwn ? "Sent" : ""),
    };
  });
  return [...rows, ...room.unsent.map((unsent) => ({ key: unsent.ref, unsent, online, own: true }))];
}

function inOneBreath(before, message) {
  return before.userId === message.userId && Date.parse(message.at) - Date.parse(before.at) < SAME_BREATH_MS;
}

/** seq of the newest shown message at or before each person's mark -> "Seen by ..." */
function seenBy(room, self) {
  const readers = new Map();
  for (const [userId, messageId] of room.receipts) {
    if (userId === self || !(room.members.has(userId) || room.moreMembers)) continue;
    const seq = room.messages.findLast((message) => message.seq <= messageId)?.seq;
    if (seq !== undefined) readers.set(seq, [...(readers.get(seq) ?? []), nameOf(room, userId)]);
  }
  return new Map([...readers].map(([seq, names]) => [seq, `Seen by ${listing(names)}`]));
}

function listing(names) {
  if (names.length <= NAMES_SHOWN) return names.join(", ");
  return `${names.slice(0, NAMES_SHOWN).join(", ")} and ${names.length - NAMES_SHOWN} more`;
}

function messageElement(row, actions) {
  return row.unsent ? unsentElement(row, actions) : recordedElement(row);
}

function recordedElement({ message, author, own, day, isNew, continued, note }) {
  const { seq, ref, userId, at, content, editedAt, deletedAt } = message;
  const item = element(
    "li",
    { className: `message${own ? " own" : ""}${continued ? " continued" : ""}` },
    day && element("p", { className: "day" }, day),
    isNew ? element("p", { className: "new" }, "New") : null,
    element(
      "div",
      { className: "head" },
      element("span", { className: "author" }, author),
      element("time", { dateTime: at, title: moment.format(new Date(at)) }, clock.format(new Date(at))),
      editedAt && content !== null ? element("span", { className: "edited" }, "edited") : null,
    ),
    content === null
      ? element("p", { className: "content gone" }, deletedAt ? "This message was deleted." : "This message cannot be read any more.")
      : element("p", { className: "content", dir: "auto" }, content),
    note && element("p", { className: "note" }, note),
  );
  Object.assign(item.dataset, { status: "sent", seq, userId, ...(ref && { ref }) });
  return item;
}

function unsentElement({ unsent: { ref, content, failure }, online }, actions) {
  const item = element(
    "li",
    { className: "message own" },
    element("p", { className: "content", dir: "auto" }, content),
    failure ? failureElement(ref, failure, actions) : element("p", { className: "note" }, online ? "Sending…" : "Waiting for the connection…"),
  );
  Object.assign(item.dataset, { status: failure ? "failed" : "pending", ref });
  return item;
}

function failureElement(ref, { code, message, retryable }, { retry, edit, discard }) {
  const button = (label, act) => element("button", { type: "button", onclick: () => act(ref) }, label);
  return element(
    "p",
    { className: "note failure", role: "alert" },
    `${code === "unconfirmed" ? "Not confirmed" : "Not sent"}: ${message} `,
    retryable ? button("Try again", retry) : button("Edit", edit),
    button("Remove", discard),
  );
}
