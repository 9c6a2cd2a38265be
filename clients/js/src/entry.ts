/*
 * One room of the client: its state, whether its events arrive, and who waits for it.
 *
 * Invariant: a missing event is asked for again once. A series that the server then sends again in the same way is
 * accepted, so a server that leaves out a number does not keep the client busy.
 */
import type { OnRecordError } from "./errors.js";
import { emptyRoom, type RoomState } from "./model.js";

const SETTLE_MS = 1_000;

export class RoomEntry {
  state: RoomState;
  /** Whether events arrive, from a cursor on. */
  attached = false;
  attaching = false;
  member = false;
  /** Why the messages are loaded again, until they are. */
  reset: string | undefined;
  /** Which join of this client was the latest. */
  joins = 0;
  #last: number | undefined; // numbered event of an unbroken series
  #gap: number | undefined; // the event after which one was missing
  #waiting: { resolve(): void; reject(error: OnRecordError): void }[] = [];
  #settling = new Map<() => void, number>(); // to the seq that is waited for

  constructor(roomId: string, limit: number) {
    this.state = emptyRoom(roomId, limit);
  }

  /** Whether someone waits for the room to be loaded. */
  get isAwaited(): boolean {
    return this.#waiting.length > 0;
  }

  /** Resolves when the messages are loaded. */
  loaded(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  resolve(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  reject(error: OnRecordError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** The next numbered event begins a series. */
  beginSeries(): void {
    this.#last = undefined;
  }

  /** Whether events before this one are missing, and have not been asked for again yet. */
  isGap(seq: number): boolean {
    const missing = this.state.kept && this.#last !== undefined && seq > this.#last + 1 && this.#gap !== this.#last;
    if (missing) this.#gap = this.#last;
    else this.#last = seq;
    return missing;
  }

  /** Resolves when the event `seq` was received, or does not come soon. */
  settled(seq: number): Promise<void> {
    if (!this.attached || Math.max(this.state.head, this.state.joinHead) >= seq) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#settling.delete(done);
        resolve();
      };
      const timer = setTimeout(done, SETTLE_MS);
      this.#settling.set(done, seq);
    });
  }

  /** The events up to `seq` were received; without it, none will be for now. */
  settle(seq = Infinity): void {
    for (const [done, awaited] of [...this.#settling]) if (awaited <= seq) done();
  }
}
