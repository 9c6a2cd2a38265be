/*
 * When to ask for the list of rooms, which has the counts: at each connection, and when counts are known to be out of date.
 *
 * Invariant: one question at a time; a question that is asked while another is under way is asked after it.
 */
import type { Invitation, RoomListAck, RoomSummary } from "./protocol.js";

const FIRST_STALE_MS = 1_000;
const LONGEST_STALE_MS = 60_000;

export interface Stamp {
  joins: number;
  gone: number;
}

export interface RoomListHooks {
  ask(after: string | undefined): Promise<RoomListAck>;
  /** What the client knows at the time of the question. */
  stamp(): Stamp;
  listed(rooms: readonly RoomSummary[], invitations: readonly Invitation[], stamp: Stamp): void;
  /** Whether some counts are known to be out of date. */
  stale(): boolean;
}

export class RoomList {
  #hooks: RoomListHooks;
  #asking: Promise<void> | undefined;
  #again: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wait = FIRST_STALE_MS;
  #stopped = false;

  constructor(hooks: RoomListHooks) {
    this.#hooks = hooks;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Resolves when a list that was asked for after the call has been applied, or was refused. */
  refresh(): Promise<void> {
    this.#stopped = false;
    if (this.#again) return this.#again;
    if (this.#asking) {
      this.#again = this.#asking.then(() => {
        this.#again = undefined;
        return this.#stopped ? undefined : this.refresh();
      });
      return this.#again;
    }
    this.#asking = this.#fetch().then(
      () => this.#ended(),
      () => this.#ended(), // the next connection asks again
    );
    return this.#asking;
  }

  /** An invitation came or went. */
  invited(): void {
    this.#later();
  }

  /** Asks soon if counts are out of date, less and less often while that does not help. */
  check(): void {
    if (!this.#hooks.stale()) this.#wait = FIRST_STALE_MS;
    else this.#later();
  }

  #later(): void {
    if (this.#stopped) return;
    // At random, since one expiry or restart makes the counts of many clients stale.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#wait = Math.min(2 * this.#wait, LONGEST_STALE_MS);
      void this.refresh();
    }, this.#wait * (0.5 + Math.random()));
  }

  #ended(): void {
    this.#asking = undefined;
    this.check();
  }

  async #fetch(): Promise<void> {
    const stamp = this.#hooks.stamp();
    const rooms: RoomSummary[] = [];
    const invitations: Invitation[] = [];
    for (let after: string | undefined, more = true; more; ) {
      const page = await this.#hooks.ask(after);
      rooms.push(...page.rooms);
      invitations.push(...page.invitations);
      after = [...page.rooms, ...page.invitations].map(({ roomId }) => roomId).sort().at(-1);
      more = page.hasMore && after !== undefined;
    }
    this.#hooks.listed(rooms, invitations, stamp);
  }
}
