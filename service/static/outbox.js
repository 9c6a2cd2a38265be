/*
 * The commands that have no answer yet.
 *
 * Invariant: a command leaves only with its own ack or error, and until then keeps its place and its `ref`, so that
 * sending it again has one effect. Messages are sent one after the other, so that a refused one is not overtaken. When
 * the server refuses by its rate, everything waits for `retryAfter` seconds and is then sent by itself. The outbox is
 * bounded: when it is full, a new command is refused at once.
 */

const MAX_PENDING = 256;
const MOST_UNDER_WAY = 16;
const ANSWER_MS = 15_000;
const LONGEST_HOLD_MS = 30_000; // a refusal for longer is an answer for the person

/** The server's answer to a command it did not carry out, or ours if it never reached the server. */
export class CommandError extends Error {
  constructor({ code, message, retryable, retryAfter }) {
    super(message);
    this.code = code;
    this.retryable = retryable === true;
    this.retryAfter = retryAfter;
  }
}

/** A ref for one command. `randomUUID` exists in secure contexts only; a server on a home network is none. */
export function newRef() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** For a command that surely never left; `unconfirmed` below is for one that may have had its effect. */
export function unsent(message) {
  return new CommandError({ code: "not_connected", message, retryable: true });
}

function unconfirmed() {
  return new CommandError({ code: "unconfirmed", message: "The connection ended before the server answered.", retryable: true });
}

/** What is out of date by the time it could be sent again. */
const isLossy = ({ type }) => type.startsWith("typing:") || type === "presence:set";

export class Outbox {
  #commands = new Map(); // ref -> command, oldest first
  #write;
  #unanswered;
  #open = false;
  #hold = null; // the timer for which everything waits

  /** `write(text)` puts a frame on the wire; `unanswered()` is called when the line is dead. */
  constructor({ write, unanswered }) {
    this.#write = write;
    this.#unanswered = unanswered;
  }

  /** Keeps a command until it is answered. Resolves with the ack, rejects with a CommandError. */
  add(type, fields, ref) {
    if (this.#commands.size >= MAX_PENDING) return Promise.reject(unsent("Too much is waiting to be sent already."));
    return new Promise((resolve, reject) => {
      this.#commands.set(ref, { type, fields, ref, resolve, reject, underWay: false });
      this.#pump();
    });
  }

  /** Hands an ack or error to the command it answers, which is returned; undefined if there is none. */
  answer(frame) {
    const command = this.#commands.get(frame.ref);
    if (!command) return undefined;
    clearTimeout(command.timer);
    command.underWay = false;
    if (this.#retries(command, frame)) this.#wait(frame.retryAfter * 1000);
    else this.#finish(command, frame);
    this.#pump();
    return command;
  }

  /** On a new connection: everything again, in order. */
  resend() {
    const commands = [...this.#commands.values()];
    this.#commands.clear();
    for (const command of commands) {
      // Joining is idempotent, and what it is wanted for (the first page, live events) belongs to the connection: ask anew.
      if (command.type === "room:join") command.ref = newRef();
      this.#commands.set(command.ref, command);
    }
    this.#open = true;
    this.#pump();
  }

  /** Between connections nobody answers, and nothing is late. */
  pause() {
    this.#open = false;
    clearTimeout(this.#hold);
    this.#hold = null;
    for (const command of this.#commands.values()) {
      clearTimeout(command.timer);
      command.underWay = false;
    }
  }

  abandon() {
    this.pause();
    for (const command of this.#commands.values()) command.reject(unconfirmed());
    this.#commands.clear();
  }

  #retries(command, { type, code, retryAfter = Infinity }) {
    return type === "error" && code === "too_many_requests" && retryAfter * 1000 <= LONGEST_HOLD_MS && !isLossy(command);
  }

  #finish(command, frame) {
    this.#commands.delete(command.ref);
    if (frame.type === "error") command.reject(new CommandError(frame));
    else command.resolve(frame);
  }

  #wait(milliseconds) {
    clearTimeout(this.#hold);
    this.#hold = setTimeout(() => {
      this.#hold = null;
      this.#pump();
    }, milliseconds);
  }

  /** Sends what may be sent now, the oldest first. */
  #pump() {
    if (!this.#open || this.#hold !== null) return;
    const commands = [...this.#commands.values()];
    let underWay = commands.filter((command) => command.underWay).length;
    let messages = false; // whether an earlier one is not answered yet
    for (const command of commands) {
      const waits = command.type === "message:send" && messages;
      messages ||= command.type === "message:send";
      if (command.underWay || waits || underWay >= MOST_UNDER_WAY) continue;
      underWay += 1;
      this.#transmit(command);
    }
  }

  #transmit(command) {
    command.underWay = true;
    // A browser cannot see pings: a command that is not answered shows that the line is dead.
    command.timer = setTimeout(this.#unanswered, ANSWER_MS);
    this.#write(JSON.stringify({ type: command.type, ref: command.ref, ...command.fields }));
  }
}
