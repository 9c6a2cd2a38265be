/*
 * Everything around the messages: the rooms, the people, the state of the connection, and what is said aloud.
 * Its rule: drawn from the state alone, any number of times.
 */

import { announcement } from "./announcements.js";
import { $, element, KeyedList } from "./dom.js";
import { mayChange } from "./roomdialog.js";
import { isolated, labelOf, roomTitle, withNames } from "./names.js";
import { mayModerate, nameOf } from "./state.js";

const STATUS_WORDS = { connected: "Connected", connecting: "Connecting…", waiting: "Reconnecting…", stopped: "Not connected." };
const NOTICE_MS = 15_000;
const ANNOUNCED_TOGETHER_MS = 500;

let noticeTimer;
let announced = []; // messages since the last announcement
let announcing = null;

export function showConnection({ status, reason }) {
  $("connection-state").dataset.status = status;
  $("connection-state").textContent = [STATUS_WORDS[status], reason].filter(Boolean).join(" ");
  $("reconnect").hidden = status !== "waiting";
  $("signin-again").hidden = status !== "stopped";
}

/** Shows a sentence; an empty one clears it. */
export function notify(sentence) {
  clearTimeout(noticeTimer);
  $("notice").replaceChildren(...withNames(sentence));
  $("notice-close").hidden = !sentence;
  if (sentence) noticeTimer = setTimeout(() => notify(""), NOTICE_MS);
}

/** Has a screen reader say a message of another user, together with those that arrive at about the same time. */
export function announce(room, { userId, name, content }) {
  announced.push({ author: labelOf(room, userId, name ?? undefined), content });
  announcing ??= setTimeout(() => {
    $("announcer").replaceChildren(...withNames(announcement(announced)));
    [announced, announcing] = [[], null];
  }, ANNOUNCED_TOGETHER_MS);
}

export class Surroundings {
  #rooms;
  #invitations;
  #members;
  #invited;

  /** `actions`: {open(roomId), join(roomId), decline(roomId), write(userId, name), govern(kind, userId, fields)}. */
  constructor(actions) {
    this.#rooms = new KeyedList($("room-list"), (row) => roomElement(row, actions));
    this.#invitations = new KeyedList($("invitation-list"), (row) => invitationElement(row, actions));
    this.#members = new KeyedList($("member-list"), (row) => memberElement(row, actions));
    this.#invited = new KeyedList($("invited-list"), (row) => invitedElement(row, actions));
  }

  /** `missing` is the room that the address names if the user is not in it, `notFound` one that could not be joined. */
  render(state, missing, notFound) {
    const rooms = [...state.rooms.values()].map((room) => (
      { key: room.roomId, roomId: room.roomId, name: roomTitle(room, state.userId), visibility: room.visibility, unread: room.unread, mentions: room.mentions, current: room.roomId === state.open }
    ));
    this.#rooms.render(rooms.sort((a, b) => a.name.localeCompare(b.name)));
    const invitations = state.invitations.filter(({ roomId }) => !state.rooms.has(roomId));
    this.#invitations.render(invitations.map(({ roomId, name, byName }) => ({ key: roomId, roomId, name, byName })));
    $("invitations").hidden = !invitations.length;
    const room = state.rooms.get(state.open);
    this.#renderRoom(room, state.userId);
    renderMissing(missing, notFound);
    if (room) this.#renderMembers(room, state.userId);
  }

  #renderRoom(room, self) {
    $("room-name").replaceChildren(element("bdi", {}, room ? roomTitle(room, self) : "No room open"));
    $("empty").hidden = Boolean(room);
    for (const id of ["timeline", "members-toggle", "pins-open"]) $(id).hidden = !room;
    $("room-topic").replaceChildren(element("bdi", {}, room?.topic ?? ""));
    $("typing").replaceChildren(...withNames(room ? typingSentence(room) : ""));
    $("archived").hidden = !room?.archived;
    $("message-form").hidden = !room || room.archived;
    $("room-open").hidden = !room || !mayChange(room, self);
    $("leave").hidden = !room || room.visibility === "direct"; // which nobody leaves
    $("invite-form").hidden = !room || room.archived || !mayInvite(room, self);
    $("load-earlier").hidden = !room?.hasMore;
    $("members").hidden = !room || $("members-toggle").getAttribute("aria-expanded") !== "true";
  }

  #renderMembers(room, self) {
    const label = (userId) => labelOf(room, userId) + (userId === self ? " (you)" : "");
    const own = room.visibility === "direct" || room.archived ? "member" : (room.members.get(self)?.role ?? room.role);
    const rows = [...room.members.values()].map(({ userId, role, status, muted }) => (
      { key: userId, userId, name: nameOf(room, userId), label: label(userId), role, muted: muted === true, status: status ?? "offline", own, self: userId === self }
    ));
    this.#members.render(rows.sort((a, b) => a.name.localeCompare(b.name)));
    $("members-toggle").textContent = `People (${rows.length}${room.moreMembers ? "+" : ""})`;
    $("members-more").hidden = !room.moreMembers;
    const invited = own === "member" ? [] : [...room.invited.values()];
    $("invited").hidden = !invited.length;
    this.#invited.render(invited.map(({ userId, name }) => ({ key: userId, userId, name })));
  }
}

/** Members invite into a public room, moderators and owners into a private one, nobody into a direct one. */
function mayInvite(room, self) {
  return room.visibility === "public" || (room.visibility === "private" && mayModerate(room, self));
}

function renderMissing(roomId, notFound) {
  const refused = roomId === notFound;
  const sentence = refused
    ? `You cannot join ${isolated(roomId)}: it may be private. Ask its owner to invite you.`
    : `You are not in the room ${isolated(roomId)}.`;
  $("empty-text").replaceChildren(...withNames(roomId ? sentence : "Join a room, or make a new one, to start talking."));
  $("join-named").hidden = !roomId || refused;
}

/** The title of the tab; `open` is the room that is on screen. */
export function titleOf(state, open) {
  const unread = [...state.rooms.values()].reduce((sum, room) => sum + room.unread, 0);
  return `${unread ? `(${unread}) ` : ""}${open ? `${isolated(roomTitle(open, state.userId))} · ` : ""}OnRecord`;
}

/** "Bob types…" */
function typingSentence(room) {
  const names = room.typing.map((userId) => labelOf(room, userId));
  if (names.length > 2) return "Several people are typing…";
  return names.length ? `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…` : "";
}

function roomElement({ roomId, name, visibility, unread, mentions, current }, { open }) {
  const hidden = (text) => element("span", { className: "unseen" }, text);
  const button = element(
    "button",
    { type: "button", onclick: () => open(roomId) },
    element("bdi", { className: "name" }, name),
    visibility === "public" ? null : element("span", { className: "hint" }, visibility),
    mentions ? element("span", { className: "mentions" }, "@", hidden(` ${mentions} mentions`)) : null,
    unread ? element("span", { className: "unread" }, String(unread), hidden(" unread")) : null,
  );
  if (current) button.setAttribute("aria-current", "true");
  const item = element("li", {}, button);
  Object.assign(item.dataset, { roomId, unread, mentions });
  return item;
}

function invitationElement({ roomId, name, byName }, { join, decline }) {
  const button = (words, act) => element("button", { type: "button", onclick: () => act(roomId), ariaLabel: `${words} ${isolated(name)}` }, words);
  const item = element(
    "li",
    {},
    element("bdi", { className: "name" }, name),
    element("span", { className: "hint" }, "from ", element("bdi", {}, byName)),
    button("Join", join),
    button("Decline", decline),
  );
  item.dataset.roomId = roomId;
  return item;
}

/** Somebody who may join and has not; moderators and owners can withdraw the invitation. */
function invitedElement({ userId, name }, { govern }) {
  const item = element(
    "li",
    { title: userId },
    element("bdi", { className: "name" }, name),
    element("button", { type: "button", onclick: () => govern("kick", userId), ariaLabel: `Withdraw the invitation of ${isolated(name)}` }, "Withdraw"),
  );
  item.dataset.userId = userId;
  return item;
}

function memberElement(row, actions) {
  const { userId, label, role, status, muted } = row;
  const item = element(
    "li",
    { title: userId },
    element("span", { className: "dot" }),
    element("span", { className: "name" }, ...withNames(label)),
    role && role !== "member" ? element("span", { className: "hint" }, role) : null,
    muted ? element("span", { className: "hint" }, "muted") : null,
    element("span", { className: "unseen" }, `, ${status}`),
    row.self ? null : memberMenu(row, actions),
  );
  Object.assign(item.dataset, { userId, status });
  return item;
}

/** What the server would allow: it decides, this only leaves out what it would refuse. */
function memberMenu({ userId, name, label, role, muted, own }, { write, govern }) {
  const governs = own === "owner" || (own === "moderator" && role === "member");
  const item = (words, act) => element("button", { type: "button", onclick: () => ((menu.open = false), act()) }, words);
  const other = role === "member" ? "moderator" : "member";
  const menu = element(
    "details",
    { className: "menu" },
    element("summary", { ariaLabel: `What to do with ${label}` }, "⋯"),
    element(
      "div",
      { className: "menu-items" },
      item("Write to", () => write(userId, name)),
      governs ? item(muted ? "Unmute" : "Mute", () => govern(muted ? "unmute" : "mute", userId)) : null,
      own === "owner" ? item(`Make ${other}`, () => govern("role", userId, { role: other })) : null,
      governs ? item("Remove", () => confirm(`Remove ${label} from this room?`) && govern("kick", userId)) : null,
      governs ? item("Ban", () => confirm(`Ban ${label}? They are out until you lift it.`) && govern("ban", userId)) : null,
    ),
  );
  return menu;
}
