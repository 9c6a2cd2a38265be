/*
 * One connection, kept alive: asks for tokens, connects, refreshes the token, notices a dead line, and comes back.
 * It knows neither commands nor rooms.
 *
 * Invariant: frames of a link that was given up are never looked at.
 */
import { Backoff } from "./backoff.js";
import { OnRecordError, errorOf } from "./errors.js";
import { Heartbeat } from "./heartbeat.js";
import type { Connect, Connected, ErrorFrame } from "./protocol.js";
import { FINAL } from "./protocol.js";
import { newRef } from "./refs.js";
import type { Dial, Frame, Link } from "./transport.js";

export type ConnectionState = "connecting" | "connected" | "reconnecting" | "closed";

const PROTOCOL = 1;
const CONNECT_MS = 15_000;
const REFRESH_AT = 0.8; // of the time that a token has left
const SOONEST_REFRESH_MS = 1_000;
const SKEWED_REFRESH_MS = 30_000; // the server has accepted a token that has expired by this clock
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const WAKE_PAUSE_MS = 1_000;

export interface ConnectionHooks {
  token(): Promise<string> | string;
  /** What to resume. */
  resume(): Pick<Connect, "epoch" | "rooms">;
  connected(frame: Connected): void;
  /** A frame of the server that is not about the connection itself. */
  frame(frame: Frame): void;
  /** There is no connection now; with an error, and none will come. */
  down(error?: OnRecordError): void;
  state(state: ConnectionState, error?: OnRecordError): void;
  /** A failure that the application may want to show, while the client tries again. */
  problem(error: OnRecordError): void;
}

export class Connection {
  state: ConnectionState = "closed";
  #dial: Dial;
  #hooks: ConnectionHooks;
  #link: Link | undefined;
  #attempt = 0; // which link or attempt is the present one
  #wasConnected = false;
  #refusal: OnRecordError | undefined; // an error before `connected`
  #backoff = new Backoff();
  #heartbeat = new Heartbeat(() => this.#ping(), () => this.lost());
  #timer: ReturnType<typeof setTimeout> | undefined; // of the attempt, or until the next one
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #waiting = false;
  #pingRef: string | undefined;
  #refreshRef: string | undefined;
  #wokenAt = 0;

  constructor(dial: Dial, hooks: ConnectionHooks) {
    this.#dial = dial;
    this.#hooks = hooks;
  }

  open(): void {
    if (this.state !== "closed") return;
    this.#wasConnected = false;
    this.#backoff.reset();
    void this.#connect();
  }

  close(): void {
    if (this.state !== "closed") this.#stop(new OnRecordError("closed", "The connection was closed.", true), undefined);
  }

  /** The network may be back, or the device awake: connects or checks the connection now. */
  wake(): void {
    if (Date.now() - this.#wokenAt < WAKE_PAUSE_MS) return;
    this.#wokenAt = Date.now();
    if (this.#waiting) void this.#connect();
    else if (this.state === "connected") this.#heartbeat.probe();
  }

  /** Sends a frame, if there is a connection. */
  send(frame: Frame): void {
    if (this.state !== "connected") return;
    try {
      this.#link?.send(frame);
    } catch {
      this.lost();
    }
  }

  /** Gives the present link up, since it does not work. */
  lost(code?: number, error?: OnRecordError): void {
    const why = error ?? this.#refusal ?? new OnRecordError("connection_lost", reason(code), true);
    const final = code !== undefined && code in FINAL;
    if (final) this.#stop(error ?? this.#refusal ?? new OnRecordError(FINAL[code] as "erased", reason(code)));
    else this.#retreat(why, code);
  }

  async #connect(): Promise<void> {
    clearTimeout(this.#timer);
    this.#waiting = false;
    const attempt = ++this.#attempt;
    this.#refusal = undefined;
    this.#timer = setTimeout(() => this.lost(), CONNECT_MS);
    this.#report(this.#wasConnected ? "reconnecting" : "connecting");
    try {
      const token = await this.#token();
      if (attempt !== this.#attempt) return;
      this.#link = this.#dial({ type: "connect", protocol: PROTOCOL, token, ...this.#hooks.resume() }, {
        frame: (frame) => attempt === this.#attempt && this.#guarded(frame),
        closed: (code, error) => attempt === this.#attempt && this.lost(code, error),
      });
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      const error = cause instanceof OnRecordError ? cause : new OnRecordError("not_supported", `There can be no connection: ${String(cause)}`, false, { cause });
      if (error.retryable) this.#hooks.problem(error);
      if (error.retryable) this.#retreat(error);
      else this.#stop(error);
    }
  }

  /** Raises an OnRecordError; it is final if the application's error has `retryable: false`. */
  async #token(): Promise<string> {
    try {
      const token = await this.#hooks.token();
      if (typeof token === "string") return token;
    } catch (cause) {
      const final = (cause as { retryable?: boolean } | null)?.retryable === false;
      throw new OnRecordError("token_failed", `There is no token: ${cause instanceof Error ? cause.message : String(cause)}`, !final, { cause });
    }
    throw new OnRecordError("token_failed", "The token function did not return a text.", true);
  }

  /** A frame that cannot be read is reported; before `connected` there is nothing to go on with. */
  #guarded(frame: Frame): void {
    try {
      this.#receive(frame);
    } catch (cause) {
      const error = new OnRecordError("malformed", `The frame ${frame.type} cannot be read.`, true, { cause });
      this.#hooks.problem(error);
      if (frame.type === "connected") this.lost(undefined, error);
    }
  }

  #receive(frame: Frame): void {
    this.#heartbeat.received();
    if (this.state !== "connected") this.#begin(frame);
    else if (frame.ref !== undefined && frame.ref === this.#pingRef) this.#pingRef = undefined;
    else if (frame.ref !== undefined && frame.ref === this.#refreshRef) this.#refreshed(frame);
    else this.#hooks.frame(frame);
  }

  #begin(frame: Frame): void {
    if (frame.type === "connected") this.#welcome(frame as unknown as Connected);
    if (frame.type !== "error") return;
    this.#refusal = errorOf(frame as unknown as ErrorFrame);
    // The server closes by itself after a refused token; after another refused field it waits.
    if (!this.#refusal.code.startsWith("token_")) this.#refused(this.#refusal);
  }

  #refused(error: OnRecordError): void {
    if (error.retryable || error.code === "too_many_rooms") this.#retreat(error);
    else this.#stop(error);
  }

  #welcome(frame: Connected): void {
    clearTimeout(this.#timer);
    this.#backoff.reset();
    this.#wasConnected = true;
    this.#refusal = undefined;
    if (!this.#link?.alive) this.#heartbeat.start(frame.pingInterval, frame.pingTimeout);
    this.#scheduleRefresh(frame.expiresAt);
    this.state = "connected";
    this.#hooks.connected(frame);
    this.#hooks.state("connected");
  }

  #ping(): void {
    this.#pingRef = newRef();
    this.send({ type: "ping", ref: this.#pingRef });
  }

  #retreat(error: OnRecordError, code?: number): void {
    this.#release();
    this.#waiting = true;
    this.#timer = setTimeout(() => void this.#connect(), this.#backoff.next(code, error.retryAfter));
    this.#report(this.#wasConnected ? "reconnecting" : "connecting", error);
    this.#hooks.down();
  }

  #stop(error: OnRecordError, shown: OnRecordError | undefined = error): void {
    this.#release();
    this.#report("closed", error.code === "closed" ? undefined : shown);
    this.#hooks.down(error);
  }

  #release(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#refreshTimer);
    this.#heartbeat.stop();
    this.#waiting = false;
    this.#attempt += 1;
    const link = this.#link;
    this.#link = undefined;
    try {
      link?.close();
    } catch {
      // The link is given up anyway.
    }
  }

  #scheduleRefresh(expiresAt: string): void {
    clearTimeout(this.#refreshTimer);
    const left = Date.parse(expiresAt) - Date.now();
    if (Number.isNaN(left)) return;
    const wait = left <= 0 ? SKEWED_REFRESH_MS : Math.min(LONGEST_TIMER_MS, Math.max(SOONEST_REFRESH_MS, left * REFRESH_AT));
    this.#refreshTimer = setTimeout(() => void this.#refresh(expiresAt), wait);
  }

  async #refresh(expiresAt: string): Promise<void> {
    const attempt = this.#attempt;
    try {
      const token = await this.#token();
      if (attempt !== this.#attempt) return;
      this.#refreshRef = newRef();
      this.send({ type: "auth:refresh", ref: this.#refreshRef, token });
    } catch (error) {
      if (attempt === this.#attempt) this.#hooks.problem(error as OnRecordError);
    }
    // Until the answer: the present token is still valid, and when it is not, close code 4001 brings a new one.
    if (attempt === this.#attempt) this.#scheduleRefresh(expiresAt);
  }

  #refreshed(frame: Frame): void {
    this.#refreshRef = undefined;
    if (frame.type === "ack") this.#scheduleRefresh(frame["expiresAt"]);
    else this.#hooks.problem(errorOf(frame as unknown as ErrorFrame));
  }

  #report(state: ConnectionState, error?: OnRecordError): void {
    if (state === this.state) return;
    this.state = state;
    this.#hooks.state(state, error);
  }
}

function reason(code: number | undefined): string {
  return code === undefined ? "The server cannot be reached." : `The connection ended with the code ${code}.`;
}
