/*
 * How frames travel: a link is one attempt to connect, from the `connect` frame to the close.
 *
 * Invariant: a link reports its end once, by `closed`, and throws nothing.
 */
import { OnRecordError } from "./errors.js";
import type { Connect } from "./protocol.js";

/** A frame in either direction; its fields depend on `type`. */
export interface Frame {
  type: string;
  ref?: string;
  [field: string]: any;
}

export interface Link {
  send(frame: Frame): void;
  close(): void;
  /** Whether the link itself notices that the line is dead. */
  readonly alive?: boolean;
}

export interface LinkEvents {
  frame(frame: Frame): void;
  /** `code` is the close code; `error` says more, where the transport knows more. */
  closed(code?: number, error?: OnRecordError): void;
}

/** Opens a link and sends `hello` on it. */
export type Dial = (hello: Connect, events: LinkEvents) => Link;

/** The part of the WebSocket class that the client uses; that of browsers and that of `ws` have it. */
export interface WebSocketClass {
  new (url: string): WebSocketLike;
}

export interface WebSocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(code?: number): void;
  /** Of `ws`: ends the connection without waiting for the other side. */
  terminate?(): void;
}

const CLOSE_MS = 1_000; // for the closing handshake; a dead line would keep the process for half a minute

export function webSocketDial(url: string, given?: WebSocketClass): Dial {
  return (hello, events) => {
    const Class = given ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
    if (!Class) throw new OnRecordError("not_supported", 'There is no global WebSocket here: pass one, such as that of the package "ws".');
    const socket = new Class(url.replace(/^http/, "ws"));
    const end = (code?: number) => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      events.closed(code);
    };
    socket.onopen = () => socket.send(JSON.stringify(hello));
    socket.onmessage = ({ data }) => {
      const frame = parsed(data);
      if (frame) events.frame(frame);
    };
    socket.onclose = ({ code }) => end(code);
    // Stays set: `ws` reports a connection that is closed while it opens as an error, which would end the process.
    socket.onerror = () => {};
    return {
      send: (frame) => socket.send(JSON.stringify(frame)),
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
        if (socket.terminate) setTimeout(() => socket.terminate?.(), CLOSE_MS);
      },
    };
  };
}

/** A frame of the server; undefined for what is none, which clients ignore. */
function parsed(data: unknown): Frame | undefined {
  try {
    const frame = JSON.parse(String(data)) as Frame | null;
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
