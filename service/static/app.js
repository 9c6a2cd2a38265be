/*
 * The page: which of its two faces shows (sign-in or chat), and what its forms and buttons do.
 * Its rule: handlers only ask `Chat` to do things; drawing happens in one place, after every change.
 */

import { goToPeople, goToRoom, goToRooms, leaveRoom, namedRoom, namesPeople } from "./address.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { CreateDialog } from "./createdialog.js";
import { RoomDirectory } from "./directory.js";
import { $, element } from "./dom.js";
import { forgetDrafts, keepDrafts, takeDrafts } from "./drafts.js";
import { leaveQuestion } from "./leaving.js";
import { labelOf } from "./names.js";
import { PinsDialog } from "./pins.js";
import { PeopleField } from "./people.js";
import { ReadMarks } from "./reading.js";
import { RoomDialog } from "./roomdialog.js";
import { currentSession, goToProvider, roomIdFor, signOut } from "./session.js";
import { mayModerate } from "./state.js";
import { askToSignIn, beginWith, show } from "./signin.js";
import { Timeline } from "./timeline.js";
import { announce, notify, showConnection, Surroundings, titleOf } from "./view.js";

$("not-started").remove();

const MOST_PAGES = 30; // that are loaded to show a message
const WAKE_PAUSE_MS = 1_000;

let chat = null;
let drawing = null;
let woken = 0;

const timeline = new Timeline(
  {
    retry: (ref) => chat.retry(ref),
    rewrite: (ref) => composer.takeBack(chat.discard(ref)),
    discard: (ref) => chat.discard(ref),
    react: (message, emoji, add) => chat.change(add ? "react" : "unreact", message, { emoji }),
    reply: (message) => composer.reply(message, labelOf(chat.room, message.userId, message.name ?? undefined)),
    edit: (message) => composer.edit(message),
    pin: (message) => chat.change(message.pinned ? "unpin" : "pin", message),
    unread: markUnread,
    report: reportMessage,
    remove: (message) => confirm("Delete this message for everybody?") && chat.change("delete", message),
  },
  () => chat.loadEarlier(),
);
const composer = new Composer({
  say,
  edit: (message, content) => chat.change("edit", message, { content }),
  editLast: () => {
    const last = chat.room.messages.findLast(({ userId, content }) => userId === chat.state.userId && content !== null);
    if (last) composer.edit(last);
  },
  typing: (roomId, begins) => chat?.typing(roomId, begins),
  people: (text) => chat.membersLike(text),
});
const surroundings = new Surroundings({
  open: openRoom,
  join: joinRoom,
  decline: (roomId) => chat.leave(roomId),
  write: (userId, name) => talkTo(userId, name),
  govern: (kind, userId, fields) => chat.govern(kind, userId, fields),
});
new RoomDialog(() => ({ room: chat.room, self: chat.state.userId }), {
  update: (fields) => chat.arrange("update", fields),
  archive: () => chat.arrange("archive"),
  reopen: () => chat.arrange("reopen"),
  unban: (userId) => chat.govern("unban", userId),
});
const find = (text) => chat.find(text);
const invited = new PeopleField($("invite-user"), find);
const self = () => chat.state.userId;
const addressee = new PeopleField($("write-user"), find, { self });
const added = new PeopleField($("create-people"), find, { list: true });
new PeopleField($("unban-user"), find);
new CreateDialog({ people: () => peopleOf(added), clear: () => added.clear() }, createRoom);
new RoomDirectory({
  find: (fields) => chat.connection.send("room:directory", fields),
  isMember: (roomId) => chat.state.rooms.has(roomId),
  open: openRoom,
  join: joinRoom,
});
new PinsDialog(() => chat?.room, (roomId, before) => chat?.pins(roomId, before), {
  show: showMessage,
  mayUnpin: (room) => !room.archived && (room.visibility === "direct" || mayModerate(room, chat.state.userId)),
  unpin: async (message) => Boolean(await chat.change("unpin", message)),
});
const readMarks = new ReadMarks({
  seen: (roomId, messageId) => chat.showRead(roomId, messageId),
  tell: (roomId, messageId) => chat.tellRead(roomId, messageId),
});

/** Draws soon, once for however many changes there were. Not by animation frame: those rest in a hidden tab, its title must not. */
function draw() {
  drawing ??= setTimeout(drawNow, 0);
}

function drawNow() {
  drawing = null;
  if (!chat) return;
  openNamedRoom();
  surroundings.render(chat.state, chat.listed && !chat.room ? namedRoom() : "", chat.notFound);
  $("chat").dataset.view = namedRoom() ? "room" : "rooms"; // on a phone they take turns
  document.title = titleOf(chat.state, $("room-name").checkVisibility() ? chat.room : undefined);
  composer.switchTo(chat.state.open);
  if (!chat.room) {
    $("jump").hidden = true;
    return timeline.clear();
  }
  const online = chat.connection.status === "connected";
  timeline.render(chat.room, { self: chat.state.userId, online, readBefore: chat.readBefore });
  $("jump").hidden = timeline.showsEnd;
  if (online && timeline.showsEnd) readMarks.look(chat.room, chat.state.userId);
}

function enter() {
  const { userId, name } = currentSession();
  chat = new Chat(userId, { draw, notify, heard: announce });
  chat.connection.addEventListener("status", ({ detail }) => showStatus(detail));
  $("who").replaceChildren(element("bdi", {}, name));
  $("who").title = userId;
  composer.drafts = takeDrafts();
  show("chat");
  $(namedRoom() ? "room-name" : "rooms-title").focus();
  chat.connection.open();
}

function leave(reason) {
  const left = chat;
  chat = null;
  signOut();
  left.close();
  forgetDrafts();
  readMarks.stop();
  closeDialogs();
  timeline.clear();
  composer.clear();
  document.title = "OnRecord";
  notify("");
  askToSignIn({ message: reason });
}

/** What was written and not sent is still there when somebody comes back from the provider, or after a reload. */
async function signInAgain() {
  if (currentSession().demo) return leave("");
  keepAll();
  try {
    await goToProvider();
  } catch (error) {
    notify(error.message);
    draw(); // which brings the draft back into the field
  }
}

function keepAll() {
  keepDrafts(composer.drafts, chat.state.rooms.values(), chat.connection.status === "connected");
}

function showStatus(detail) {
  if (!chat) return;
  // With rooms on the page there may be words worth keeping, so it stays; with none, signing in again is all one can do.
  if (detail.status === "stopped" && !chat.state.rooms.size) return leave(detail.reason);
  showConnection(detail);
  draw();
}

/** The open room then stays unread until it is opened again. */
async function markUnread(message) {
  readMarks.pause(message.roomId);
  if (!(await chat.change("unread", message))) readMarks.resume();
}

async function reportMessage(message) {
  const reason = prompt("Why should the moderators look at this message?")?.trim();
  if (reason && (await chat?.change("report", message, { reason }))) notify("The message was reported to the moderators.");
}

/** Scrolls to a message, for which earlier ones are loaded if need be. */
async function showMessage({ roomId, messageId }) {
  for (let pages = 0; chat?.state.open === roomId && !timeline.show(messageId); pages++) {
    if (!chat.room.hasMore || pages === MOST_PAGES) return notify("The message is too far back to be shown here.");
    await chat.loadEarlier();
    drawNow();
  }
  return undefined;
}

function openRoom(roomId) {
  readMarks.resume();
  notify("");
  chat.open(roomId);
  showRoom();
}

/** A reload or a link opens the room that the address names. */
function openNamedRoom() {
  if (!chat.room && chat.state.rooms.has(namedRoom())) chat.open(namedRoom());
}

/** Where a keyboard shows by itself, on a phone, it stays hidden. */
function showRoom() {
  goToRoom(chat.state.open);
  drawNow();
  $(matchMedia("(hover: hover)").matches ? "message-text" : "room-name").focus();
}

/** The browser went back or forth, or the address was edited. */
function followAddress() {
  if (!chat) return;
  closeDialogs();
  notify("");
  if (covers()) setMembers(namesPeople());
  const named = namedRoom();
  if (named) chat.open(chat.state.rooms.has(named) ? named : null);
  showAddressed();
}

function showAddressed() {
  drawNow();
  if (namedRoom()) $("room-name").focus();
  else focusRooms();
}

/** The control that was used before may be hidden now. */
function focusRooms() {
  ($("room-list").querySelector("[aria-current]") ?? $("rooms-title")).focus();
}

function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

/** Whether the list of people covers the room, as on a phone. */
const covers = () => matchMedia("(max-width: 46rem)").matches;

const setMembers = (shown) => $("members-toggle").setAttribute("aria-expanded", String(shown));

/** Where the list covers the room, the browser's back button closes it. */
function showMembers(shown) {
  if (covers() && shown !== namesPeople()) {
    if (!shown) return history.back();
    goToPeople();
  }
  setMembers(shown);
  drawNow();
  return $(shown ? "members-close" : "members-toggle").focus();
}

async function joinRoom(roomId) {
  notify("");
  await enterRoom(roomId);
}

/** Makes a room, which then opens; returns {problem} if the server refuses it. */
async function createRoom(fields) {
  notify("");
  const { roomId, problem } = await chat.create(fields);
  if (problem === undefined) enterRoom(roomId);
  return { problem };
}

async function enterRoom(roomId) {
  await chat?.join(roomId);
  if (chat?.state.open === roomId) showRoom();
}

/** The same people have one direct room: opening it again finds it. */
async function talkTo(userId, name) {
  const { problem } = await createRoom({ name: `${currentSession().name}, ${name}`, visibility: "direct", members: [userId] });
  if (problem) notify(problem);
}

/** The people named in a field; an id that was confirmed there needs no notice later. */
async function peopleOf(field) {
  const people = await field.people();
  for (const { userId, confirmed } of people ?? []) if (confirmed) chat?.confirmed.add(userId);
  return people;
}

function say(text, replyTo) {
  chat.say(text, replyTo);
  drawNow();
  timeline.toEnd();
}

function onSubmit(id, act) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

const onClick = (id, act) => $(id).addEventListener("click", act);

onSubmit("join-form", async () => {
  const roomId = roomIdFor($("join-room").value);
  if (!roomId) return notify("A room's name needs at least one letter or digit.");
  $("join-room").value = "";
  await joinRoom(roomId);
});

onSubmit("invite-form", async () => {
  const { open } = chat.state;
  const people = await peopleOf(invited);
  if (!people?.length || chat?.state.open !== open) return;
  invited.clear();
  chat.govern("invite", people[0].userId);
});

onSubmit("write-form", async () => {
  const people = await peopleOf(addressee);
  if (!people?.length || !$("write-dialog").open) return;
  $("write-dialog").close();
  addressee.clear();
  await talkTo(people[0].userId, people[0].name);
});

onClick("signin-again", signInAgain);
onClick("signout", () => leave(""));
onClick("reconnect", () => chat.connection.open());
onClick("leave", async () => {
  const { roomId } = chat.room;
  const successor = await chat.successor(roomId);
  if (chat?.state.open !== roomId) return;
  const question = leaveQuestion(chat.room, successor);
  if (question && !confirm(question)) return;
  await chat.leave(roomId);
  if (!chat || chat.state.rooms.has(roomId) || namedRoom() !== roomId) return;
  leaveRoom();
  drawNow();
  focusRooms();
});
onClick("back", () => goToRooms(showAddressed));
onClick("join-named", () => joinRoom(namedRoom()));
onClick("load-earlier", () => chat.loadEarlier());
onClick("jump", () => timeline.toEnd());
onClick("members-more", () => chat.loadMembers(chat.room.moreMembers));
onClick("members-toggle", () => showMembers($("members-toggle").getAttribute("aria-expanded") !== "true"));
onClick("members-close", () => showMembers(false));
onClick("write-open", () => $("write-dialog").showModal());
onClick("write-cancel", () => $("write-dialog").close());
onClick("notice-close", () => notify(""));

/** The open menus of messages and people, which nothing else closes. */
const openMenus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("pointerdown", ({ target }) => {
  for (const menu of openMenus()) if (!menu.contains(target)) menu.open = false;
});
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

$("timeline").addEventListener("scroll", draw);
addEventListener("popstate", followAddress);
addEventListener("pagehide", () => chat && keepAll());
addEventListener("pageshow", draw);
addEventListener("focus", draw);
addEventListener("focus", wake);
document.addEventListener("visibilitychange", wake);
addEventListener("online", wake);

/** Back on a network, or back in front: what the page believes about the connection may be stale. */
function wake() {
  if (!chat || document.hidden || Date.now() - woken < WAKE_PAUSE_MS) return;
  woken = Date.now();
  if (chat.connection.status === "connected") chat.refresh();
  else chat.connection.open();
}

beginWith(enter);
