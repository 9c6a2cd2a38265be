/*
 * Signs of a browser that the connection may be dead, or can be restored: the network is back, the page is shown again,
 * another tab has joined or left a room (of which the server does not inform the user's other connections).
 */

const CHANNEL = "onrecord.rooms";

interface Page {
  document?: { readonly visibilityState: string; addEventListener(name: string, listener: () => void): void; removeEventListener(name: string, listener: () => void): void };
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

/** Calls `wake` and `changed` until `stop`; `notify` informs the other tabs that the rooms have changed. */
export function awake(wake: () => void, changed: () => void): { stop(): void; notify(): void } {
  const page = globalThis as unknown as Page;
  const { document } = page;
  if (!document || !page.addEventListener) return { stop() {}, notify() {} };
  const shown = () => {
    if (document.visibilityState === "visible") wake();
  };
  page.addEventListener("online", wake);
  document.addEventListener("visibilitychange", shown);
  const channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(CHANNEL) : undefined;
  if (channel) channel.onmessage = changed;
  return {
    stop() {
      page.removeEventListener?.("online", wake);
      document.removeEventListener("visibilitychange", shown);
      channel?.close();
    },
    notify: () => channel?.postMessage(""),
  };
}
