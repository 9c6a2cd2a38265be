// The interface that outsiders are held to, used under strict types; prints what it found as the last line.
import { OnRecord, OnRecordError, type ConnectionState, type Message, type Room } from "onrecord-client";
import type { Events, ErrorFrame, ServerEvent } from "onrecord-client";
import WebSocket from "ws";

declare const process: { argv: string[] };

const [, , url, jwt] = process.argv as [string, string, string, string];
const kept = new Map<string, string>();
const storage = {
  getItem: (key: string) => kept.get(key) ?? null,
  setItem: (key: string, value: string) => void kept.set(key, value),
  removeItem: (key: string) => void kept.delete(key),
};
const chat = new OnRecord({ url, token: async () => jwt, storage, WebSocket });
const states: ConnectionState[] = [];
chat.on("state", (s) => { states.push(s); });
await chat.connect();
const room: Room = await chat.join("general");
const received: Message[] = [];
const listener = (m: Message) => { received.push(m); };
room.on("message", listener);
room.on("change", ({ type, message }) => console.log(type, message?.content));
room.on("member", ({ userId }) => console.log(userId));
room.on("typing", ({ userId, typing }) => console.log(userId, typing));
room.on("receipt", ({ userId, messageId }) => console.log(userId, messageId));
room.on("reset", ({ reason }) => console.log(reason));
const first = await room.send("hello");
const sent: { messageId: number; seq: number; at: string } = await room.send("again", { replyTo: first.messageId, mentions: ["alice"] });
await room.loadEarlier(50);
await room.read(sent.messageId);
await room.edit(sent.messageId, "edited");
await room.react(sent.messageId, "👍");
await room.delete(first.messageId);
room.startTyping();
const [{ content, seq, userId, at }] = room.messages as [Message];
const overview: { id: string; name: string; unread: number; mentions: number; lastMessage: Message | null } | undefined = chat.rooms[0];
try {
  await room.send("   ");
} catch (error) {
  if (!(error instanceof OnRecordError)) throw error;
  const retryable: boolean = error.retryable;
  console.log(error.code, retryable);
}
const pinned: Events["message:pinned"]["pinned"] = true;
chat.on("event", (event: ServerEvent) => {
  if (event.type === "message:pinned") console.log(event.pinned === pinned);
});
const retryAfter = (frame: ErrorFrame): number => (frame.code === "too_many_requests" ? frame.retryAfter : 0);
room.off("message", listener);
console.log(JSON.stringify({
  states, content, seq, userId, at: typeof at, overview: overview?.id, received: received.map((m) => m.content), typing: room.typing, unread: room.unread,
  head: room.head === seq + 4, id: room.id, name: room.name, members: room.members.map((m) => m.userId), last: room.messages.filter((m) => !m.failed).at(-1)?.content,
  retryAfter: retryAfter({ type: "error", code: "overloaded", message: "", retryable: true }),
}));
await chat.close();
