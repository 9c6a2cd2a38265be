/*
 * The client: one user's connection, rooms and messages on their way.
 *
 * Invariant: nothing throws into the event loop. What fails without a caller to learn of it is emitted as `error`.
 */
import { announce } from "./announce.js";
import { awake } from "./awake.js";
import type { Message } from "./changes.js";
import { Commands } from "./commands.js";
import { Connection, type ConnectionState } from "./connection.js";
import { Emitter } from "./emitter.js";
import { OnRecordError, quiet } from "./errors.js";
import type { RoomState } from "./model.js";
import type { Acks, Commands as CommandTable, Connected, Invitation, MessageSendAck, ServerEvent } from "./protocol.js";
import { newRef } from "./refs.js";
import { Room, type Fields, type RoomHost } from "./room.js";
import { Rooms } from "./rooms.js";
import { Sending } from "./sending.js";
import { EntryStore, type ClientStorage } from "./storage.js";
import { webSocketDial, type Dial, type Frame, type WebSocketClass } from "./transport.js";

export interface Options {
  /** The address of the endpoint, such as `wss://chat.example/ws`. */
  url: string;
  /** The user's token, or a function that returns one. It is called at each connection, and before the token expires. */
  token: string | (() => string | Promise<string>);
  /** Where messages are kept until they are sent, such as `localStorage`. Without one they are lost at a reload. */
  storage?: ClientStorage | undefined;
  /** The WebSocket class, where there is no global one. */
  WebSocket?: unknown;
  /** The most messages that are kept of a room, besides those that `loadEarlier` loads; 10,000 without it. */
  keep?: number;
  /** Whether the rooms that were not joined here are received too, so that `rooms` stays current; true without it. */
  watch?: boolean;
}

/** A room of `chat.rooms`. */
export interface RoomOverview {
  readonly id: string;
  readonly name: string;
  readonly unread: number;
  readonly mentions: number;
  readonly lastMessage: Message | null;
}

export interface ClientEvents {
  state: [state: ConnectionState, error?: OnRecordError];
  /** `rooms` or `invitations` are different now. */
  rooms: [];
  /** Every event of the server, as it came. */
  event: [event: ServerEvent];
  /** A failure that no caller learns of. */
  error: [error: OnRecordError];
}

const KEEP = 10_000;
const LIST_MS = 1_500; // for which `connect` and `join` wait for the list of rooms

export class OnRecord extends Emitter<ClientEvents> {
  #connection: Connection;
  #commands: Commands;
  #rooms: Rooms;
  #sending: Sending;
  #views = new Map<string, Room>();
  #host: RoomHost;
  #userId = "";
  #end: OnRecordError | undefined;
  #overview: readonly RoomOverview[] | undefined;
  #announced = false;
  #opening: { promise: Promise<void>; resolve(): void; reject(error: OnRecordError): void } | undefined;
  #awake: { stop(): void; notify(): void } | undefined;

  constructor(options: Options) {
    super();
    const token = options.token;
    this.#commands = new Commands((frame) => this.#connection.send(frame), () => this.#connection.lost());
    this.#connection = new Connection(this.dial(options), {
      token: () => (typeof token === "function" ? token() : token),
      resume: () => this.#rooms.resume(),
      connected: (frame) => this.#connected(frame),
      frame: (frame) => this.#receive(frame),
      down: (error) => this.#down(error),
      state: (state, error) => this.#stateChanged(state, error),
      problem: (error) => this.#problem(error),
    });
    this.#rooms = new Rooms(this.#roomsHooks(options));
    this.#sending = new Sending(new EntryStore(options.storage, newRef(), (cause) => this.#storageFailed(cause)), this.#sendingHooks());
    this.#host = this.#roomHost();
  }

  /** @internal How links are opened; the Socket.IO client has its own. */
  protected dial(options: Options): Dial {
    return webSocketDial(options.url, options.WebSocket as WebSocketClass | undefined);
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** The user whose token it is; empty before the first connection. */
  get userId(): string {
    return this.#userId;
  }

  /** The user's rooms, by id, with the counts of unread messages. */
  get rooms(): readonly RoomOverview[] {
    this.#overview ??= this.#rooms
      .members()
      .map(({ roomId, name, unread, mentions, lastMessage }) => ({ id: roomId, name, unread, mentions, lastMessage }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    return this.#overview;
  }

  /** The rooms to which the user is invited. */
  get invitations(): readonly Invitation[] {
    return this.#rooms.invitations;
  }

  /**
   * Connects, and keeps connecting until `close`. Resolves when connected; rejects if the server refuses for good, as it
   * does a wrong token.
   */
  connect(): Promise<void> {
    if (this.state === "connected") return Promise.resolve();
    if (!this.#opening) {
      let [resolve, reject] = [() => {}, (_error: OnRecordError) => {}];
      const promise = quiet(new Promise<void>((done, fail) => ([resolve, reject] = [done, fail])));
      this.#opening = { promise, resolve, reject };
    }
    const { promise } = this.#opening;
    this.#awake ??= awake(() => this.#connection.wake(), () => void this.#rooms.refresh());
    this.#connection.open();
    return promise;
  }

  /** Becomes a member of a room, which is created if the server allows that, and resolves when its messages are loaded. */
  join(roomId: string): Promise<Room> {
    return quiet(this.#join(roomId));
  }

  async #join(roomId: string): Promise<Room> {
    if (this.state === "closed") throw this.#ended();
    const wasMember = this.#rooms.isMember(roomId);
    await this.#rooms.join(roomId);
    const room = this.#view(roomId);
    room.update({ joined: true });
    if (!wasMember) {
      this.#awake?.notify();
      await soon(this.#rooms.refresh()); // has the name
    }
    return room;
  }

  /** A room that was joined here; undefined if it was not. */
  room(roomId: string): Room | undefined {
    return this.#views.get(roomId);
  }

  /** Sends any command of the protocol; resolves with its ack. It is sent again after a reconnect, with the same ref. */
  command<K extends keyof CommandTable>(type: K, fields: Fields<K>): Promise<Acks[K]> {
    if (this.state === "closed") return quiet(Promise.reject(this.#ended()));
    const { ref, ...rest } = fields as { ref?: string };
    return quiet(this.#commands.send(type, rest, { ref }) as unknown as Promise<Acks[K]>);
  }

  /** Closes the connection at once. What was not sent stays stored. */
  close(): Promise<void> {
    this.#awake?.stop();
    this.#awake = undefined;
    this.#connection.close();
    return Promise.resolve();
  }

  #connected(frame: Connected): void {
    if (frame.userId !== this.#userId && this.#userId) this.#forget();
    this.#userId = frame.userId;
    this.#commands.resume();
    const listed = this.#rooms.connected(frame);
    void this.#sending.start(frame.userId);
    const opening = this.#opening;
    this.#opening = undefined;
    if (opening) void soon(listed).then(opening.resolve);
  }

  /** Another user has signed in: nothing of the former one remains in memory. */
  #forget(): void {
    this.#rooms.clear();
    for (const room of this.#views.values()) room.update({ joined: false });
    this.#views.clear();
    this.#listChanged();
  }

  #receive(frame: Frame): void {
    if (frame.type === "ack" || frame.type === "error") return this.#commands.answer(frame);
    const event = frame as unknown as ServerEvent;
    try {
      const wasPending = event.type === "message:new" && this.#sending.received(event);
      this.#rooms.receive(event);
      if (wasPending) this.#views.get(event.roomId)?.update({ pending: this.#sending.of(event.roomId) });
    } catch (cause) {
      // A newer server, or none at all: the state is as before the event.
      this.#problem(new OnRecordError("malformed", `The event ${event.type} cannot be read.`, false, { cause }));
    }
    this.emit("event", event);
  }

  /** Why there is no connection and none will come. */
  #ended(): OnRecordError {
    return this.#end ?? new OnRecordError("closed", "There is no connection: call connect() first.", true);
  }

  #down(error?: OnRecordError): void {
    this.#end = error;
    this.#rooms.down();
    this.#sending.stop(error);
    if (!error) return this.#commands.pause();
    this.#commands.abandon(error);
    this.#rooms.abandon(error);
    this.#opening?.reject(error);
    this.#opening = undefined;
  }

  #stateChanged(state: ConnectionState, error?: OnRecordError): void {
    if (error?.code === "too_many_rooms") this.#rooms.tooMany();
    this.emit("state", state, error);
  }

  #problem(error: OnRecordError): void {
    this.emit("error", error);
  }

  #storageFailed(cause: unknown): void {
    this.#problem(new OnRecordError("storage_failed", `The storage failed: ${String(cause)}`, true, { cause }));
  }

  #listChanged(): void {
    this.#overview = undefined;
    if (this.#announced) return;
    this.#announced = true;
    queueMicrotask(() => {
      this.#announced = false;
      this.emit("rooms");
    });
  }

  #view(roomId: string): Room {
    const known = this.#views.get(roomId);
    if (known) return known;
    const room = new Room(roomId, this.#rooms.state(roomId), this.#host);
    room.update({ pending: this.#sending.of(roomId), joined: this.#rooms.isMember(roomId) });
    this.#views.set(roomId, room);
    return room;
  }

  #roomsHooks(options: Options): ConstructorParameters<typeof Rooms>[0] {
    const client = this;
    return {
      get userId() {
        return client.#userId;
      },
      limit: options.keep ?? KEEP,
      watch: options.watch ?? true,
      send: (type, fields, more) => this.#commands.send(type, fields, more as object) as Promise<any>,
      changed: (roomId, event, before) => this.#roomChanged(roomId, event, before),
      reset: (roomId, reason) => void this.#views.get(roomId)?.emit("reset", { reason }),
      listChanged: () => this.#listChanged(),
      problem: (error) => this.#problem(error),
      reconnect: () => this.#connection.lost(),
    };
  }

  #roomChanged(roomId: string, event?: ServerEvent, before?: RoomState): void {
    const room = this.#views.get(roomId);
    const state = this.#rooms.state(roomId);
    room?.update({ state, joined: this.#rooms.isMember(roomId) });
    if (room && event && before) announce(room, event, before, state);
  }

  #sendingHooks(): ConstructorParameters<typeof Sending>[1] {
    const client = this;
    return {
      get userId() {
        return client.#userId;
      },
      transmit: ({ ref, at: _, owner: __, ...fields }: any) => this.#commands.send("message:send", fields, { ref, patient: true }) as unknown as Promise<MessageSendAck>,
      cancel: (ref) => this.#commands.cancel(ref),
      settled: (roomId, seq) => this.#rooms.settled(roomId, seq),
      changed: (roomId, pending, silently) => this.#views.get(roomId)?.update({ pending, silently }),
      problem: (error) => this.#problem(error),
    };
  }

  #roomHost(): RoomHost {
    const client = this;
    return {
      get userId() {
        return client.#userId;
      },
      command: (type, fields) => this.command(type, fields),
      lossy: (type, fields) => this.#connection.send({ type, ...fields }),
      settled: (roomId, seq) => this.#rooms.settled(roomId, seq),
      apply: (roomId, action) => this.#rooms.apply(roomId, action),
      post: (roomId, content, more, ref) => {
        if (this.state === "closed") return Promise.reject(this.#ended());
        this.#views.get(roomId)?.typed();
        return this.#sending.post(roomId, content, more, ref);
      },
      discard: (roomId, ref) => this.#sending.discard(roomId, ref),
    };
  }
}

/** Waits for the list of rooms, but not for long: it can be late while messages are not. */
function soon(list: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, LIST_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    list.then(done, done);
  });
}
