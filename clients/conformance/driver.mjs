/*
 * The JavaScript client as a process, for the conformance suite: one request as JSON a line on stdin, its answer on stdout.
 *
 *   node clients/conformance/driver.mjs [MODULE [WS]]     MODULE: the built client; WS: the WebSocket class, a module
 *
 * Without them, the client that was built in `clients/js`, or by the tests in `.cache/onrecord-client`.
 *
 * Requests: {"id", "do", ...}; answers: {"id", "result"} or {"id", "error": {code, message, retryable}}. Unasked lines:
 * {"event": "state", "state"} and {"event": "message" | "change" | "member" | "typing" | "receipt" | "reset", "room", "value"}.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const load = (given, otherwise) => import(pathToFileURL(given ?? `${built()}/${otherwise}`).href);

/** The folder with a built client. */
function built() {
  const tested = path("../../.cache/onrecord-client");
  const folders = existsSync(tested) ? readdirSync(tested).map((name) => `${tested}/${name}`).filter((folder) => existsSync(`${folder}/made`)) : [];
  const found = [path("../js"), ...folders].find((folder) => existsSync(`${folder}/dist/index.js`));
  if (!found) throw new Error("The client is not built: run `npm install && npm run build` in clients/js.");
  return found;
}

/** A clock that `skip` advances: timers that are due then fire, as after sleep. */
const real = { now: Date.now, set: globalThis.setTimeout, clear: globalThis.clearTimeout };
const clock = { skipped: 0, next: 1, timers: new Map() };
Date.now = () => real.now() + clock.skipped;
globalThis.setTimeout = (run, wait = 0, ...values) => {
  const number = clock.next++;
  const due = Date.now() + wait;
  const fire = () => {
    if (!clock.timers.delete(number)) return;
    run(...values);
  };
  clock.timers.set(number, { due, fire, timer: real.set(fire, wait) });
  return { number, [Symbol.toPrimitive]: () => number, ref() { return this; }, unref() { return this; } };
};
globalThis.clearTimeout = (handle) => {
  const number = handle?.number ?? handle;
  const known = clock.timers.get(number);
  if (!known) return real.clear(handle);
  clock.timers.delete(number);
  real.clear(known.timer);
};
function skip(seconds) {
  clock.skipped += seconds * 1000;
  const due = [...clock.timers.values()].filter((each) => each.due <= Date.now()).sort((a, b) => a.due - b.due);
  for (const { fire, timer } of due) {
    real.clear(timer);
    fire();
  }
}

const { OnRecord } = await load(process.argv[2], "dist/index.js");
const { default: WebSocket } = await load(process.argv[3], "node_modules/ws/wrapper.mjs");

/** One file a key, replaced at once, so that a process that is killed leaves the old value or the new one. */
function fileStorage(path) {
  const file = (key) => `${path}.${encodeURIComponent(key)}`;
  return {
    getItem(key) {
      try {
        return readFileSync(file(key), "utf8");
      } catch {
        return null;
      }
    },
    setItem(key, value) {
      const next = `${file(key)}.${process.pid}.new`;
      writeFileSync(next, value);
      renameSync(next, file(key));
    },
    removeItem: (key) => rmSync(file(key), { force: true }),
  };
}

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const plainError = ({ code = "unknown", message, retryable = false }) => ({ code, message, retryable });
const plainMessage = ({ messageId, seq, userId, content, pending, failed }) =>
  ({ messageId, seq, userId, content, ...(pending && { pending }), ...(failed && { failed: true }) });

const EVENTS = ["message", "change", "member", "typing", "receipt", "reset"];
let chat;
let token;

async function join(roomId) {
  const known = chat.room(roomId);
  const room = await chat.join(roomId);
  if (room !== known) for (const name of EVENTS) room.on(name, (value) => write({ event: name, room: roomId, value: name === "message" ? plainMessage(value) : value }));
  return room;
}

function room(roomId) {
  const known = chat.room(roomId);
  if (!known) throw Object.assign(new Error(`${roomId} was not joined.`), { code: "not_a_member" });
  return known;
}

const requests = {
  open({ url, token: given, storage }) {
    token = given;
    chat = new OnRecord({ url, token: async () => token, WebSocket, storage: storage ? fileStorage(storage) : undefined });
    chat.on("state", (state, error) => write({ event: "state", state, ...(error && { error: plainError(error) }) }));
    chat.on("error", (error) => write({ event: "error", error: plainError(error) }));
  },
  connect: () => chat.connect(),
  join: async ({ room: roomId }) => {
    const { id, name, head } = await join(roomId);
    return { id, name, head };
  },
  send: ({ room: roomId, content, replyTo, mentions }) => room(roomId).send(content, { replyTo, mentions }),
  edit: ({ room: roomId, messageId, content }) => room(roomId).edit(messageId, content),
  delete: ({ room: roomId, messageId }) => room(roomId).delete(messageId),
  react: ({ room: roomId, messageId, emoji }) => room(roomId).react(messageId, emoji),
  read: ({ room: roomId, messageId }) => room(roomId).read(messageId),
  loadEarlier: ({ room: roomId, count }) => room(roomId).loadEarlier(count),
  typing: ({ room: roomId }) => room(roomId).startTyping(),
  messages: ({ room: roomId }) => room(roomId).messages.map(plainMessage),
  rooms: () => chat.rooms,
  token: ({ token: given }) => {
    token = given;
  },
  clock: ({ skip: seconds }) => skip(seconds),
  close: () => chat.close(),
};

async function answer({ id, do: name, ...fields }) {
  try {
    if (!Object.hasOwn(requests, name)) throw Object.assign(new Error(`There is no request ${name}.`), { code: "unknown_type" });
    write({ id, result: (await requests[name](fields)) ?? null });
  } catch (error) {
    write({ id, error: plainError(error) });
  }
}

process.on("unhandledRejection", (error) => write({ event: "unhandled", error: String(error) }));
process.on("uncaughtException", (error) => write({ event: "unhandled", error: String(error) }));
createInterface({ input: process.stdin }).on("line", (line) => void answer(JSON.parse(line))).on("close", () => process.exit(0));
