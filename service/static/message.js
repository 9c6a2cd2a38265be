/*
 * What one message looks like, recorded or still on its way, and the menu of what one may do with it.
 * Its rule: words of people enter as text; buttons only call the actions they were given.
 */

import { contentElement } from "./content.js";
import { element } from "./dom.js";
import { withNames } from "./names.js";

export const EMOJI = ["👍", "❤️", "😂", "🎉", "👀", "✅"];

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** `actions`: {retry, rewrite, discard} take a ref; {react(message, emoji, add), reply, edit, remove, pin, unread, report} a message. */
export function messageElement(row, actions) {
  return row.unsent ? unsentElement(row, actions) : recordedElement(row, actions);
}

function recordedElement(row, actions) {
  const { message, own, day, isNew, continued, forMe, note } = row;
  const { seq, ref, userId, content, deletedAt, pinned } = message;
  const gone = content === null;
  const classes = ["message", own && "own", continued && "continued", forMe && "for-me", pinned && "pinned"];
  const item = element(
    "li",
    { className: classes.filter(Boolean).join(" ") },
    day && element("p", { className: "day" }, day),
    isNew ? element("p", { className: "new" }, "New") : null,
    element(
      "div",
      { className: "body" },
      row.quote && element("p", { className: "quote", dir: "auto" }, ...withNames(row.quote)),
      headElement(row),
      gone
        ? element("p", { className: "content gone" }, deletedAt ? "This message was deleted." : "This message cannot be read any more.")
        : contentElement(content),
      marksElement(message),
      gone ? null : reactionsElement(row, actions),
      gone || row.archived ? null : menuElement(row, actions),
      note && element("p", { className: "note" }, ...withNames(note)),
    ),
  );
  Object.assign(item.dataset, { status: "sent", seq, userId, ...(ref && { ref }) });
  return item;
}

function headElement({ message: { at }, author }) {
  return element(
    "div",
    { className: "head" },
    element("span", { className: "author" }, ...withNames(author)),
    element("time", { dateTime: at, title: moment.format(new Date(at)) }, clock.format(new Date(at))),
  );
}

/** Below the content, since a message that follows another of its author has no head. */
function marksElement({ editedAt, content, pinned }) {
  const edited = editedAt && content !== null;
  if (!edited && !pinned) return null;
  return element(
    "p",
    { className: "marks" },
    edited ? element("span", { className: "edited" }, "edited") : null,
    pinned ? element("span", { className: "pin" }, "pinned") : null,
  );
}

function reactionsElement({ message }, { react }) {
  if (!message.reactions?.length) return null;
  const chips = message.reactions.map(({ emoji, count, userIds, mine }) => {
    const chip = button(`${emoji} ${count}`, () => react(message, emoji, !mine), "chip");
    chip.title = userIds.join(", ") + (count > userIds.length ? ", …" : "");
    chip.setAttribute("aria-pressed", String(mine));
    return chip;
  });
  return element("div", { className: "reactions" }, ...chips);
}

/** A `details`, so that it opens by touch, mouse and keyboard alike. */
function menuElement({ message, own, moderates, pins }, { react, reply, edit, remove, pin, unread, report }) {
  const close = (act) => () => {
    menu.open = false;
    act();
  };
  const item = (label, act, name) => button(label, close(act), name);
  const menu = element(
    "details",
    { className: "menu" },
    element("summary", { ariaLabel: "What to do with this message" }, "⋯"),
    element(
      "div",
      { className: "menu-items" },
      ...EMOJI.map((emoji) => item(emoji, () => react(message, emoji, true), "emoji")),
      item("Reply", () => reply(message), "reply"),
      own ? item("Edit", () => edit(message), "edit") : null,
      pins ? item(message.pinned ? "Unpin" : "Pin", () => pin(message), "pin") : null,
      own ? null : item("Mark as unread", () => unread(message), "mark-unread"),
      own ? null : item("Report", () => report(message), "report"),
      own || moderates ? item("Delete", () => remove(message), "delete") : null,
    ),
  );
  return menu;
}

function unsentElement({ unsent: { ref, content, failure }, online }, actions) {
  const item = element(
    "li",
    { className: "message own" },
    element(
      "div",
      { className: "body" },
      contentElement(content),
      failure ? failureElement(ref, failure, actions) : element("p", { className: "note" }, online ? "Sending…" : "Waiting for the connection…"),
    ),
  );
  Object.assign(item.dataset, { status: failure ? "failed" : "pending", ref });
  return item;
}

function failureElement(ref, { code, message, retryable }, { retry, rewrite, discard }) {
  return element(
    "p",
    { className: "note failure", role: "alert" },
    `${code === "unconfirmed" ? "Not confirmed" : "Not sent"}: ${message} `,
    retryable ? button("Try again", () => retry(ref)) : button("Edit", () => rewrite(ref)),
    button("Remove", () => discard(ref)),
  );
}

function button(label, onclick, className = "") {
  return element("button", { type: "button", onclick, className }, label);
}
