/*
 * Events for the application.
 *
 * Invariant: a listener that throws, or whose promise rejects, neither stops the other listeners nor the client. Its error
 * is emitted as `error`; without a listener for that it goes to the console.
 */
import { OnRecordError } from "./errors.js";

export type Listener<A extends unknown[]> = (...values: A) => unknown;

export class Emitter<E extends { [K in keyof E]: unknown[] }> {
  #listeners = new Map<keyof E, Set<Listener<any>>>();

  /** Calls `listener` at each event of a name. Returns the function that ends this, as `off` does. */
  on<K extends keyof E>(name: K, listener: Listener<E[K]>): () => void {
    const known = this.#listeners.get(name);
    if (known) known.add(listener);
    else this.#listeners.set(name, new Set([listener]));
    return () => this.off(name, listener);
  }

  off<K extends keyof E>(name: K, listener: Listener<E[K]>): void {
    this.#listeners.get(name)?.delete(listener);
  }

  /** @internal */
  emit<K extends keyof E>(name: K, ...values: E[K]): boolean {
    const listeners = [...(this.#listeners.get(name) ?? [])];
    for (const listener of listeners) {
      try {
        const result = listener(...values);
        if (result instanceof Promise) result.catch((error: unknown) => this.failed(name, error));
      } catch (error) {
        this.failed(name, error);
      }
    }
    return listeners.length > 0;
  }

  /** @internal */
  failed(name: keyof E, cause: unknown): void {
    const error = new OnRecordError("listener_failed", `A listener of "${String(name)}" failed: ${String(cause)}`, false, { cause });
    if (name === "error" || !this.emit("error" as keyof E, ...([error] as unknown as E[keyof E]))) console.error(error);
  }
}
