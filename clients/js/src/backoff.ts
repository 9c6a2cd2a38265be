/*
 * How long to wait before the next attempt to connect.
 *
 * Invariant: the first attempt after a connection comes within a second, unless the server asked for a longer wait.
 */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const LIMITED_MS = 5_000; // after too many requests
const LONGEST_EARLY_MS = 60_000; // a clock that was wrong may be set right

const TOKEN_NOT_YET_VALID = 4002;
const TOO_MANY_REQUESTS = 4009;

export class Backoff {
  #attempts = 0;
  #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  reset(): void {
    this.#attempts = 0;
  }

  /**
   * Returns the milliseconds to wait after a connection ended with `code`. `retryAfter`: seconds, if the server named them.
   * The jitter keeps the clients of a restarted server from returning all at once.
   */
  next(code?: number, retryAfter?: number): number {
    const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#attempts++, 10));
    return atLeast(code, retryAfter) + ceiling * (0.5 + this.#random() / 2);
  }
}

function atLeast(code?: number, retryAfter?: number): number {
  const named = retryAfter === undefined ? undefined : Math.min(retryAfter * 1000, LONGEST_EARLY_MS);
  if (code === TOO_MANY_REQUESTS) return named ?? LIMITED_MS;
  if (code === TOKEN_NOT_YET_VALID) return named ?? LIMITED_MS;
  return 0;
}
