/*
 * What the client keeps in the application's storage: the messages that are not acknowledged yet.
 *
 * Invariant: each instance (a tab, a process) writes its own key, so two instances with one storage cannot overwrite each
 * other's messages. An index names the instances; each write puts the own name back into it, if another instance's
 * write has lost it. What cannot be read counts as absent, and a failure is reported, never thrown.
 */

/** The functions of `localStorage`, or functions of the same names that return promises. */
export interface ClientStorage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

export interface Entry {
  readonly ref: string;
  readonly roomId: string;
  readonly content: string;
  readonly replyTo?: number;
  readonly mentions?: readonly string[];
  /** When it was sent, by this client's clock; milliseconds. */
  readonly at: number;
}

const PREFIX = "onrecord:outbox:";
const MOST_INSTANCES = 8; // beyond which names without messages are removed from the index

export class EntryStore {
  #storage: ClientStorage | undefined;
  #self: string;
  #problem: (cause: unknown) => void;

  constructor(storage: ClientStorage | undefined, self: string, problem: (cause: unknown) => void) {
    this.#storage = storage;
    this.#self = self;
    this.#problem = problem;
  }

  /** Writes the own entries of a user; at once, if the storage is synchronous. */
  write(userId: string, entries: readonly Entry[]): void {
    this.#put(key(userId, this.#self), entries);
    if (!entries.length) return;
    this.#guarded(() => {
      const found = this.#storage?.getItem(index(userId));
      const enter = (text: string | null | undefined) => {
        const names = parsedNames(text);
        if (!names.includes(this.#self)) this.#set(index(userId), JSON.stringify([...names, this.#self]));
      };
      return found instanceof Promise ? found.then(enter) : enter(found);
    });
  }

  /** Returns the entries of the user's other instances, by instance. */
  async others(userId: string): Promise<Map<string, Entry[]>> {
    const found = new Map<string, Entry[]>();
    const names = parsedNames(await this.#get(index(userId)));
    for (const name of names) {
      const entries = name === this.#self ? [] : await this.#entries(userId, name);
      if (entries.length) found.set(name, entries);
    }
    if (names.length > MOST_INSTANCES) {
      this.#set(index(userId), JSON.stringify(names.filter((name) => name === this.#self || found.has(name))));
    }
    return found;
  }

  /** Returns whether another instance still has an entry that it stored. */
  async has(userId: string, owner: string, ref: string): Promise<boolean> {
    return (await this.#entries(userId, owner)).some((entry) => entry.ref === ref);
  }

  /** Removes an entry of another instance, which was answered. */
  async remove(userId: string, owner: string, ref: string): Promise<void> {
    const entries = await this.#entries(userId, owner);
    const left = entries.filter((entry) => entry.ref !== ref);
    if (left.length < entries.length) this.#put(key(userId, owner), left);
  }

  async #entries(userId: string, name: string): Promise<Entry[]> {
    return parsedEntries(await this.#get(key(userId, name)));
  }

  async #get(name: string): Promise<string | null | undefined> {
    try {
      return await this.#storage?.getItem(name);
    } catch (cause) {
      this.#problem(cause);
      return undefined;
    }
  }

  #put(name: string, entries: readonly Entry[]): void {
    if (entries.length) this.#set(name, JSON.stringify(entries));
    else this.#guarded(() => this.#storage?.removeItem(name));
  }

  #set(name: string, value: string): void {
    this.#guarded(() => this.#storage?.setItem(name, value));
  }

  #guarded(act: () => unknown): void {
    try {
      const result = act();
      if (result instanceof Promise) result.catch(this.#problem);
    } catch (cause) {
      this.#problem(cause);
    }
  }
}

const index = (userId: string) => `${PREFIX}${userId}`;
const key = (userId: string, name: string) => `${PREFIX}${userId}:${name}`;

function parsed(text: string | null | undefined): unknown[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

function parsedNames(text: string | null | undefined): string[] {
  return parsed(text).filter((name): name is string => typeof name === "string");
}

function parsedEntries(text: string | null | undefined): Entry[] {
  return parsed(text).filter((value): value is Entry => {
    const entry = value as Partial<Entry> | null;
    return typeof entry?.ref === "string" && typeof entry.roomId === "string" && typeof entry.content === "string";
  });
}
