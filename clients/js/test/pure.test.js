// The parts without a socket: back-off, events, storage, outbox, and the state of a room.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../.test-build/backoff.js";
import { Commands } from "../.test-build/commands.js";
import { Emitter } from "../.test-build/emitter.js";
import { OnRecordError } from "../.test-build/errors.js";
import { apply, emptyRoom } from "../.test-build/model.js";
import { Outbox } from "../.test-build/outbox.js";
import { EntryStore } from "../.test-build/storage.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("the first wait is below a second, later ones double up to half a minute", () => {
  for (const random of [0, 0.5, 0.999]) {
    const backoff = new Backoff(() => random);
    const waits = Array.from({ length: 12 }, () => backoff.next());
    assert.ok(waits[0] > 0 && waits[0] < 1000);
    waits.slice(1, 6).forEach((wait, place) => assert.ok(Math.abs(wait - 2 * waits[place]) < 1));
    assert.ok(waits.at(-1) <= 30_000);
    backoff.reset();
    assert.ok(backoff.next() < 1000);
  }
});

test("too many requests and an early token wait at least as long as the server says", () => {
  assert.ok(new Backoff(() => 0).next(4009) >= 5000);
  assert.ok(new Backoff(() => 0).next(4009, 20) >= 20_000);
  assert.ok(new Backoff(() => 0).next(4002, 7) >= 7000);
  assert.ok(new Backoff(() => 0).next(4002, 1e9) <= 61_000);
  assert.ok(new Backoff(() => 1).next(4011) < 1000);
});

test("a listener that throws or rejects stops neither the others nor the process", async () => {
  const emitter = new Emitter();
  const seen = [];
  emitter.on("error", ({ code }) => seen.push(code));
  emitter.on("message", () => { throw new Error("broken"); });
  emitter.on("message", async () => { throw new Error("broken later"); });
  const listener = (value) => seen.push(value);
  emitter.on("message", listener);
  emitter.emit("message", 1);
  emitter.off("message", listener);
  emitter.emit("message", 2);
  await settle();
  assert.deepEqual(seen, ["listener_failed", 1, "listener_failed", "listener_failed", "listener_failed"]);
});

const memory = () => {
  const values = new Map();
  return { values, getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value), removeItem: (key) => values.delete(key) };
};
const entry = (ref, at = 1) => ({ ref, roomId: "general", content: ref, at });

test("instances with one storage keep each other's messages", async () => {
  const storage = memory();
  const stores = ["a", "b", "c"].map((name) => new EntryStore(storage, name, assert.fail));
  stores[0].write("alice", [entry("1")]);
  stores[1].write("alice", [entry("2")]);
  storage.setItem("onrecord:outbox:alice", '["b"]'); // a write of one was lost to another's
  stores[0].write("alice", [entry("1"), entry("3")]);
  const found = await stores[2].others("alice");
  assert.deepEqual([...found].map(([name, entries]) => [name, entries.map(({ ref }) => ref)]), [["b", ["2"]], ["a", ["1", "3"]]]);
  await stores[2].remove("alice", "a", "1");
  assert.equal(await stores[2].has("alice", "a", "1"), false);
  assert.equal(await stores[2].has("alice", "a", "3"), true);
  assert.deepEqual(await stores[2].others("bob"), new Map());
});

test("a storage with nonsense, one that throws and one that rejects count as empty", async () => {
  const problems = [];
  const nonsense = { getItem: () => '[{"ref":5},7,null', setItem() {}, removeItem() {} };
  const throwing = { getItem() { throw new Error("no"); }, setItem() { throw new Error("full"); }, removeItem() { throw new Error("no"); } };
  const rejecting = { getItem: async () => { throw new Error("no"); }, setItem: async () => { throw new Error("no"); }, removeItem: async () => {} };
  for (const storage of [nonsense, throwing, rejecting, undefined]) {
    const store = new EntryStore(storage, "a", (cause) => problems.push(cause));
    store.write("alice", [entry("1")]);
    store.write("alice", []);
    assert.deepEqual(await store.others("alice"), new Map());
  }
  await settle();
  assert.ok(problems.length > 4);
});

/** An outbox whose transmissions are answered by the test. */
function outbox(storage = memory(), name = "a") {
  const sent = [];
  const log = [];
  const box = new Outbox(new EntryStore(storage, name, assert.fail), {
    transmit: (each) => new Promise((resolve, reject) => sent.push({ ref: each.ref, resolve, reject })),
    sent: (each) => log.push(`sent ${each.ref}`),
    failed: (each, { code }) => log.push(`failed ${each.ref} ${code}`),
    found: (each) => log.push(`found ${each.ref}`),
    dropped: (each) => log.push(`dropped ${each.ref}`),
    cancel: (each) => log.push(`cancel ${each.ref}`),
  });
  return { box, sent, log, storage };
}

test("messages leave one after the other, and stay stored until they are answered", async () => {
  const { box, sent, log, storage } = outbox();
  await box.start("alice");
  for (const ref of ["1", "2", "3"]) box.add(entry(ref));
  await settle();
  assert.deepEqual(sent.map(({ ref }) => ref), ["1"]);
  sent[0].resolve({ seq: 1 });
  await settle();
  sent[1].reject(new OnRecordError("muted", "No."));
  await settle();
  assert.deepEqual(log, ["sent 1", "failed 2 muted"]);
  assert.match(storage.getItem("onrecord:outbox:alice:a"), /"3"/);
  sent[2].resolve({ seq: 2 });
  await settle();
  assert.equal(storage.getItem("onrecord:outbox:alice:a"), null);
});

test("another instance sends what is stored first, in the order of sending", async () => {
  const first = outbox();
  await first.box.start("alice");
  for (const [ref, at] of [["1", 10], ["2", 20]]) first.box.add(entry(ref, at));
  first.box.stop();
  const second = outbox(first.storage, "b");
  await second.box.start("alice");
  second.box.add(entry("3", 30));
  await settle();
  for (let place = 0; place < 3; place += 1) {
    await settle();
    second.sent[place].resolve({ seq: place });
    await settle();
  }
  assert.deepEqual(second.sent.map(({ ref }) => ref), ["1", "2", "3"]);
  assert.deepEqual(second.log, ["found 1", "found 2", "sent 1", "sent 2", "sent 3"]);
  assert.equal(first.storage.getItem("onrecord:outbox:alice:a"), null);
});

test("what another instance has sent or taken back is not sent again", async () => {
  const first = outbox();
  await first.box.start("alice");
  for (const ref of ["1", "2"]) first.box.add(entry(ref));
  const second = outbox(first.storage, "b");
  await second.box.start("alice");
  await settle();
  first.box.discard("2");
  second.sent[0].resolve({ seq: 1 });
  await settle();
  await settle();
  assert.deepEqual(second.sent.map(({ ref }) => ref), ["1"]);
  assert.deepEqual(second.log, ["found 1", "found 2", "sent 1", "dropped 2"]);
});

test("one user's messages are not sent as another's", async () => {
  const { box, sent, log, storage } = outbox();
  await box.start("alice");
  box.stop();
  box.add(entry("1"));
  await box.start("bob");
  await settle();
  assert.deepEqual(sent, []);
  assert.deepEqual(log, ["dropped 1"]);
  assert.match(storage.getItem("onrecord:outbox:alice:a"), /"1"/);
});

test("the number of waiting messages is bounded", () => {
  const { box } = outbox();
  for (let number = 0; number < 1000; number += 1) box.add(entry(String(number)));
  assert.throws(() => box.add(entry("more")), { code: "outbox_full", retryable: true });
});

test("commands keep their refs over connections, and one sent once fails with its connection", async () => {
  const written = [];
  const commands = new Commands((frame) => written.push(frame), assert.fail);
  const edited = commands.send("message:edit", { content: "x" });
  commands.resume();
  const joined = commands.send("room:join", { roomId: "general" }, { once: true });
  commands.pause();
  await assert.rejects(joined, { code: "connection_lost", retryable: true });
  commands.resume();
  assert.deepEqual(written.map(({ type }) => type), ["message:edit", "room:join", "message:edit"]);
  assert.equal(written[0].ref, written[2].ref);
  commands.answer({ type: "ack", ref: written[0].ref, seq: 5 });
  assert.equal((await edited).seq, 5);
  await assert.rejects(commands.send("message:edit", { content: "é".repeat(100_000) }), { code: "message_too_long" });
  commands.abandon(new OnRecordError("closed", ""));
});

const at = "2026-03-14T09:00:00.000000Z";
const posted = (seq, content = `m${seq}`, more = {}) => ({ type: "message:new", roomId: "general", seq, messageId: seq, userId: "bob", name: "Bob", content, at, ...more });
const fold = (room, ...actions) => actions.reduce((state, action) => apply(state, action, "alice"), room);
const kept = (limit) => ({ ...emptyRoom("general", limit), kept: true });
const page = (messages, hasMore = false, type = "message:history") => ({ type, roomId: "general", messages: messages.map(({ type: _, ...message }) => message), hasMore });
const shown = ({ messages }) => messages.map(({ seq, content }) => [seq, content]);

test("events that come twice, and before the page that has them, have one effect", () => {
  const events = [
    posted(5), posted(6),
    { type: "message:edited", roomId: "general", seq: 7, messageId: 5, userId: "bob", content: "new", at },
    { type: "message:reaction", roomId: "general", seq: 8, messageId: 6, userId: "carol", emoji: "👍", added: true, at },
    { type: "message:pinned", roomId: "general", seq: 9, messageId: 6, userId: "bob", pinned: true, at },
    { type: "message:deleted", roomId: "general", seq: 10, messageId: 4, userId: "bob", at },
  ];
  const joined = { type: "joined", seq: 4, head: 4, known: true };
  const once = fold(kept(), joined, page([posted(3), posted(4)]), ...events);
  const twice = fold(kept(), joined, ...events, page([posted(3), posted(4), posted(5), posted(6)]), ...events);
  assert.deepEqual(shown(once), [[3, "m3"], [4, null], [5, "new"], [6, "m6"]]);
  assert.deepEqual(shown(twice), shown(once));
  assert.deepEqual(twice.messages[3].reactions, [{ emoji: "👍", count: 1, userIds: ["carol"], mine: false }]);
  assert.equal(twice.messages[3].pinned, true);
  assert.equal(once.head, 10);
});

test("unread counts follow the server's, the marker and new messages", () => {
  const row = { roomId: "general", name: "General", visibility: "public", role: "member", head: 4, unread: 2, mentions: 1, lastRead: 2, lastMessage: null, topic: null, archived: false };
  const listed = fold(kept(), { type: "joined", seq: 4, head: 4, known: true }, page([posted(1), posted(2), posted(3), posted(4, "hi", { mentions: ["alice"] })]), { type: "listed", row, gone: 0 });
  assert.deepEqual([listed.name, listed.unread, listed.mentions, listed.stale], ["General", 2, 1, false]);
  const more = fold(listed, posted(5), posted(6, "mine", { userId: "alice" }));
  assert.equal(more.unread, 3);
  const read = fold(more, { type: "message:read", roomId: "general", userId: "alice", messageId: 4, at });
  assert.deepEqual([read.unread, read.mentions, read.lastRead], [1, 0, 4]);
  const gone = fold(more, { type: "message:deleted", roomId: "general", seq: 7, messageId: 5, userId: "bob", at });
  assert.deepEqual([gone.unread, gone.stale], [2, false]);
});

test("a room keeps a bounded number of messages, and what was loaded on purpose", () => {
  const full = fold(kept(100), { type: "joined", seq: 1, head: 1, known: true }, page([]), ...Array.from({ length: 500 }, (_, place) => posted(place + 2)));
  assert.ok(full.messages.length <= 120);
  assert.equal(full.hasMore, true);
  assert.deepEqual(full.messages.map(({ seq }) => seq), Array.from({ length: full.messages.length }, (_, place) => 502 - full.messages.length + place));
  const earlier = fold(full, page(Array.from({ length: 300 }, (_, place) => posted(full.messages[0].seq - 300 + place)), true, "page"), posted(502));
  assert.ok(earlier.messages.length > 390);
});

test("a reset forgets messages, and an erased author's content is gone", () => {
  const room = fold(kept(), { type: "joined", seq: 4, head: 4, known: true }, page([posted(3), posted(4, "mine", { userId: "alice" })]));
  assert.deepEqual(shown(fold(room, { type: "room:content_removed", roomId: "general", reason: "erased", userId: "bob", gone: 1 })), [[3, null], [4, "mine"]]);
  const reset = fold(room, { type: "reset" });
  assert.deepEqual([reset.messages, reset.head, reset.to, reset.kept], [[], 0, -1, true]);
});

test("a refusal by rate holds everything, one for hours only the message", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const written = [];
  const commands = new Commands((frame) => written.push(`${frame.type} ${frame.ref}`), () => {});
  commands.resume();
  const refused = (ref, retryAfter) => commands.answer({ type: "error", ref, code: "too_many_requests", message: "", retryable: true, retryAfter });
  commands.send("message:send", {}, { ref: "1", patient: true });
  refused("1", 5);
  commands.send("message:history", {}, { ref: "2" });
  assert.deepEqual(written, ["message:send 1"]);
  context.mock.timers.tick(5_000);
  assert.deepEqual(written.splice(0), ["message:send 1", "message:send 1", "message:history 2"]);
  const edited = commands.send("message:edit", {}, { ref: "3" });
  refused("1", 7200);
  refused("3", 7200);
  await assert.rejects(edited, { code: "too_many_requests", retryAfter: 7200 });
  commands.answer({ type: "ack", ref: "2" });
  commands.send("message:history", {}, { ref: "4" });
  assert.deepEqual(written.splice(0), ["message:edit 3", "message:history 4"]);
  commands.answer({ type: "ack", ref: "4" });
  context.mock.timers.tick(3_600_000);
  assert.deepEqual(written, []);
  context.mock.timers.tick(3_600_000);
  assert.deepEqual(written, ["message:send 1"]);
});
