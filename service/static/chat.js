/*
 * What a signed-in person can do, and what is done on hearing the server: commands out, actions into the state.
 * Its rule: the state changes by `reduce` only, and everything on the page follows from the state.
 */

import { Connection } from "./connection.js";
import { mentionsOf, namesWithoutMention } from "./mentions.js";
import { isolated, peopleLike } from "./names.js";
import { newRef } from "./outbox.js";
import { getToken } from "./session.js";
import { emptyState, isStale, reduce } from "./state.js";

const PAGE = 50;
const CONNECTION_SAYS_SO = new Set(["not_connected", "unconfirmed"]);
const BETWEEN_JOINS_MS = 100; // stays under the server's rate when there are many rooms
const MOST_INVITERS = 20; // whose names are asked at once
const FIRST_STALE_MS = 1_000;
const LONGEST_STALE_MS = 60_000;

export class Chat {
  state;
  listed = false; // whether the list of rooms was fetched
  confirmed = new Set(); // ids that the user named after the question whether they are right
  notFound = null; // the room that the user last asked to join, if the server refused as it does for one that is missing
  readBefore = 0; // what was read when the open room was opened
  connection = new Connection({ url: `${location.origin.replace(/^http/, "ws")}/ws`, getToken });
  #draw;
  #notify;
  #heard;
  #loading = null; // the room of which an earlier page is on its way
  #staleTimer = null;
  #staleWait = FIRST_STALE_MS;
  #tabs = new BroadcastChannel("onrecord.rooms"); // tells the user's other tabs of a join, which the server does not
  #inviters = new Map(); // user id -> name
  #unsubscribed = new Set(); // rooms that gave way to others that people added one to: joined again when opened

  /** `draw()` after each change, `notify(sentence)` for people, `heard(room, message)` for what others say in the open room. */
  constructor(userId, { draw, notify, heard }) {
    this.state = emptyState(userId);
    this.#draw = draw;
    this.#notify = notify;
    this.#heard = heard;
    this.connection.addEventListener("connected", ({ detail }) => this.#resume(detail));
    this.connection.addEventListener("event", ({ detail }) => this.#hear(detail));
    this.connection.addEventListener("problem", ({ detail }) => notify(detail.message));
    this.#tabs.onmessage = ({ data }) => data === this.state.userId && this.refresh();
  }

  close() {
    this.#tabs.close();
    clearTimeout(this.#staleTimer);
    this.connection.close();
  }

  get room() {
    return this.state.rooms.get(this.state.open);
  }

  /** Opens a room; null closes the open one. */
  open(roomId) {
    if (roomId === this.state.open) return;
    if (roomId === null) return this.#apply({ type: "opened", roomId });
    this.readBefore = this.state.rooms.get(roomId).unread ? this.state.rooms.get(roomId).lastRead : Infinity;
    this.#apply({ type: "opened", roomId });
    if (this.#unsubscribed.delete(roomId)) this.#attach(roomId);
    this.loadMembers();
  }

  async join(roomId) {
    this.notFound = null;
    const refused = ({ code }) => {
      if (code === "room_not_found") this.notFound = roomId;
    };
    if (await this.#attach(roomId, refused)) {
      this.#tabs.postMessage(this.state.userId);
      this.open(roomId);
      await this.refresh();
    }
    this.#draw();
  }

  /** Makes a room; returns {roomId}, or {problem} if the server refuses it. */
  async create(fields) {
    try {
      const ack = await this.connection.send("room:create", fields);
      this.#warnOfUnknown(ack);
      return ack;
    } catch ({ message }) {
      return { problem: message };
    }
  }

  /** The people whom a text finds, {users: [{userId, name}], among}; without `among` only members of rooms that are loaded. */
  async find(text) {
    try {
      if (this.connection.status === "connected") return await this.connection.send("user:find", { query: text });
    } catch {
      // The server does not let users find people, or cannot now.
    }
    const members = new Map([...this.state.rooms.values()].flatMap((room) => [...room.members]));
    return { users: peopleLike(members, text) };
  }

  /** The members of the open room whom a text finds; of a large room also others whom the server finds. */
  async membersLike(text) {
    const { members, moreMembers } = this.room;
    const known = peopleLike(members, text).filter(({ userId }) => userId !== this.state.userId);
    if (!moreMembers) return known;
    const { users } = await this.find(text);
    return [...known, ...users.filter(({ userId }) => !members.has(userId))];
  }

  /** Leaves a room, or declines an invitation to it. */
  async leave(roomId) {
    const ack = await this.#try(this.connection.send("room:leave", { roomId }));
    if (!ack) return;
    this.#tabs.postMessage(this.state.userId);
    this.#apply({ type: "removed", roomId, seq: ack.seq });
  }

  /** Sends a new message in the open room; the users after an @ are mentioned. */
  say(content, replyTo) {
    const { roomId, members } = this.room;
    this.#send(roomId, { ref: newRef(), content, replyTo, mentions: mentionsOf(content, [...members.keys()]) });
  }

  retry(ref) {
    this.#send(this.state.open, this.#unsent(ref));
  }

  /** Takes a failed message away and returns its text. */
  discard(ref) {
    const { content } = this.#unsent(ref);
    this.#apply({ type: "discarded", roomId: this.state.open, ref });
    return content;
  }

  /** A command about one message of the open room; its effect comes back as an event, as for everybody. */
  change(kind, { roomId, messageId }, fields = {}) {
    return this.#try(this.connection.send(`message:${kind}`, { roomId, messageId, ...fields }));
  }

  /** A command about one person in the open room. */
  async govern(kind, userId, fields = {}) {
    const ack = await this.#try(this.connection.send(`room:${kind}`, { roomId: this.state.open, userId, ...fields }));
    if (ack && kind === "invite") this.#notify(`${userId} is invited.`);
    if (ack) this.#warnOfUnknown(ack);
    if (ack && kind === "unban") this.#notify(`${userId} may come back.`);
  }

  /** A command about the open room itself: `update`, `archive`, `reopen`. */
  arrange(kind, fields = {}) {
    return this.#try(this.connection.send(`room:${kind}`, { roomId: this.state.open, ...fields }));
  }

  /** Typing is lossy: without a connection, or refused, it is simply not shown to the others. */
  typing(roomId, begins) {
    if (this.connection.status !== "connected" || !this.state.rooms.has(roomId)) return;
    this.connection.send(begins ? "typing:start" : "typing:stop", { roomId }).catch(() => {});
  }

  async loadEarlier() {
    const { roomId, messages, hasMore } = this.room;
    if (!hasMore || this.#loading === roomId) return;
    this.#loading = roomId;
    const page = await this.#try(
      this.connection.send("message:history", { roomId, before: messages[0].messageId, limit: PAGE }),
    );
    this.#loading = null;
    if (page) this.#apply({ ...page, type: "message:history", roomId });
  }

  async loadMembers(after) {
    const roomId = this.state.open;
    const page = await this.#try(this.connection.send("room:members", { roomId, after }));
    if (page) this.#apply({ ...page, type: "room:members", roomId, continued: after !== undefined });
  }

  /** The user who becomes the owner if this one leaves a room; undefined if it has another owner, or no other member. */
  async successor(roomId) {
    const own = this.state.rooms.get(roomId).members.get(this.state.userId)?.role ?? this.state.rooms.get(roomId).role;
    if (own !== "owner") return undefined;
    return (await this.#try(this.connection.send("room:members", { roomId, limit: 1 })))?.successor;
  }

  showRead(roomId, messageId) {
    this.#apply({ type: "message:read", roomId, userId: this.state.userId, messageId });
  }

  tellRead(roomId, messageId) {
    if (this.state.rooms.has(roomId)) this.#try(this.connection.send("message:read", { roomId, messageId }));
  }

  /** A page of the pinned messages of a room, or undefined. */
  pins(roomId, before) {
    return this.#try(this.connection.send("message:pins", { roomId, before }));
  }

  /** Fetches the list of rooms; then this connection joins those that it does not receive yet, the open one first. */
  async refresh() {
    const list = await this.#list();
    if (!list) return;
    this.listed = true;
    const before = [...this.state.rooms.keys()];
    this.#apply({ type: "room:list", ...list });
    for (const roomId of before) if (!this.state.rooms.has(roomId)) this.connection.forget(roomId);
    const rooms = [...this.state.rooms.keys()].sort((a, b) => (b === this.state.open) - (a === this.state.open));
    for (const roomId of rooms) {
      const there = this.state.rooms.has(roomId) && !this.#unsubscribed.has(roomId);
      if (!there || this.connection.isAttached(roomId)) continue;
      await this.#attach(roomId);
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_JOINS_MS));
    }
  }

  /** Every page of it. */
  async #list() {
    const whole = { rooms: [], invitations: [], joins: this.state.joins, gone: this.state.gone };
    for (let after = {}, more = true; more; ) {
      const page = await this.#try(this.connection.send("room:list", after));
      if (!page) return undefined;
      whole.rooms.push(...page.rooms);
      whole.invitations.push(...page.invitations);
      const ids = [...page.rooms, ...page.invitations].map(({ roomId }) => roomId);
      [after, more] = [{ after: ids.sort().at(-1) }, page.hasMore];
    }
    return { ...whole, invitations: await this.#withInviters(whole.invitations) };
  }

  /** Invitations with the name of their author, `byName`. */
  async #withInviters(invitations) {
    const unknown = new Set(invitations.map(({ by }) => by).filter((by) => !this.#inviters.has(by)));
    for (const by of [...unknown].slice(0, MOST_INVITERS)) {
      const { users } = await this.find(by);
      this.#inviters.set(by, users.find(({ userId }) => userId === by)?.name ?? by);
    }
    return invitations.map((each) => ({ ...each, byName: this.#inviters.get(each.by) ?? each.by }));
  }

  async #attach(roomId, refused) {
    const ack = await this.#try(this.connection.send("room:join", { roomId }), refused);
    if (ack) this.#apply({ type: "joined", roomId, seq: ack.seq, head: ack.head });
    return ack;
  }

  #resume({ userId, epoch, rooms }) {
    this.#apply({ type: "connected", userId, epoch });
    for (const [roomId, { recovered, reason, head = 0 }] of Object.entries(rooms ?? {})) {
      if (recovered) continue;
      const gone = reason === "not_a_member" || reason === "room_not_found";
      if (gone) this.#lose({ type: "removed", roomId, seq: head });
      else this.#reset(roomId);
    }
    this.refresh();
    if (this.room) this.loadMembers(); // presence is not recovered
  }

  #hear(event) {
    const { type, roomId, userId, seq } = event;
    const known = this.state.rooms.has(roomId);
    if (type === "room:unsubscribed") return this.#unsubscribe(roomId);
    if (type === "room:user_left" && userId === this.state.userId && seq !== undefined) return this.#lose(event);
    if ((type === "room:created" || type === "room:invited") && !known) this.refresh();
    if (type === "message:unread" && roomId === this.state.open && event.lastRead < this.room?.lastRead) this.readBefore = event.lastRead;
    this.#apply(event);
    if (type === "message:new" && roomId === this.state.open && userId !== this.state.userId) this.#heard(this.room, event);
    return undefined;
  }

  #unsubscribe(roomId) {
    if (this.state.rooms.has(roomId)) this.#reset(roomId);
    if (roomId === this.state.open) this.#attach(roomId);
    else this.#unsubscribed.add(roomId);
  }

  /** Another epoch numbers anew: nothing known of the room holds any more. */
  #reset(roomId) {
    if (roomId === this.state.open) this.readBefore = Infinity;
    this.#apply({ type: "reset", roomId });
  }

  /** The user is no longer in a room: by an event, or by what the server says when a connection is resumed. */
  #lose(action) {
    const { roomId, reason } = action;
    const known = this.state.rooms.get(roomId);
    this.#apply(action);
    if (this.state.rooms.has(roomId)) this.refresh(); // which was joined again elsewhere
    else if (known && reason !== "left") this.#notify(`You are no longer in ${isolated(known.name)}.`);
  }

  /** A message keeps its ref and all its fields over every attempt, so that trying again cannot say it twice. */
  async #send(roomId, { ref, content, replyTo, mentions }) {
    const fields = { roomId, content, replyTo, mentions };
    this.#apply({ type: "sending", roomId, message: { ref, content, replyTo, mentions } });
    try {
      const { seq, messageId, at, dropped = [] } = await this.connection.send("message:send", fields, ref);
      const mentioned = mentions?.filter((id) => !dropped.includes(id));
      const message = { ...fields, mentions: mentioned, seq, messageId, at, userId: this.state.userId, ref };
      this.#apply({ type: "sent", roomId, ref, message });
      if (dropped.length) this.#reportMentions(roomId, content, mentioned);
    } catch ({ code, message, retryable }) {
      this.#apply({ type: "failed", roomId, ref, failure: { code, message, retryable } });
    }
  }

  #reportMentions(roomId, content, mentioned) {
    const members = [...(this.state.rooms.get(roomId)?.members.keys() ?? [])];
    const names = namesWithoutMention(content, members, mentioned);
    if (names.length) this.#notify(`Not mentioned, since nobody in this room has that id: ${names.join(", ")}.`);
  }

  #warnOfUnknown({ unknown = [] }) {
    const doubtful = unknown.filter((userId) => !this.confirmed.has(userId));
    if (doubtful.length) this.#notify(`Never signed in here: ${doubtful.map(isolated).join(", ")}. The user ids may be mistyped.`);
  }

  #unsent(ref) {
    return this.room.unsent.find((each) => each.ref === ref);
  }

  /** The ack, or undefined after saying why there is none (that there is no connection is on the page already). */
  async #try(promise, refused) {
    try {
      return await promise;
    } catch (error) {
      refused?.(error);
      if (!CONNECTION_SAYS_SO.has(error.code)) this.#notify(error.message);
      return undefined;
    }
  }

  #apply(action) {
    this.state = reduce(this.state, action);
    this.#draw();
    if (!isStale(this.state)) this.#staleWait = FIRST_STALE_MS;
    // At random, since one expiry or restart makes the counts of many pages stale.
    else this.#staleTimer ??= setTimeout(() => this.#renewCounts(), this.#staleWait * (0.5 + Math.random()));
  }

  /** Fetches the list of rooms if counts are out of date, less and less often while that does not help. */
  #renewCounts() {
    this.#staleTimer = null;
    if (!isStale(this.state) || this.connection.status !== "connected") return;
    this.#staleWait = Math.min(2 * this.#staleWait, LONGEST_STALE_MS);
    this.refresh();
  }
}
