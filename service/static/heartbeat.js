/*
 * Notices that a connection is dead although it is not closed. Browsers answer the server's pings out of sight, so a page
 * that receives nothing cannot tell an idle line from a dead one by itself.
 *
 * Invariant: silence of `interval` + `timeout` seconds ends the connection, and nothing is sent while frames arrive.
 */

const PING_INTERVAL = 25;
const PING_TIMEOUT = 20;

export class Heartbeat {
  #ping;
  #dead;
  #timer = null;
  #interval;
  #timeout;
  #heardAt;

  /** `ping()` sends a frame that the server answers; `dead()` is called once, if it did not. */
  constructor({ ping, dead }) {
    this.#ping = ping;
    this.#dead = dead;
  }

  /** Begins on a new connection, with seconds from its `connected` frame. */
  start({ pingInterval = PING_INTERVAL, pingTimeout = PING_TIMEOUT }) {
    this.#interval = pingInterval * 1000;
    this.#timeout = pingTimeout * 1000;
    this.heard();
    this.#await(this.#interval);
  }

  /** A frame has arrived. */
  heard() {
    this.#heardAt = Date.now();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #await(wait) {
    this.#timer = setTimeout(() => this.#check(), wait);
  }

  #check() {
    const left = this.#heardAt + this.#interval - Date.now();
    if (left > 0) return this.#await(left);
    const heardAt = this.#heardAt;
    this.#timer = setTimeout(() => (this.#heardAt > heardAt ? this.#check() : this.#die()), this.#timeout);
    return this.#ping();
  }

  #die() {
    this.stop();
    this.#dead();
  }
}
