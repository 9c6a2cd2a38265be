/*
 * Everything around the messages: the rooms, the people, the state of the connection, and what is said aloud.
 * Its rule: drawn from the state alone, any number of times.
 */

import { $, element, KeyedList } from "./dom.js";
import { nameOf } from "./state.js";

const STATUS_WORDS = { connected: "Connected", connecting: "Connecting…", waiting: "Reconnecting…", stopped: "Not connected." };
const NOTICE_MS = 15_000;

let noticeTimer;

export function showConnection({ status, reason }) {
  $("connection-state").dataset.status = status;
  $("connection-state").textContent = [STATUS_WORDS[status], reason].filter(Boolean).join(" ");
  $("reconnect").hidden = status !== "waiting";
}

/** Shows a sentence; an empty one clears it. */
export function notify(sentence) {
  clearTimeout(noticeTimer);
  $("notice").textContent = sentence;
  $("notice-close").hidden = !sentence;
  if (sentence) noticeTimer = setTimeout(() => notify(""), NOTICE_MS);
}

/** Says a message of somebody else to a screen reader. */
export function announce(room, { userId, name, content }) {
  $("announcer").textContent = `${name ?? nameOf(room, userId)}: ${content}`;
}

export class Surroundings {
  #rooms;
  #members = new KeyedList($("member-list"), memberElement);

  constructor({ open }) {
    this.#rooms = new KeyedList($("room-list"), (row) => roomElement(row, open));
  }

  render(state) {
    const rooms = [...state.rooms.values()].sort((a, b) => a.name.localeCompare(b.name));
    this.#rooms.render(rooms.map(({ roomId, name, visibility, unread }) => (
      { key: roomId, roomId, name, visibility, unread, current: roomId === state.open }
    )));
    const room = state.rooms.get(state.open);
    this.#renderRoom(room);
    if (room) this.#renderMembers(room, state.userId);
    document.title = titleOf(rooms, room);
  }

  #renderRoom(room) {
    $("room-name").textContent = room?.name ?? "No room open";
    $("empty").hidden = Boolean(room);
    for (const id of ["timeline", "message-form", "members-toggle", "leave"]) $(id).hidden = !room;
    $("load-earlier").hidden = !room?.hasMore;
    $("members").hidden = !room || $("members-toggle").getAttribute("aria-expanded") !== "true";
  }

  #renderMembers(room, self) {
    const label = (userId) => nameOf(room, userId) + (userId === self ? " (you)" : "");
    const rows = [...room.members.values()].map(({ userId, role, status }) => (
      { key: userId, userId, name: label(userId), role, status: status ?? "offline" }
    ));
    this.#members.render(rows.sort((a, b) => a.name.localeCompare(b.name)));
    $("members-toggle").textContent = `People (${rows.length}${room.moreMembers ? "+" : ""})`;
    $("members-more").hidden = !room.moreMembers;
  }
}

function titleOf(rooms, open) {
  const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
  return `${unread ? `(${unread}) ` : ""}${open ? `${open.name} · ` : ""}OnRecord`;
}

function roomElement({ roomId, name, visibility, unread, current }, open) {
  const button = element(
    "button",
    { type: "button", onclick: () => open(roomId) },
    element("span", { className: "name" }, name),
    visibility === "private" ? element("span", { className: "hint" }, "private") : null,
    unread ? element("span", { className: "unread" }, String(unread), element("span", { className: "unseen" }, " unread")) : null,
  );
  if (current) button.setAttribute("aria-current", "true");
  const item = element("li", {}, button);
  Object.assign(item.dataset, { roomId, unread });
  return item;
}

function memberElement({ userId, name, role, status }) {
  const item = element(
    "li",
    { title: userId },
    element("span", { className: "dot" }),
    element("span", { className: "name" }, name),
    role && role !== "member" ? element("span", { className: "hint" }, role) : null,
    element("span", { className: "unseen" }, `, ${status}`),
  );
  Object.assign(item.dataset, { userId, status });
  return item;
}
