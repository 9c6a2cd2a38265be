/*
 * The commands that are not finished yet.
 * Its rule: a command leaves only with its own ack or error, and until then keeps its place and its `ref`, so that
 * sending it again has one effect. The box is bounded: when it is full, a new command is refused at once.
 */

const MAX_PENDING = 256;
const ANSWER_MS = 15_000;

/** The server's answer to a command it did not carry out, or ours if it never reached the server. */
export class CommandError extends Error {
  constructor({ code, message, retryable }) {
    super(message);
    this.code = code;
    this.retryable = retryable === true;
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

export class Outbox {
  #commands = new Map(); // ref -> command, oldest first
  #write;
  #unanswered;

  /** `write(text)` puts a frame on the wire; `unanswered()` hears that the line is dead. */
  constructor({ write, unanswered }) {
    this.#write = write;
    this.#unanswered = unanswered;
  }

  /** Keeps a command; with `now` it also goes out. Resolves with the ack, rejects with a CommandError. */
  add(type, fields, ref, now) {
    if (this.#commands.size >= MAX_PENDING) return Promise.reject(unsent("Too much is waiting to be sent already."));
    return new Promise((resolve, reject) => {
      const command = { type, fields, ref, resolve, reject };
      this.#commands.set(ref, command);
      if (now) this.#transmit(command);
    });
  }

  /** Hands an ack or error to the command it answers, which is returned; undefined if there is none. */
  answer(frame) {
    const command = this.#commands.get(frame.ref);
    if (!command) return undefined;
    this.#commands.delete(frame.ref);
    clearTimeout(command.timer);
    if (frame.type === "error") command.reject(new CommandError(frame));
    else command.resolve(frame);
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
      this.#transmit(command);
    }
  }

  /** Between connections nobody answers, and nothing is late. */
  pause() {
    for (const command of this.#commands.values()) clearTimeout(command.timer);
  }

  abandon() {
    this.pause();
    for (const command of this.#commands.values()) command.reject(unconfirmed());
    this.#commands.clear();
  }

  #transmit(command) {
    this.#write(JSON.stringify({ type: command.type, ref: command.ref, ...command.fields }));
    // A browser cannot see pings: a command nobody answers is how it notices a dead line.
    command.timer = setTimeout(this.#unanswered, ANSWER_MS);
  }
}
