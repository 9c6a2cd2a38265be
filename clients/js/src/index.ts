/*
 * The client of the OnRecord chat server. What this module exports is what outsiders are held to.
 */
export { OnRecord, type ClientEvents, type Options, type RoomOverview } from "./client.js";
export { OnRecordError, type ClientErrorCode } from "./errors.js";
export { Room, type Change, type MemberChange, type PendingMessage, type RoomEvents, type SendOptions, type Sent } from "./room.js";
export type { Message } from "./changes.js";
export type { ConnectionState } from "./connection.js";
export type { Member } from "./model.js";
export type { ClientStorage } from "./storage.js";
export type * as protocol from "./protocol.js";
export type { Acks, Commands, ErrorFrame, Errors, Events, Invitation, Reaction, Receipt, ServerErrorCode, ServerEvent } from "./protocol.js";
