/*
 * The messages that are not acknowledged yet, sent one after the other.
 *
 * Invariant: a message keeps its place and its `ref` until its own ack or refusal, over connections and over instances
 * with the same storage, so that it has one effect and none overtakes an earlier one. An entry of another instance (a page
 * that was reloaded, or another tab) is sent too, as long as it is stored: if both send it, the `ref` makes them one.
 * The number of entries is bounded: when it is reached, a new one is refused.
 */
import { OnRecordError } from "./errors.js";
import type { MessageSendAck } from "./protocol.js";
import type { Entry, EntryStore } from "./storage.js";

const MOST = 1_000;
const FIRST_PAUSE_MS = 1_000; // after the server could not record a message
const LONGEST_PAUSE_MS = 30_000;

interface Queued extends Entry {
  readonly owner?: string;
}

export interface OutboxHooks {
  /** Sends one message; resolves with its ack, rejects with an OnRecordError. */
  transmit(entry: Entry): Promise<MessageSendAck>;
  sent(entry: Entry, ack: MessageSendAck): void;
  failed(entry: Entry, error: OnRecordError): void;
  /** Entries of other instances were found, or are no longer stored. */
  found(entry: Entry): void;
  dropped(entry: Entry): void;
  /** The entry was taken away: its transmission is not repeated. */
  cancel(entry: Entry): void;
}

export class Outbox {
  #queue: Queued[] = [];
  #store: EntryStore;
  #hooks: OutboxHooks;
  #userId: string | undefined;
  #running = false;
  #open = false;
  #turn = 0; // of start and stop
  #pauses = 0;
  #endPause: (() => void) | undefined;

  constructor(store: EntryStore, hooks: OutboxHooks) {
    this.#store = store;
    this.#hooks = hooks;
  }

  /** Adds a message and stores it. Throws an OnRecordError if there are too many. */
  add(entry: Entry): void {
    if (this.#queue.length >= MOST) throw new OnRecordError("outbox_full", "Too many messages are waiting to be sent.", true);
    this.#queue.push(entry);
    this.#save();
    void this.#run();
  }

  /** The entries of a room, the oldest first. */
  of(roomId: string): Entry[] {
    return this.#queue.filter((entry) => entry.roomId === roomId);
  }

  /** Takes a message away that was not sent yet; returns whether it was there. */
  discard(ref: string): boolean {
    const entry = this.#queue.find((each) => each.ref === ref);
    if (!entry) return false;
    this.#remove(entry);
    this.#hooks.cancel(entry);
    return true;
  }

  /** Begins to send as a user, with what other instances have stored; after `stop`, goes on. */
  async start(userId: string): Promise<void> {
    const turn = ++this.#turn;
    if (userId !== this.#userId) {
      for (const entry of this.#queue) this.#hooks.dropped(entry); // of another user, whose storage keeps them
      this.#queue = [];
    }
    this.#userId = userId;
    const known = new Set(this.#queue.map(({ ref }) => ref));
    const adopted: Queued[] = [];
    for (const [owner, entries] of await this.#store.others(userId)) {
      for (const entry of entries) if (!known.has(entry.ref)) adopted.push({ ...entry, owner });
    }
    if (turn !== this.#turn) return;
    this.#open = true;
    adopted.sort((a, b) => a.at - b.at);
    // Other instances' entries go before the own ones, but never before one that is under way.
    const place = this.#queue.findIndex(({ owner }) => owner === undefined);
    this.#queue.splice(place < 0 ? this.#queue.length : this.#running ? Math.max(place, 1) : place, 0, ...adopted.slice(0, MOST));
    for (const entry of adopted) this.#hooks.found(entry);
    this.#endPause?.();
    void this.#run();
  }

  /** Stops sending; everything stays stored. */
  stop(): void {
    this.#turn += 1;
    this.#open = false;
    this.#endPause?.();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#open && this.#queue.length) await this.#sendFirst(this.#queue[0] as Queued);
    } finally {
      this.#running = false;
    }
  }

  async #sendFirst(entry: Queued): Promise<void> {
    const userId = this.#userId as string;
    if (entry.owner !== undefined && !(await this.#store.has(userId, entry.owner, entry.ref))) {
      this.#remove(entry);
      return this.#hooks.dropped(entry);
    }
    try {
      const ack = await this.#hooks.transmit(entry);
      this.#pauses = 0;
      if (!this.#remove(entry)) return undefined;
      return this.#hooks.sent(entry, ack);
    } catch (error) {
      return this.#refused(entry, error as OnRecordError);
    }
  }

  async #refused(entry: Queued, error: OnRecordError): Promise<void> {
    if (!this.#queue.includes(entry)) return undefined; // it was discarded
    if (!this.#open && error.code !== "too_large") return undefined;
    if (error.retryable) {
      const wait = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#pauses++);
      return this.#pause(wait * (0.5 + Math.random() / 2));
    }
    this.#remove(entry);
    return this.#hooks.failed(entry, error);
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #remove(entry: Queued): boolean {
    const place = this.#queue.indexOf(entry);
    if (place < 0) return false;
    this.#queue.splice(place, 1);
    if (entry.owner === undefined) this.#save();
    else if (this.#userId !== undefined) void this.#store.remove(this.#userId, entry.owner, entry.ref);
    return true;
  }

  #save(): void {
    if (this.#userId !== undefined) this.#store.write(this.#userId, this.#queue.filter(({ owner }) => owner === undefined));
  }
}
