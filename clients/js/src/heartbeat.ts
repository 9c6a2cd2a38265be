/*
 * Notices that a connection is dead although it is not closed: browsers answer the server's pings out of sight, so an
 * idle line looks like a dead one.
 *
 * Invariant: silence of `interval` + `timeout` ends the connection, and nothing is sent while frames arrive.
 */

const LATE_MS = 10_000; // a timer this late was suspended, as in a laptop that slept
const PROBE_MS = 5_000; // then the answer has to come sooner

export class Heartbeat {
  #ping: () => void;
  #dead: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #interval = 0;
  #timeout = 0;
  #receivedAt = 0;
  #answered = false;

  /** `ping()` sends a frame that the server answers; `dead()` is called once, if no answer came. */
  constructor(ping: () => void, dead: () => void) {
    this.#ping = ping;
    this.#dead = dead;
  }

  /** Begins on a new connection; seconds. */
  start(interval = 25, timeout = 20): void {
    this.#interval = interval * 1000;
    this.#timeout = timeout * 1000;
    this.received();
    this.#await(this.#interval);
  }

  /** A frame has arrived. */
  received(): void {
    this.#receivedAt = Date.now();
    this.#answered = true;
  }

  /** Checks the connection now. */
  probe(): void {
    if (this.#timer !== undefined) this.#send(Math.min(this.#timeout, PROBE_MS));
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #await(wait: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check(), wait);
  }

  #check(): void {
    const late = Date.now() - (this.#receivedAt + this.#interval);
    if (late < 0) this.#await(-late);
    else this.#send(late > LATE_MS ? Math.min(this.#timeout, PROBE_MS) : this.#timeout);
  }

  #send(patience: number): void {
    this.#answered = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#answered ? this.#check() : this.#die()), patience);
    this.#ping();
  }

  #die(): void {
    this.stop();
    this.#dead();
  }
}
