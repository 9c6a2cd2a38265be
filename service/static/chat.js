/*
 * What a signed-in person can do, and what is done on hearing the server: commands out, actions into the state.
 * Its rule: the state changes by `reduce` only, and everything on the page follows from the state.
 */

import { Connection } from "./connection.js";
import { newRef } from "./outbox.js";
import { getToken } from "./session.js";
import { emptyState, reduce } from "./state.js";

const PAGE = 50;
const CONNECTION_SAYS_SO = new Set(["not_connected", "unconfirmed"]);
const BETWEEN_JOINS_MS = 100; // stays under the server's rate when there are many rooms

export class Chat {
  state;
  readBefore = 0; // what was read when the open room was opened
  connection = new Connection({ url: `${location.origin.replace(/^http/, "ws")}/ws`, getToken });
  #draw;
  #notify;
  #heard;
  #loading = null; // the room of which an earlier page is on its way
  #left = new Set(); // the list of rooms may lag: what one left must not be joined again because of it

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
  }

  get room() {
    return this.state.rooms.get(this.state.open);
  }

  open(roomId) {
    if (roomId === this.state.open) return;
    this.readBefore = this.state.rooms.get(roomId).unread ? this.state.rooms.get(roomId).lastRead : Infinity;
    this.#apply({ type: "opened", roomId });
    if (this.#unsubscribed.delete(roomId)) this.#attach(roomId);
    this.loadMembers();
  }

  async join(roomId) {
    this.#left.delete(roomId);
    if (await this.#attach(roomId)) {
      this.open(roomId);
      await this.refresh();
    }
  }

  async create(fields) {
    const ack = await this.#try(this.connection.send("room:create", fields));
    if (ack) await this.join(ack.roomId);
  }

  async leave(roomId) {
    if (await this.#try(this.connection.send("room:leave", { roomId }))) this.#remove(roomId);
  }

  /** Says something new in the open room; ids after an @ that are members of it are mentioned. */
  say(content, replyTo) {
    const { roomId, members } = this.room;
    this.#send(roomId, { ref: newRef(), content, replyTo, mentions: mentionsIn(content, members) });
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

  showRead(roomId, messageId) {
    this.#apply({ type: "message:read", roomId, userId: this.state.userId, messageId });
  }

  tellRead(roomId, messageId) {
    if (this.state.rooms.has(roomId)) this.#try(this.connection.send("message:read", { roomId, messageId }));
  }

  /** The list of rooms anew; then this connection starts to hear those it does not hear yet, the open one first. */
  async refresh() {
    const list = await this.#list();
    if (!list) return;
    const rooms = list.rooms.filter(({ roomId }) => !this.#left.has(roomId));
    this.#apply({ type: "room:list", rooms, invitations: list.invitations });
    rooms.sort((a, b) => (b.roomId === this.state.open) - (a.roomId === this.state.open));
    for (const { roomId } of rooms) {
      if (this.connection.isAttached(roomId) || this.#left.has(roomId) || this.#unsubscribed.has(roomId)) continue;
      await this.#attach(roomId);
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_JOINS_MS));
    }
  }

  /** Every page of it. */
  async #list() {
    const whole = { rooms: [], invitations: [] };
    for (let after = {}, more = true; more; ) {
      const page = await this.#try(this.connection.send("room:list", after));
      if (!page) return undefined;
      whole.rooms.push(...page.rooms);
      whole.invitations.push(...page.invitations);
      const ids = [...page.rooms, ...page.invitations].map(({ roomId }) => roomId);
      [after, more] = [{ after: ids.sort().at(-1) }, page.hasMore];
    }
    return whole;
  }

  async #attach(roomId) {
    const ack = await this.#try(this.connection.send("room:join", { roomId }));
    if (ack) this.#apply({ type: "joined", roomId, head: ack.head });
    return ack;
  }

  #resume({ userId, rooms }) {
    this.#apply({ type: "connected", userId });
    for (const [roomId, { recovered, reason }] of Object.entries(rooms ?? {})) {
      if (recovered) continue;
      const gone = reason === "not_a_member" || reason === "room_not_found";
      if (!gone) this.#reset(roomId);
      else if (this.state.rooms.has(roomId)) this.#lose(roomId);
    }
    this.refresh();
    if (this.room) this.loadMembers(); // presence is not recovered
  }

  #hear(event) {
    const { type, roomId, userId, seq, reason } = event;
    const known = this.state.rooms.has(roomId);
    if (type === "room:unsubscribed") {
      if (known) this.#reset(roomId);
      if (known && roomId === this.state.open) this.#attach(roomId);
      else this.#unsubscribed.add(roomId);
      return;
    }
    if (type === "room:user_left" && userId === this.state.userId && seq !== undefined && known) {
      return reason === "left" ? this.#remove(roomId) : this.#lose(roomId);
    }
    if ((type === "room:created" || type === "room:invited") && !known) this.refresh();
    this.#apply(event);
    if (type === "message:new" && roomId === this.state.open && userId !== this.state.userId) this.#heard(this.room, event);
  }

  /** Another epoch numbers anew: nothing known of the room holds any more. */
  #reset(roomId) {
    if (roomId === this.state.open) this.readBefore = Infinity;
    this.#apply({ type: "reset", roomId });
  }

  #lose(roomId) {
    this.#notify(`You are no longer in ${this.state.rooms.get(roomId).name}.`);
    this.#remove(roomId);
  }

  #remove(roomId) {
    this.#left.add(roomId);
    this.#apply({ type: "removed", roomId });
  }

  /** A message keeps its ref and all its fields over every attempt, so that trying again cannot say it twice. */
  async #send(roomId, { ref, content, replyTo, mentions }) {
    const fields = { roomId, content, replyTo, mentions };
    this.#apply({ type: "sending", roomId, message: { ref, content, replyTo, mentions } });
    try {
      const { seq, messageId, at } = await this.connection.send("message:send", fields, ref);
      this.#apply({ type: "sent", roomId, ref, message: { ...fields, seq, messageId, at, userId: this.state.userId, ref } });
    } catch ({ code, message, retryable }) {
      this.#apply({ type: "failed", roomId, ref, failure: { code, message, retryable } });
    }
  }

  #unsent(ref) {
    return this.room.unsent.find((each) => each.ref === ref);
  }

  /** The ack, or undefined after saying why there is none (that there is no connection is on the page already). */
  async #try(promise) {
    try {
      return await promise;
    } catch (error) {
      if (!CONNECTION_SAYS_SO.has(error.code)) this.#notify(error.message);
      return undefined;
    }
  }

  #apply(action) {
    this.state = reduce(this.state, action);
    this.#draw();
  }
}

/** "@bob, see @carol." -> ["bob", "carol"], where they are members; undefined where nobody is. */
function mentionsIn(content, members) {
  const named = [...content.matchAll(/(?<![\p{L}\p{N}._|-])@([a-z0-9][a-z0-9._@|-]*)/giu)];
  const ids = named.map(([, id]) => (members.has(id) ? id : id.replace(/[._|-]+$/, "")));
  const found = [...new Set(ids.filter((id) => members.has(id)))];
  return found.length ? found : undefined;
}
