/*
 * The wire contract, from a client's side: one WebSocket, kept alive, and nothing lost or doubled over it.
 * It knows neither the page nor what a message looks like, so it can be copied (with outbox.js, heartbeat.js and
 * closecodes.js) into any other client.
 *
 * Invariant: a room is resumed from the highest seq *received* in an event, never from one merely acknowledged.
 *
 *   const connection = new Connection({ url, getToken });     // getToken(fresh) -> Promise<string>
 *   connection.addEventListener("event", ({ detail }) => ...) // every event, unknown ones too
 *   connection.open();
 *   const { seq } = await connection.send("message:send", { roomId: "general", content: "hello" });
 *
 * Emits `status` {status, reason}, `connected` (the frame), `event` (a frame), `problem` (a CommandError without a command).
 */

import { isFinal, reasonFor, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, TOO_MANY_REQUESTS } from "./closecodes.js";
import { Heartbeat } from "./heartbeat.js";
import { CommandError, newRef, Outbox, unsent } from "./outbox.js";

const PROTOCOL = 1;
const CONNECT_MS = 15_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const LIMITED_WAIT_MS = 5_000;
const LONGEST_EARLY_MS = 60_000; // a clock that was wrong may be set right
const STEADY_MS = 10_000;
const REFRESH_AT_LEAST_MS = 5_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Connection extends EventTarget {
  #url;
  #getToken;
  #socket = null;
  #epoch;
  #heard = new Map(); // roomId -> highest seq
  #attached = new Set(); // rooms whose first page has arrived: only they can be resumed from a cursor
  #attempts = 0;
  #connectedAt = Infinity;
  #freshToken = false;
  #earlyMs = LIMITED_WAIT_MS; // until the token becomes valid
  #timer;
  #refreshTimer;
  #outbox = new Outbox({ write: (text) => this.#socket.send(text), unanswered: () => this.#lost() });
  #pingRef;
  #heartbeat = new Heartbeat({ ping: () => this.#ping(), dead: () => this.#lost() });

  userId = null;
  status = "stopped"; // -> connecting -> connected -> waiting -> connecting ...

  constructor({ url, getToken }) {
    super();
    this.#url = url;
    this.#getToken = getToken;
  }

  /** Connects, or while waiting to, connects now. */
  open() {
    if (this.status === "waiting" || this.status === "stopped") this.#connect();
  }

  close() {
    this.#stop("You signed out.");
  }

  isAttached(roomId) {
    return this.#attached.has(roomId);
  }

  /** Forgets a room, which is not resumed on the next connection. */
  forget(roomId) {
    this.#attached.delete(roomId);
    this.#heard.delete(roomId);
  }

  /** Resolves with the ack; rejects with a CommandError. Waits for the next connection if there is none. */
  send(type, fields = {}, ref = newRef()) {
    if (this.status === "stopped") return Promise.reject(unsent("There is no connection."));
    return this.#outbox.add(type, fields, ref);
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#report("connecting");
    const place = (this.#socket = {}); // so that a close() while the token is fetched is noticed
    try {
      const token = await this.#getToken(this.#freshToken);
      if (this.#socket === place) this.#dial(token);
    } catch (error) {
      if (this.#socket === place) this.#retreat(error.message, error.final);
    }
  }

  #dial(token) {
    const socket = (this.#socket = new WebSocket(this.#url));
    const rooms = Object.fromEntries([...this.#attached].map((roomId) => [roomId, this.#heard.get(roomId) ?? 0]));
    const hello = { type: "connect", protocol: PROTOCOL, token, epoch: this.#epoch, rooms };
    let opened = false;
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => {
      this.#lost(code);
      if (!opened) this.#explain();
    };
    this.#timer = setTimeout(() => this.#lost(), CONNECT_MS);
  }

  #receive(frame) {
    this.#heartbeat.heard();
    if (frame.type === "connected") return this.#welcome(frame);
    if (frame.type === "ack" || frame.type === "error") return this.#answer(frame);
    this.#follow(frame);
    this.#emit("event", frame);
  }

  #welcome(frame) {
    clearTimeout(this.#timer);
    this.#freshToken = false;
    this.#connectedAt = Date.now();
    this.#epoch = frame.epoch;
    this.userId = frame.userId;
    for (const [roomId, { recovered }] of Object.entries(frame.rooms ?? {})) {
      if (!recovered) this.forget(roomId);
    }
    this.#report("connected");
    this.#scheduleRefresh(frame.expiresAt);
    this.#heartbeat.start(frame);
    this.#outbox.resend();
    this.#emit("connected", frame);
  }

  #answer(frame) {
    if (frame.ref === this.#pingRef) return;
    const command = this.#outbox.answer(frame);
    // A member receives the events after the head, a new one those from the join on.
    if (command?.type === "room:join" && !this.#attached.has(command.fields.roomId)) this.#hear(command.fields.roomId, frame.seq - 1);
    if (command || frame.type !== "error") return;
    if (frame.code === "token_not_yet_valid") this.#earlyMs = Math.min(frame.retryAfter * 1000, LONGEST_EARLY_MS);
    else this.#emit("problem", new CommandError(frame));
  }

  #follow({ type, roomId, seq, userId, messages }) {
    if (roomId === undefined) return;
    this.#hear(roomId, seq);
    if (type === "message:history") {
      for (const message of messages) this.#hear(roomId, message.seq);
      this.#attached.add(roomId);
    }
    const left = type === "room:user_left" && userId === this.userId && seq !== undefined;
    if (left || type === "room:unsubscribed") this.#attached.delete(roomId);
  }

  #hear(roomId, seq) {
    if (Number.isInteger(seq) && seq > (this.#heard.get(roomId) ?? 0)) this.#heard.set(roomId, seq);
  }

  /** Any answer will do, also that of a server which does not know the command. */
  #ping() {
    this.#pingRef = newRef();
    this.#socket.send(JSON.stringify({ type: "ping", ref: this.#pingRef }));
  }

  #lost(code) {
    if (code === TOKEN_EXPIRED) this.#freshToken = true;
    const wait = { [TOO_MANY_REQUESTS]: LIMITED_WAIT_MS, [TOKEN_NOT_YET_VALID]: this.#earlyMs }[code] ?? 0;
    this.#earlyMs = LIMITED_WAIT_MS;
    this.#retreat(reasonFor(code), isFinal(code), wait);
  }

  /** Asks over HTTP why the WebSocket did not open: browsers keep the answer to an upgrade to themselves. */
  async #explain() {
    const timer = this.#timer; // of the next attempt
    const asked = { method: "POST", signal: AbortSignal.timeout(CONNECT_MS) };
    const answer = await fetch(this.#url.replace(/^ws/, "http"), asked).catch(() => null);
    if (answer?.status !== 403) return;
    const { detail } = await answer.json().catch(() => ({}));
    if (detail && this.#timer === timer && this.status === "waiting") this.#report("waiting", detail);
  }

  #retreat(reason, final, atLeast = 0) {
    if (final) return this.#stop(reason);
    this.#release();
    if (Date.now() - this.#connectedAt > STEADY_MS) this.#attempts = 0;
    this.#connectedAt = Infinity;
    const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts++);
    // Jitter, so that a restarted server is not met by everybody at once.
    this.#timer = setTimeout(() => this.#connect(), atLeast + ceiling * (0.5 + Math.random() / 2));
    this.#report("waiting", reason);
  }

  #stop(reason) {
    this.#release();
    this.#report("stopped", reason);
    this.#outbox.abandon();
  }

  #release() {
    clearTimeout(this.#timer);
    clearTimeout(this.#refreshTimer);
    this.#heartbeat.stop();
    this.#outbox.pause();
    if (this.#socket instanceof WebSocket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#socket = null;
  }

  #scheduleRefresh(expiresAt) {
    const left = Date.parse(expiresAt) - Date.now();
    if (Number.isNaN(left)) return;
    const wait = Math.min(LONGEST_TIMER_MS, Math.max(REFRESH_AT_LEAST_MS, left * 0.8));
    this.#refreshTimer = setTimeout(() => this.#refresh(expiresAt), wait);
  }

  async #refresh(expiresAt) {
    const socket = this.#socket;
    try {
      const ack = await this.send("auth:refresh", { token: await this.#getToken(true) });
      expiresAt = ack.expiresAt;
    } catch {
      // The old token still holds: try again until it does not, and then close code 4001 brings a new one.
    }
    if (this.#socket === socket) this.#scheduleRefresh(expiresAt);
  }

  #report(status, reason = "") {
    this.status = status;
    this.#emit("status", { status, reason });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
