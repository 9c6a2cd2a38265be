/*
 * Ids that no other client makes: refs of commands, and names of instances.
 */

/** `randomUUID` exists in secure contexts only; a server on a home network is none. */
export function newRef(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
