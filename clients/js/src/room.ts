/*
 * A room as the application sees it: a view of the room's state, and the commands about it.
 *
 * Invariant: the arrays and objects that a room returns are never changed; a change makes new ones. Promises that the
 * application does not await cause no unhandled rejection.
 */
import type { Message } from "./changes.js";
import { Emitter } from "./emitter.js";
import { OnRecordError, quiet } from "./errors.js";
import type { Action, Member, RoomState } from "./model.js";
import { messageOf } from "./changes.js";
import type { Acks, Commands, MessageHistoryAck, Receipt, RecordedAck } from "./protocol.js";

/** An own message that is not on the record yet, or was refused. It follows the messages of the record. */
export interface PendingMessage {
  readonly roomId: string;
  readonly ref: string;
  readonly userId: string;
  readonly content: string;
  readonly at: string;
  readonly replyTo?: number;
  readonly mentions?: readonly string[];
  /** Null until the server has acknowledged the message. */
  readonly messageId: number | null;
  readonly seq: number | null;
  readonly pending: boolean;
  /** Why the message was refused. `retry` sends it again, `discard` takes it away. */
  readonly failed?: OnRecordError;
  readonly name?: undefined;
  readonly editedAt?: undefined;
  readonly deletedAt?: undefined;
  readonly reactions?: undefined;
  readonly pinned?: undefined;
}

export interface SendOptions {
  replyTo?: number;
  mentions?: readonly string[];
}

/** A message on the record; `dropped` are mentioned users who are not members. */
export interface Sent {
  messageId: number;
  seq: number;
  at: string;
  ref: string;
  dropped?: readonly string[];
}

export interface Change {
  /** `pending`: an own message is on its way, was refused, or was taken back. */
  type: "message:edited" | "message:deleted" | "message:reaction" | "message:pinned" | "room:content_removed" | "pending";
  messageId: number | null;
  /** The message as it is now, if it is loaded. */
  message: Message | PendingMessage | undefined;
}

/** What happened to a member; `presence:changed` is a change of `status`. */
export interface MemberChange {
  type: "room:user_joined" | "room:user_left" | "room:member_updated" | "presence:changed";
  userId: string;
  reason?: string;
  /** The member as of now; undefined after a leave, and of a member who is not loaded. */
  member: Member | undefined;
}

export interface RoomEvents {
  message: [message: Message];
  change: [change: Change];
  member: [change: MemberChange];
  typing: [typing: { userId: string; typing: boolean }];
  receipt: [receipt: Receipt];
  /** The messages were loaded again, since the server could not resume; or none follow, since the user is no member. */
  reset: [why: { reason: string }];
  /** Something of the room is different now. */
  update: [];
  error: [error: OnRecordError];
}

export interface RoomHost {
  readonly userId: string;
  command<K extends keyof Commands>(type: K, fields: Fields<K>): Promise<Acks[K]>;
  lossy(type: string, fields: object): void;
  /** Resolves when the room has received the event `seq`, or when it cannot be waited for. */
  settled(roomId: string, seq: number): Promise<void>;
  apply(roomId: string, action: Action): void;
  post(roomId: string, content: string, options: SendOptions, ref?: string): Promise<Sent>;
  discard(roomId: string, ref: string): void;
}

/** The fields of a command, without those that the client fills in. */
export type Fields<K extends keyof Commands> = Omit<Commands[K], "type" | "ref"> & { ref?: string };

const TYPING_MS = 3_000; // the server shows a user as typing for six seconds
const PAGE = 200;

export class Room extends Emitter<RoomEvents> {
  readonly id: string;
  #host: RoomHost;
  #state: RoomState;
  #pending: readonly PendingMessage[] = [];
  #messages: readonly (Message | PendingMessage)[] | undefined;
  #members: readonly Member[] | undefined;
  #loading: Promise<number> | undefined;
  #typedAt = 0;
  #joined = false;

  /** @internal */
  constructor(id: string, state: RoomState, host: RoomHost) {
    super();
    this.id = id;
    this.#state = state;
    this.#host = host;
  }

  get name(): string {
    return this.#state.name;
  }
  get topic(): string | null {
    return this.#state.topic;
  }
  get visibility(): RoomState["visibility"] {
    return this.#state.visibility;
  }
  get archived(): boolean {
    return this.#state.archived;
  }
  /** The user's own role. */
  get role(): RoomState["role"] {
    return this.#state.role;
  }
  /** The seq of the last event. */
  get head(): number {
    return Math.max(this.#state.head, this.#state.joinHead);
  }
  /** Whether the user is a member. */
  get joined(): boolean {
    return this.#joined;
  }
  /** The loaded messages, all from the first one on, in order; then the own ones that are not on the record yet. */
  get messages(): readonly (Message | PendingMessage)[] {
    this.#messages ??= this.#pending.length ? [...this.#state.messages, ...this.#pending] : this.#state.messages;
    return this.#messages;
  }
  /** Whether there are earlier messages than the loaded ones. */
  get hasMore(): boolean {
    return this.#state.hasMore;
  }
  /** The loaded members, by user id. */
  get members(): readonly Member[] {
    this.#members ??= [...this.#state.members.values()].sort((a, b) => (a.userId < b.userId ? -1 : 1));
    return this.#members;
  }
  get hasMoreMembers(): boolean {
    return this.#state.moreMembers !== null;
  }
  /** The ids of the users who are typing. */
  get typing(): readonly string[] {
    return this.#state.typing;
  }
  get unread(): number {
    return this.#state.unread;
  }
  get mentions(): number {
    return this.#state.mentions;
  }
  /** The id of the last message that the user has read. */
  get lastRead(): number {
    return this.#state.lastRead;
  }
  /** How far each member has read, by user id. */
  get receipts(): ReadonlyMap<string, Receipt> {
    return this.#state.receipts;
  }

  /** Posts a message; resolves when it is on the record. It is sent again until then, over reconnects and reloads. */
  send(content: string, options: SendOptions = {}): Promise<Sent> {
    return quiet(this.#host.post(this.id, content, options));
  }

  /** Sends a refused message again. */
  retry(ref: string): Promise<Sent> {
    const { content, replyTo, mentions } = this.#pending.find((each) => each.ref === ref && each.failed) ?? {};
    if (content === undefined) return quiet(Promise.reject(new OnRecordError("message_not_found", "No message with this ref was refused.")));
    return quiet(this.#host.post(this.id, content, { replyTo, mentions }, ref));
  }

  /** Takes a message away that was refused, or that was not sent yet. */
  discard(ref: string): void {
    this.#host.discard(this.id, ref);
  }

  /** Loads about `count` messages before the loaded ones; resolves with how many were added. */
  loadEarlier(count = 50): Promise<number> {
    this.#loading ??= this.#loadEarlier(count).finally(() => (this.#loading = undefined));
    return quiet(this.#loading);
  }

  async #loadEarlier(count: number): Promise<number> {
    let added = 0;
    while (added < count && this.hasMore) {
      const before = this.#state.messages[0]?.messageId;
      const limit = Math.min(count - added, PAGE);
      const page: MessageHistoryAck = await this.#host.command("message:history", { roomId: this.id, before, limit });
      if (before !== this.#state.messages[0]?.messageId) return added; // loaded again, or shortened, since the question
      this.#host.apply(this.id, { type: "page", messages: page.messages, hasMore: page.hasMore });
      added += page.messages.length;
      if (!page.messages.length) break;
    }
    return added;
  }

  /** Loads the next members, of a room with more than are loaded. */
  loadMembers(): Promise<void> {
    return quiet(this.#loadMembers());
  }

  async #loadMembers(): Promise<void> {
    const after = this.#state.moreMembers;
    if (after === null) return;
    const { members, hasMore } = await this.#host.command("room:members", { roomId: this.id, after });
    this.#host.apply(this.id, { type: "more_members", members, hasMore, continued: true });
  }

  /** Marks everything up to a message as read. */
  read(messageId: number): Promise<void> {
    if (messageId <= this.#state.lastRead) return Promise.resolve();
    const at = new Date().toISOString();
    this.#host.apply(this.id, { type: "message:read", roomId: this.id, userId: this.#host.userId, messageId, at });
    return quiet(this.#host.command("message:read", { roomId: this.id, messageId }).then(() => {}));
  }

  /** Lets the unread count begin before a message again. */
  markUnread(messageId: number): Promise<void> {
    return quiet(this.#host.command("message:unread", { roomId: this.id, messageId }).then(() => {}));
  }

  edit(messageId: number, content: string): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:edit", { roomId: this.id, messageId, content }));
  }
  delete(messageId: number, reason?: string): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:delete", { roomId: this.id, messageId, reason }));
  }
  react(messageId: number, emoji: string): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:react", { roomId: this.id, messageId, emoji }));
  }
  unreact(messageId: number, emoji: string): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:unreact", { roomId: this.id, messageId, emoji }));
  }
  pin(messageId: number): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:pin", { roomId: this.id, messageId }));
  }
  unpin(messageId: number): Promise<RecordedAck> {
    return this.#settled(this.#host.command("message:unpin", { roomId: this.id, messageId }));
  }

  /** Ends the membership. */
  leave(): Promise<RecordedAck> {
    return this.#settled(this.#host.command("room:leave", { roomId: this.id }));
  }

  /** Shows the user as typing for some seconds; call it at each key press. */
  startTyping(): void {
    const now = Date.now();
    if (now - this.#typedAt < TYPING_MS && now >= this.#typedAt) return;
    this.#typedAt = now;
    this.#host.lossy("typing:start", { roomId: this.id });
  }
  stopTyping(): void {
    if (!this.#typedAt) return;
    this.#typedAt = 0;
    this.#host.lossy("typing:stop", { roomId: this.id });
  }

  /** Resolves with an ack when the room also shows its effect. */
  #settled(command: Promise<RecordedAck>): Promise<RecordedAck> {
    return quiet(command.then(async (ack) => (await this.#host.settled(this.id, ack.seq), ack)));
  }

  /** @internal */
  update(change: { state?: RoomState; pending?: readonly PendingMessage[]; joined?: boolean; silently?: boolean }): void {
    if (change.state) {
      if (change.state.messages !== this.#state.messages) this.#messages = undefined;
      if (change.state.members !== this.#state.members) this.#members = undefined;
      this.#state = change.state;
    }
    if (change.pending) {
      this.#pending = change.pending;
      this.#messages = undefined;
    }
    if (change.joined !== undefined) this.#joined = change.joined;
    if (change.silently) return;
    if (change.pending) this.emit("change", { type: "pending", messageId: null, message: change.pending.at(-1) });
    this.emit("update");
  }

  /** @internal The typing notice ends with the message. */
  typed(): void {
    this.#typedAt = 0;
  }

  /** A loaded message. */
  message(messageId: number): Message | undefined {
    return messageOf(this.#state.messages, messageId);
  }
}

