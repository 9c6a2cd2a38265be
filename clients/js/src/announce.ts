/*
 * What an event of the server means for the listeners of a room.
 */
import { isChange, messageOf } from "./changes.js";
import type { RoomState } from "./model.js";
import type { ServerEvent } from "./protocol.js";
import type { Room } from "./room.js";

/** Emits what an event has changed. A message that was loaded already is not new. */
export function announce(room: Room, event: ServerEvent, before: RoomState, state: RoomState): void {
  if (event.type === "message:new") {
    const message = messageOf(state.messages, event.messageId);
    if (message && !messageOf(before.messages, event.messageId)) room.emit("message", message);
  } else if (isChange(event)) {
    room.emit("change", { type: event.type, messageId: event.messageId, message: messageOf(state.messages, event.messageId) });
  } else if (event.type === "room:content_removed") {
    for (const message of state.messages) {
      if (message !== messageOf(before.messages, message.messageId)) room.emit("change", { type: event.type, messageId: message.messageId, message });
    }
  } else if (event.type === "typing:start" || event.type === "typing:stop") {
    room.emit("typing", { userId: event.userId, typing: event.type === "typing:start" });
  } else if (event.type === "message:read") {
    room.emit("receipt", { userId: event.userId, messageId: event.messageId, at: event.at });
  } else if (event.type === "room:user_joined" || event.type === "room:user_left" || event.type === "room:member_updated" || event.type === "presence:changed") {
    const reason = "reason" in event ? event.reason : undefined;
    room.emit("member", { type: event.type, userId: event.userId, ...(reason && { reason }), member: state.members.get(event.userId) });
  }
}
