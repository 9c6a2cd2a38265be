/*
 * The messages of the open room: what rows there are, and where the view is scrolled to.
 * Its rule: a message is shown as sent only once the server has given it a number.
 */

import { $, KeyedList } from "./dom.js";
import { messageElement } from "./message.js";
import { labelOf } from "./names.js";
import { mayModerate } from "./state.js";

const SAME_BREATH_MS = 5 * 60_000;
const NEAR_PX = 40;
const NAMES_SHOWN = 3;
const QUOTED = 120;

const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

export class Timeline {
  #scroller = $("timeline");
  #list;
  #roomId = null;
  #following = true; // the end: new messages scroll into view
  #end = 0; // where that was

  /** `actions` as `messageElement` takes them; `earlier()` is called when the view comes near the oldest message. */
  constructor(actions, earlier) {
    this.#list = new KeyedList($("messages"), (row) => messageElement(row, actions));
    this.#scroller.addEventListener("scroll", () => {
      this.#following = this.#isAtEnd();
      if (this.#scroller.scrollTop < NEAR_PX && !this.#following) earlier();
    });
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#scroller);
  }

  /** Whether the newest message is on screen. */
  get showsEnd() {
    return this.#following && this.#scroller.clientHeight > 0;
  }

  /** `readBefore`: the last message read when the room was opened; what others wrote after it begins under a "New" line. */
  render(room, { self, online, readBefore }) {
    if (room.roomId !== this.#roomId) this.#following = true;
    else if (this.#wasScrolled()) this.#following = false;
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
    this.#end = this.#scroller.scrollTop;
  }

  /** Scrolls to a message and gives it the focus; returns whether it is loaded. */
  show(messageId) {
    const row = $("messages").querySelector(`li[data-seq="${messageId}"]`);
    if (!row) return false;
    this.#following = false;
    row.scrollIntoView({ block: "center" });
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    return true;
  }

  /** Whether somebody has scrolled up, of which the event is still to come. */
  #wasScrolled() {
    return this.#following && this.#scroller.scrollTop < this.#end && !this.#isAtEnd();
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
  const moderates = mayModerate(room, self);
  const rows = room.messages.map((message, index) => {
    const before = room.messages[index - 1];
    const newDay = !before || day.format(new Date(before.at)) !== day.format(new Date(message.at));
    return {
      key: message.ref ?? `seq ${message.seq}`,
      message,
      author: labelOf(room, message.userId, message.name ?? undefined),
      self,
      own: message.userId === self,
      forMe: message.mentions?.includes(self) ?? false,
      moderates,
      pins: moderates || room.visibility === "direct", // where all are equal
      archived: room.archived,
      quote: quoteOf(room, message.replyTo),
      day: newDay ? day.format(new Date(message.at)) : "",
      isNew: message.seq === firstNew,
      continued: !newDay && message.seq !== firstNew && inOneBreath(before, message),
      note: seen.get(message.seq) ?? (message.seq === lastOwn ? "Sent" : ""),
    };
  });
  return [...rows, ...room.unsent.map((unsent) => ({ key: unsent.ref, unsent, online, own: true }))];
}

function quoteOf(room, messageId) {
  if (messageId === undefined || messageId === null) return "";
  const message = room.messages.find((each) => each.messageId === messageId);
  if (!message) return "In reply to an earlier message";
  const words = message.content === null ? "a message that cannot be read any more" : message.content.slice(0, QUOTED);
  return `${labelOf(room, message.userId, message.name ?? undefined)}: ${words}`;
}

function inOneBreath(before, message) {
  return !message.replyTo && before.userId === message.userId && Date.parse(message.at) - Date.parse(before.at) < SAME_BREATH_MS;
}

/** seq of the newest shown message at or before each person's mark -> "Seen by ..." */
function seenBy(room, self) {
  const readers = new Map();
  for (const [userId, messageId] of room.receipts) {
    if (userId === self || !(room.members.has(userId) || room.moreMembers)) continue;
    const seq = room.messages.findLast((message) => message.seq <= messageId)?.seq;
    if (seq !== undefined) readers.set(seq, [...(readers.get(seq) ?? []), labelOf(room, userId)]);
  }
  return new Map([...readers].map(([seq, names]) => [seq, `Seen by ${listing(names)}`]));
}

function listing(names) {
  if (names.length <= NAMES_SHOWN) return names.join(", ");
  return `${names.slice(0, NAMES_SHOWN).join(", ")} and ${names.length - NAMES_SHOWN} more`;
}
