// Runs the page's modules without a browser: each line of stdin is a request, each line of stdout its answer.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(name, folder));

const plain = (value) => {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, each]) => [key, plain(each)]));
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  return value;
};

const { emptyState, reduce } = await load("state.js");
const { Heartbeat } = await load("heartbeat.js");
const { Outbox } = await load("outbox.js");

/** Timers and a clock that only `advance` moves. */
const clock = { now: 0, timers: new Map(), next: 1 };
Date.now = () => clock.now;
globalThis.setTimeout = (run, wait) => {
  clock.timers.set(clock.next, { run, at: clock.now + wait });
  return clock.next++;
};
globalThis.clearTimeout = (timer) => clock.timers.delete(timer);

const settled = () => new Promise((resolve) => setImmediate(resolve));

let happened = []; // what the outbox or the heartbeat under test has done since the last answer
let outbox, heartbeat;
const note = (what) => happened.push(what);
const since = async () => {
  await settled();
  const found = happened;
  happened = [];
  return found;
};

let state;

const requests = {
  /** The state of a user who knows nothing yet. */
  begin({ userId }) {
    state = emptyState(userId);
    return plain(state);
  },
  /** The state after actions. */
  apply({ actions }) {
    for (const action of actions) state = reduce(state, action);
    return plain(state);
  },
  /** An outbox and a heartbeat on one line; each answer is what they did: frames, results, `dead`. */
  line() {
    [clock.now, happened] = [0, []];
    clock.timers.clear();
    outbox = new Outbox({ write: (text) => note(JSON.parse(text)), unanswered: () => note("dead") });
    heartbeat = new Heartbeat({ ping: () => note("ping"), dead: () => note("dead") });
    return since();
  },
  add({ type, ref, fields }) {
    outbox.add(type, fields, ref).then(
      ({ seq }) => note({ done: ref, seq }),
      ({ code, retryable }) => note({ failed: ref, code, retryable }),
    );
    return since();
  },
  outbox({ method, args }) {
    outbox[method](...args);
    return since();
  },
  heartbeat({ method, args }) {
    heartbeat[method](...args);
    return since();
  },
  /** Lets seconds pass. */
  async advance({ seconds }) {
    const end = clock.now + seconds * 1000;
    for (;;) {
      const [timer, due] = [...clock.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!due || due.at > end) break;
      clock.timers.delete(timer);
      clock.now = due.at;
      due.run();
    }
    clock.now = end;
    return since();
  },
  /** What a function of a module returns. */
  async call({ module, name, args }) {
    return plain((await load(module))[name](...args)) ?? null;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { request, ...fields } = JSON.parse(line);
  let answer;
  try {
    answer = { value: await requests[request](fields) };
  } catch (error) {
    answer = { error: error.stack };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
