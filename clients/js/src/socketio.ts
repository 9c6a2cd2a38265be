/*
 * The same client over a stock socket.io-client, for applications that move from Socket.IO one step at a time: the socket
 * is at hand as `socket`, and the application's own handlers and emits on it keep working.
 */
import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";
import { OnRecord as Core, OnRecordError, type Options as CoreOptions } from "./index.js";
import type { Connect } from "./protocol.js";
import type { Dial, Frame, LinkEvents } from "./transport.js";

export * from "./index.js";

export interface Options extends Omit<CoreOptions, "WebSocket"> {
  /** The address of the server, such as `https://chat.example`; that of the native endpoint is accepted too. */
  url: string;
  /** Options of `io`, such as `transports`. Those about reconnecting and `auth` are the client's. */
  io?: Partial<ManagerOptions & SocketOptions>;
}

/** What the server says when it refuses a connection: the close code of the native endpoint with the same meaning. */
const CLOSE_CODES: { readonly [code: string]: number } = {
  token_expired: 4001,
  token_not_yet_valid: 4002,
  too_many_requests: 4009,
  token_invalid: 4500,
  malformed: 4501,
  not_allowed: 4503,
};

const sockets = new WeakMap<Core, Socket>();
let made: Socket | undefined; // by the constructor that is running

export class OnRecord extends Core {
  constructor(options: Options) {
    super(options);
    sockets.set(this, made as Socket);
  }

  /** The stock socket, which reconnects as the client decides. */
  get socket(): Socket {
    return sockets.get(this) as Socket;
  }

  /** @internal */
  protected override dial({ url, io: more }: Options): Dial {
    const address = url.replace(/^ws/, "http").replace(/\/ws\/?$/, "");
    const socket = (made = io(address, { ...more, forceNew: true, autoConnect: false, reconnection: false }));
    let present: LinkEvents | undefined; // of the link that was opened last
    const end = (code?: number, error?: OnRecordError) => {
      const events = present;
      present = undefined;
      events?.closed(code, error);
    };
    socket.onAny((type: string, payload: unknown) => present?.frame({ ...(payload as object), type }));
    socket.on("disconnect", () => end());
    socket.on("connect_error", (error: Error & { data?: { code?: string; retryable?: boolean; retryAfter?: number } }) => {
      const { code, retryable = false, retryAfter } = error.data ?? {};
      if (code === undefined) return end();
      return end(CLOSE_CODES[code], new OnRecordError(code as "malformed", error.message, retryable || code === "token_expired", { ...(retryAfter !== undefined && { retryAfter }) }));
    });
    return (hello, events) => {
      socket.disconnect();
      present = events;
      socket.auth = authOf(hello);
      socket.connect();
      return {
        alive: true, // Engine.IO's heartbeats
        send: (frame) => send(socket, frame, events),
        close: () => {
          if (present === events) present = undefined;
          socket.disconnect();
        },
      };
    };
  }
}

function authOf({ token, rooms, epoch }: Connect): { [name: string]: unknown } {
  return { token, rooms, ...(epoch !== undefined && { epoch }) };
}

/** The acknowledgement has no `ref`: the frame that it answers has. */
function send(socket: Socket, { type, ...fields }: Frame, events: LinkEvents): void {
  if (!socket.connected) return; // else the library keeps it for the next connection
  socket.emit(type, fields, (answer: { ok: boolean; error?: object; [field: string]: unknown }) => {
    const { ok, error, ...rest } = answer;
    events.frame(ok ? { ...rest, type: "ack", ref: fields.ref } : { ...error, type: "error", ref: fields.ref });
  });
}
