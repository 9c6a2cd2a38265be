/*
 * Commands that have no answer yet.
 *
 * Invariant: a command leaves only with its own ack or error, and until then keeps its `ref`, so that sending it again has
 * one effect. When the server refuses by its rate, everything waits for `retryAfter` seconds and is then sent by itself.
 * The number of commands is bounded: when it is reached, a new one is refused at once.
 */
import { OnRecordError, errorOf } from "./errors.js";
import type { ErrorFrame } from "./protocol.js";
import { newRef } from "./refs.js";
import type { Frame } from "./transport.js";

const MOST = 256;
const MOST_UNDER_WAY = 16;
const ANSWER_MS = 15_000;
const LARGEST_FRAME = 128 * 1024; // bytes; the server closes the connection for good at a larger one
const LONGEST_HOLD_S = 30; // for which everything waits; a longer refusal is an answer, or holds the patient command alone
const LONGEST_STEP_MS = 60_000; // of a wait, since a clock may jump

interface Command {
  type: string;
  fields: object;
  ref: string;
  patient: boolean;
  once: boolean;
  onAck: ((ack: Frame) => void) | undefined;
  underWay: boolean;
  notBefore: number;
  timer?: ReturnType<typeof setTimeout>;
  resolve(ack: Frame): void;
  reject(error: OnRecordError): void;
}

export interface SendOptions {
  ref?: string;
  patient?: boolean;
  once?: boolean;
  onAck?: (ack: Frame) => void;
}

export class Commands {
  #commands = new Map<string, Command>(); // by ref, the oldest first
  #write: (frame: Frame) => void;
  #unanswered: () => void;
  #open = false;
  #holdUntil = 0;
  #hold: ReturnType<typeof setTimeout> | undefined;

  /** `write` puts a frame on the wire; `unanswered` is called when an answer is overdue, since then the line is dead. */
  constructor(write: (frame: Frame) => void, unanswered: () => void) {
    this.#write = write;
    this.#unanswered = unanswered;
  }

  /**
   * Resolves with the ack; rejects with an OnRecordError. A `patient` command waits out every refusal by rate; one that is
   * sent `once` fails with its connection. `onAck` is called before the next frame is looked at.
   */
  send(type: string, fields: object, { ref = newRef(), patient = false, once = false, onAck }: SendOptions = {}): Promise<Frame> {
    if (isTooLarge(fields)) return Promise.reject(new OnRecordError("message_too_long", "The command is larger than a frame may be."));
    if (once && !this.#open) return Promise.reject(new OnRecordError("connection_lost", "There is no connection.", true));
    if (this.#commands.size >= MOST && !patient) {
      return Promise.reject(new OnRecordError("outbox_full", "Too many commands are waiting for their answers.", true));
    }
    return new Promise((resolve, reject) => {
      this.#commands.set(ref, { type, fields, ref, patient, once, onAck, underWay: false, notBefore: 0, resolve, reject });
      this.#pump();
    });
  }

  /** Gives an ack or error to the command that it answers. */
  answer(frame: Frame): void {
    const command = this.#commands.get(frame.ref ?? "");
    if (!command) return;
    clearTimeout(command.timer);
    command.underWay = false;
    const wait = frame.type === "error" && frame["code"] === "too_many_requests" ? Number(frame["retryAfter"] ?? 1) : undefined;
    if (wait !== undefined && wait <= LONGEST_HOLD_S) this.#holdUntil = Math.max(this.#holdUntil, Date.now() + wait * 1000);
    else if (wait !== undefined && command.patient) command.notBefore = Date.now() + wait * 1000;
    else this.#finish(command, frame);
    this.#pump();
  }

  /** On a new connection: everything again, in order. */
  resume(): void {
    this.#open = true;
    this.#pump();
  }

  /** Between connections nothing is answered, and nothing is late. */
  pause(): void {
    this.#open = false;
    clearTimeout(this.#hold);
    for (const command of this.#commands.values()) {
      clearTimeout(command.timer);
      command.underWay = false;
      if (!command.once) continue;
      this.#commands.delete(command.ref);
      command.reject(new OnRecordError("connection_lost", "The connection ended before the answer.", true));
    }
  }

  /** Takes a command away, which is then not sent again. */
  cancel(ref: string): void {
    const command = this.#commands.get(ref);
    if (!command) return;
    clearTimeout(command.timer);
    this.#commands.delete(ref);
    command.reject(new OnRecordError("closed", "The command was taken back.", true));
  }

  /** Ends every command with an error. */
  abandon(error: OnRecordError): void {
    this.pause();
    const commands = [...this.#commands.values()];
    this.#commands.clear();
    this.#holdUntil = 0;
    for (const command of commands) command.reject(error);
  }

  #finish(command: Command, frame: Frame): void {
    this.#commands.delete(command.ref);
    if (frame.type === "error") command.reject(errorOf(frame as unknown as ErrorFrame));
    else {
      command.onAck?.(frame);
      command.resolve(frame);
    }
  }

  /** Sends what may be sent now, the oldest first. */
  #pump(): void {
    if (!this.#open) return;
    const now = Date.now();
    if (this.#holdUntil > now) return this.#pumpLater(this.#holdUntil - now);
    let underWay = [...this.#commands.values()].filter((command) => command.underWay).length;
    for (const command of this.#commands.values()) {
      if (!this.#open || underWay >= MOST_UNDER_WAY) return;
      if (command.notBefore > now) this.#pumpLater(command.notBefore - now);
      if (command.underWay || command.notBefore > now) continue;
      underWay += 1;
      this.#transmit(command);
    }
  }

  #pumpLater(wait: number): void {
    clearTimeout(this.#hold);
    this.#hold = setTimeout(() => this.#pump(), Math.min(wait, LONGEST_STEP_MS));
  }

  #transmit(command: Command): void {
    command.underWay = true;
    command.timer = setTimeout(this.#unanswered, ANSWER_MS);
    this.#write({ type: command.type, ref: command.ref, ...command.fields });
  }
}

function isTooLarge(fields: object): boolean {
  const text = JSON.stringify(fields);
  return text.length * 3 > LARGEST_FRAME - 200 && new TextEncoder().encode(text).length > LARGEST_FRAME - 200;
}
