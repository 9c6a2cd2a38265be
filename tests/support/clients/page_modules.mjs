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
