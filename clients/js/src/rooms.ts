/*
 * All rooms of the user: which ones this connection receives, where each is resumed, and the list with its counts.
 *
 * Invariant: a room is resumed from the last event *received*, never from one that was merely acknowledged. If the server
 * cannot resume it, or an event is missing, it is loaded again.
 */
import { RoomEntry } from "./entry.js";
import { OnRecordError } from "./errors.js";
import { apply, emptyRoom, type Action, type RoomState } from "./model.js";
import type { Acks, Commands, Connect, Connected, Invitation, RoomHead, RoomSummary, ServerEvent } from "./protocol.js";
import type { Fields } from "./room.js";
import { RoomList } from "./roomlist.js";

export interface RoomsHooks {
  readonly userId: string;
  readonly limit: number;
  readonly watch: boolean;
  send<K extends keyof Commands>(type: K, fields: Fields<K>, options?: { once?: boolean; onAck?: (ack: Acks[K]) => void }): Promise<Acks[K]>;
  /** The state of a room, or whether the user is a member, has changed. `event` is the cause, if it was one. */
  changed(roomId: string, event?: ServerEvent, before?: RoomState): void;
  reset(roomId: string, reason: string): void;
  listChanged(): void;
  problem(error: OnRecordError): void;
  /** An event is missing: the connection has to begin again. */
  reconnect(): void;
}

const MOST_ROOMS = 100; // of a connection, by the server
const RETRY_MS = 3_000;
const PACE_MS = 100; // stays under the server's rate when there are many rooms

export class Rooms {
  #hooks: RoomsHooks;
  #entries = new Map<string, RoomEntry>();
  #left = new Map<string, number>(); // roomId -> seq of the user's leave or removal
  #missed = new Map<string, number>(); // roomId -> seq of the latest event of a room that was not known then
  #epoch: string | undefined;
  #joins = 0;
  #gone = 0; // changes that made content unreadable, or may have while the connection was down, or moved a marker back
  #most = MOST_ROOMS;
  #connected = false;
  #watching = false;
  #list: RoomList;
  invitations: readonly Invitation[] = [];

  constructor(hooks: RoomsHooks) {
    this.#hooks = hooks;
    this.#list = new RoomList({
      ask: (after) => hooks.send("room:list", after === undefined ? {} : { after }, { once: true }),
      stamp: () => ({ joins: this.#joins, gone: this.#gone }),
      listed: (rooms, invitations, stamp) => this.#listed(rooms, invitations, stamp),
      stale: () => this.members().some(({ stale }) => stale),
    });
  }

  state(roomId: string): RoomState {
    return this.#entries.get(roomId)?.state ?? emptyRoom(roomId, this.#hooks.limit);
  }

  isMember(roomId: string): boolean {
    return this.#entries.get(roomId)?.member ?? false;
  }

  /** The states of the rooms that the user is a member of. */
  members(): RoomState[] {
    return [...this.#entries.values()].filter(({ member }) => member).map(({ state }) => state);
  }

  /** What the next connection resumes: kept rooms from their cursors, the others from now on. */
  resume(): Pick<Connect, "epoch" | "rooms"> {
    const attached = [...this.#entries].filter(([, entry]) => entry.attached).sort(([, a], [, b]) => Number(b.state.kept) - Number(a.state.kept));
    const rooms = attached.slice(0, this.#most).map(([roomId, { state }]) => [roomId, state.kept ? state.head : null] as const);
    for (const [, entry] of attached.slice(this.#most)) entry.attached = false;
    return { ...(this.#epoch !== undefined && { epoch: this.#epoch }), rooms: Object.fromEntries(rooms) };
  }

  /** The server has a lower limit of rooms for a connection. */
  tooMany(): void {
    this.#most = Math.floor(this.#most / 2);
  }

  /** Resumes what the server did not; resolves when the list of rooms has come. */
  connected({ epoch, rooms }: Connected): Promise<void> {
    this.#connected = true;
    this.#gone += 1;
    const renumbered = this.#epoch !== undefined && epoch !== this.#epoch;
    this.#epoch = epoch;
    if (renumbered) this.#left.clear();
    this.#missed.clear();
    for (const [roomId, entry] of this.#entries) {
      this.#apply(roomId, { type: "resumed", gone: this.#gone });
      const answer = rooms[roomId];
      if (answer && !answer.recovered) this.#notRecovered(roomId, entry, answer);
      else if (renumbered) this.#reset(roomId, entry, "epoch_changed");
      else if (entry.state.kept && !entry.attached && (entry.member || entry.isAwaited)) this.#attachSoon(roomId);
    }
    this.#refreshMembers().catch(() => {}); // a page that cannot be read leaves the members as they are
    return this.#list.refresh();
  }

  down(): void {
    this.#connected = false;
    for (const entry of this.#entries.values()) {
      entry.attaching = false;
      entry.settle();
    }
  }

  /** The client was closed: no room will be joined. */
  abandon(error: OnRecordError): void {
    this.#list.stop();
    for (const entry of this.#entries.values()) entry.reject(error);
  }

  /** Forgets everything, for another user. */
  clear(): void {
    this.#entries.clear();
    this.#left.clear();
    this.#epoch = undefined;
    this.invitations = [];
  }

  refresh(): Promise<void> {
    return this.#list.refresh();
  }

  /** Becomes a member and receives the room; resolves when its messages are loaded. */
  join(roomId: string): Promise<void> {
    const entry = this.#entry(roomId);
    if (!entry.state.kept) {
      // What only counts were kept of begins again, with the messages.
      entry.state = { ...entry.state, kept: true };
      entry.attached = false;
    }
    if (entry.attached && entry.member) return Promise.resolve();
    const joined = entry.loaded();
    void this.#attach(roomId);
    return joined;
  }

  settled(roomId: string, seq: number): Promise<void> {
    const entry = this.#entries.get(roomId);
    return entry && this.#connected ? entry.settled(seq) : Promise.resolve();
  }

  /** Applies something that the client did. */
  apply(roomId: string, action: Action): void {
    this.#apply(roomId, action);
    this.#hooks.changed(roomId);
    this.#hooks.listChanged();
    this.#list.check();
  }

  receive(event: ServerEvent): void {
    if (event.type === "presence:changed") {
      for (const [roomId, { state }] of this.#entries) if (state.members.has(event.userId)) this.#applyEvent(roomId, event);
      return;
    }
    if (!("roomId" in event)) return;
    const entry = this.#entries.get(event.roomId);
    const seq = "seq" in event ? event.seq : undefined;
    if (!entry?.member && (event.type === "room:created" || event.type === "room:invited")) void this.#list.refresh();
    if (event.type === "room:invited" || event.type === "room:user_left") this.#list.invited();
    if (!entry && seq !== undefined) this.#missed.set(event.roomId, seq);
    if (!entry || (seq !== undefined && seq <= entry.state.head)) return;
    if (seq !== undefined && entry.isGap(seq)) return this.#hooks.reconnect();
    this.#applyEvent(event.roomId, event);
    this.#follow(event.roomId, entry, event, seq);
    this.#list.check();
  }

  /** What follows from an event for the subscription. */
  #follow(roomId: string, entry: RoomEntry, event: ServerEvent, seq: number | undefined): void {
    if (seq !== undefined) entry.settle(seq);
    if (event.type === "message:history") this.#loaded(roomId, entry);
    if (event.type === "room:unsubscribed") {
      entry.attached = false;
      if (entry.state.kept) this.#reset(roomId, entry, "unsubscribed");
    }
    if (event.type === "room:user_left" && event.userId === this.#hooks.userId && seq !== undefined) this.#removed(roomId, entry, seq, event.reason);
  }

  #applyEvent(roomId: string, event: ServerEvent): void {
    const before = this.state(roomId);
    const goes = event.type === "room:content_removed" || event.type === "message:unread";
    if (goes) this.#gone += 1;
    this.#apply(roomId, goes ? { ...event, gone: this.#gone } : event);
    this.#hooks.changed(roomId, event, before);
    this.#hooks.listChanged();
  }

  #apply(roomId: string, action: Action): void {
    const entry = this.#entry(roomId);
    entry.state = apply(entry.state, action, this.#hooks.userId);
  }

  #entry(roomId: string): RoomEntry {
    const known = this.#entries.get(roomId);
    if (known) return known;
    const entry = new RoomEntry(roomId, this.#hooks.limit);
    this.#entries.set(roomId, entry);
    return entry;
  }

  #notRecovered(roomId: string, entry: RoomEntry, { reason = "", head = 0 }: RoomHead): void {
    entry.attached = false;
    if (reason === "epoch_changed" || reason === "ahead") this.#reset(roomId, entry, reason);
    else {
      this.#lose(roomId, entry, head); // the events up to the removal follow
      this.#hooks.reset(roomId, reason);
    }
  }

  /** The known messages are no longer valid: loads them again. */
  #reset(roomId: string, entry: RoomEntry, reason: string): void {
    this.#apply(roomId, { type: "reset" });
    entry.beginSeries();
    entry.reset = entry.state.kept ? reason : undefined;
    this.#hooks.changed(roomId);
    if (entry.state.kept) this.#attachSoon(roomId);
  }

  #removed(roomId: string, entry: RoomEntry, seq: number, reason: string): void {
    // A leave before the state that a list has shown was followed by a join elsewhere: only the subscription has ended.
    const again = entry.member && seq < entry.state.asOf;
    entry.attached = false;
    if (again) this.#reset(roomId, entry, "rejoined");
    else {
      this.#lose(roomId, entry, seq);
      this.#refused(roomId, entry, new OnRecordError("not_a_member", "The membership ended before the room was loaded."));
      this.#hooks.reset(roomId, reason);
    }
  }

  #lose(roomId: string, entry: RoomEntry, seq: number): void {
    entry.member = false;
    entry.beginSeries();
    this.#left.set(roomId, Math.max(seq, this.#left.get(roomId) ?? 0));
    if (!entry.state.kept) this.#entries.delete(roomId);
    this.#hooks.changed(roomId);
    this.#hooks.listChanged();
  }

  #attachSoon(roomId: string): void {
    const entry = this.#entry(roomId);
    entry.attached = false;
    queueMicrotask(() => this.#attach(roomId));
  }

  /** Joins, which sends the messages and what follows. Nothing is sent without a connection, which attaches by itself. */
  #attach(roomId: string): Promise<void> {
    const entry = this.#entry(roomId);
    if (entry.attaching || entry.attached || !this.#connected) return Promise.resolve();
    entry.attaching = true;
    const onAck = (ack: Acks["room:join"]) => this.#joined(roomId, entry, ack);
    return this.#hooks.send("room:join", { roomId }, { once: true, onAck }).then(
      () => {},
      (error: OnRecordError) => this.#notJoined(roomId, entry, error),
    );
  }

  #joined(roomId: string, entry: RoomEntry, { seq, head }: Acks["room:join"]): void {
    if (!entry.member && entry.state.head) this.#apply(roomId, { type: "reset" });
    this.#left.delete(roomId);
    this.#joins += 1;
    entry.joins = this.#joins;
    entry.beginSeries();
    this.#apply(roomId, { type: "joined", seq, head, known: entry.member });
    entry.member = true;
    if (!entry.state.kept) this.#loaded(roomId, entry);
  }

  #notJoined(roomId: string, entry: RoomEntry, error: OnRecordError): void {
    entry.attaching = false;
    if (error.code === "connection_lost" || error.code === "closed") return; // the next connection attaches
    if (error.code === "too_many_rooms") this.#most = Math.max(1, [...this.#entries.values()].filter(({ attached }) => attached).length);
    if (error.retryable) setTimeout(() => void this.#attach(roomId), RETRY_MS * (0.5 + Math.random()));
    else this.#refused(roomId, entry, error);
  }

  #refused(roomId: string, entry: RoomEntry, error: OnRecordError): void {
    entry.reject(error);
    const wasReset = entry.reset !== undefined;
    entry.reset = undefined;
    entry.attaching = false;
    if (!entry.state.kept) return;
    if (wasReset) this.#hooks.problem(error);
    if (entry.member) this.#lose(roomId, entry, entry.state.head);
  }

  /** The first page of messages has come. */
  #loaded(roomId: string, entry: RoomEntry): void {
    entry.attaching = false;
    entry.attached = true;
    const { reset } = entry;
    entry.reset = undefined;
    this.#hooks.changed(roomId);
    this.#hooks.listChanged();
    if (reset !== undefined) this.#hooks.reset(roomId, reset);
    entry.resolve();
    this.#list.check();
  }

  #listed(rooms: readonly RoomSummary[], invitations: readonly Invitation[], stamp: { joins: number; gone: number }): void {
    this.invitations = invitations;
    const there = new Set(rooms.map(({ roomId }) => roomId));
    for (const [roomId, entry] of this.#entries) {
      if (entry.member && !entry.state.kept && !there.has(roomId) && entry.joins <= stamp.joins) this.#entries.delete(roomId);
    }
    for (const row of rooms) if (row.head > (this.#left.get(row.roomId) ?? -1)) this.#listedRow(row, stamp.gone);
    this.#hooks.listChanged();
    void this.#watch();
  }

  #listedRow(row: RoomSummary, gone: number): void {
    const { roomId, head } = row;
    const entry = this.#entry(roomId);
    if (entry.state.kept && !entry.member && entry.state.to >= 0) this.#reset(roomId, entry, "rejoined"); // elsewhere
    this.#apply(roomId, { type: "listed", row, gone });
    // The list was asked for before an event that came when the room was not known.
    if (head < (this.#missed.get(roomId) ?? 0)) this.#apply(roomId, { type: "stale" });
    entry.member = true;
    this.#hooks.changed(roomId);
  }

  /** Receives the rooms that are only listed too, as far as the server allows, so that the list stays current. */
  async #watch(): Promise<void> {
    if (!this.#hooks.watch || this.#watching) return;
    this.#watching = true;
    await this.#attachListed();
    this.#watching = false;
  }

  async #attachListed(): Promise<void> {
    for (const [roomId, entry] of [...this.#entries]) {
      const attached = [...this.#entries.values()].filter((each) => each.attached).length;
      if (!this.#connected || attached >= this.#most) return;
      if (!entry.member || entry.attached || entry.attaching) continue;
      await this.#attach(roomId);
      await pause(PACE_MS);
    }
  }

  /** Presence is not resumed. */
  async #refreshMembers(): Promise<void> {
    for (const [roomId, entry] of [...this.#entries]) {
      if (!this.#connected || !entry.attached || !entry.state.kept) continue;
      const page = await this.#hooks.send("room:members", { roomId }, { once: true }).catch(() => undefined);
      if (page && entry.attached) this.apply(roomId, { type: "more_members", ...page, continued: false });
      await pause(PACE_MS);
    }
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
