/*
 * The state of one room as a fold of actions: `apply(room, action, self) -> room`. Actions are the events of the server, and
 * what the client did: `joined`, `listed`, `page`, `reset`, `resumed`.
 *
 * Invariant: `apply` is pure, and the state is the same after an event that was received twice. The loaded messages have no
 * hole: they are all messages from the first loaded one to the last event received.
 */
import { changed, fromEvent, fromPage, merged, type ChangeEvent, type Message } from "./changes.js";
import { asOf, NO_COUNTS, withContentGone, withFirstPage, withListedCounts, withMarker, withMarkerBack, withNew, withoutContent, type Counts } from "./counts.js";
import type { ContentRemoved, MemberEntry, Message as PageMessage, Receipt, RoomSummary, ServerEvent, UnreadFrom } from "./protocol.js";

export type Member = MemberEntry;

export interface RoomState extends Counts {
  readonly roomId: string;
  readonly name: string;
  readonly visibility: RoomSummary["visibility"];
  readonly topic: string | null;
  readonly archived: boolean;
  readonly role: RoomSummary["role"];
  /** Whether messages, members and receipts are kept; of other rooms there are only the counts and the last message. */
  readonly kept: boolean;
  /** The most messages that are kept. */
  readonly limit: number;
  readonly messages: readonly Message[];
  readonly recent: readonly ChangeEvent[];
  readonly hasMore: boolean;
  readonly members: ReadonlyMap<string, Member>;
  /** The user id after which there are more members. */
  readonly moreMembers: string | null;
  readonly typing: readonly string[];
  readonly receipts: ReadonlyMap<string, Receipt>;
  readonly lastMessage: Message | null;
  /** The seq of the last event received: the cursor. */
  readonly head: number;
  /** The seq up to which the history that follows a join is complete. */
  readonly joinHead: number;
}

export type Action =
  | ServerEvent
  | { type: "joined"; seq: number; head: number; known: boolean }
  | { type: "listed"; row: RoomSummary; gone: number }
  | { type: "page"; messages: readonly PageMessage[]; hasMore: boolean }
  | { type: "more_members"; members: readonly Member[]; hasMore: boolean; continued: boolean }
  | { type: "reset" }
  | { type: "stale" }
  | { type: "resumed"; gone: number }
  | (ContentRemoved & { gone: number })
  | (UnreadFrom & { gone: number });

export const emptyRoom = (roomId: string, limit = Infinity): RoomState => ({
  ...NO_COUNTS,
  roomId,
  name: roomId,
  visibility: "public",
  topic: null,
  archived: false,
  role: "member",
  kept: false,
  limit,
  messages: [],
  recent: [],
  hasMore: false,
  members: new Map(),
  moreMembers: null,
  typing: [],
  receipts: new Map(),
  lastMessage: null,
  head: 0,
  joinHead: 0,
});

export function apply(room: RoomState, action: Action, self: string): RoomState {
  const seq = "seq" in action && action.type !== "joined" ? action.seq : undefined;
  const next = asOf(reduced(room, action, self), seq);
  return seq !== undefined && seq > next.head ? { ...next, head: seq } : next;
}

function reduced(room: RoomState, action: Action, self: string): RoomState {
  switch (action.type) {
    case "message:new":
      return withMessage(room, { ...fromEvent(action), ...(action.content === null && action.seq > room.asOf && { removed: true }) }, self);
    case "message:edited":
    case "message:deleted":
    case "message:reaction":
    case "message:pinned":
      return withChange(room, action, self);
    case "message:history":
    case "page":
      return room.kept ? withPage(room, action, self) : room;
    case "message:read":
      return action.userId === self ? withMarker(withReceipts(room, [action]), action.messageId, self) : withReceipts(room, [action]);
    case "room:receipts":
      return withAllReceipts(room, action.receipts, self);
    case "message:unread":
      return withOwnMarker(room, action, self);
    case "room:content_removed":
      return withContentRemoved(room, action);
    case "typing:start":
      return { ...room, typing: [...room.typing.filter((each) => each !== action.userId), action.userId] };
    case "typing:stop":
      return silent(room, action.userId);
    default:
      return reducedMembers(room, action, self);
  }
}

function reducedMembers(room: RoomState, action: Action, self: string): RoomState {
  switch (action.type) {
    case "room:members":
      return withMembers(room, action.members, action.hasMore, false);
    case "more_members":
      return withMembers(room, action.members, action.hasMore, action.continued);
    case "room:user_joined":
      if (action.seq === undefined) return withStatus(room, action.userId, "online", null);
      return withMember(room, { userId: action.userId, name: action.name, role: action.role, status: "online", lastSeen: null });
    case "room:user_left":
      if (action.seq === undefined) return withStatus(room, action.userId, "offline", room.members.get(action.userId)?.lastSeen ?? null);
      return silent(withoutMember(room, action.userId), action.userId);
    case "room:member_updated":
      return withUpdatedMember(room, action, self);
    case "presence:changed":
      return withStatus(room, action.userId, action.status, action.lastSeen);
    default:
      return reducedRoom(room, action, self);
  }
}

function reducedRoom(room: RoomState, action: Action, self: string): RoomState {
  switch (action.type) {
    case "room:updated": {
      const { name = room.name, topic = room.topic, archived = room.archived } = action;
      return { ...room, name, topic, archived };
    }
    case "room:created":
      return { ...room, name: action.name, visibility: action.visibility };
    case "joined": {
      // The first numbered event is the join itself, or what follows the head.
      const joined = { ...room, joinHead: action.known ? action.head : action.seq - 1, head: Math.max(room.head, action.seq - 1) };
      return action.known ? joined : { ...joined, asOf: action.seq, stale: true };
    }
    case "listed":
      return withRow(room, action.row, action.gone, self);
    case "reset": {
      const { name, visibility, topic, archived, role, kept, limit, gone, back } = room;
      return { ...emptyRoom(room.roomId), name, visibility, topic, archived, role, kept, limit, gone, back, stale: true };
    }
    case "stale":
      return { ...room, stale: true };
    case "resumed":
      // The server does not repeat who is typing, and every page of this connection is newer than what came before it.
      return withContentGone({ ...room, typing: [], recent: [] }, action.gone);
    default:
      return room;
  }
}

function withMessage(room: RoomState, message: Message, self: string): RoomState {
  const counted = silent(withNew(room, message, self), message.userId);
  const lastMessage = message.seq > (room.lastMessage?.seq ?? 0) ? message : room.lastMessage;
  if (!room.kept) return { ...counted, lastMessage };
  return trimmed({ ...counted, lastMessage, messages: merged(room.messages, [message]) });
}

function withChange(room: RoomState, event: ChangeEvent, self: string): RoomState {
  const gone = event.type === "message:deleted" || (event.type === "message:edited" && event.content === null);
  const counted = gone ? withoutContent(room, event.messageId, event.seq, self) : room;
  // Changes the one message that is shown in lists by the same rules.
  const lastMessage = changed({ ...room, recent: [], messages: room.lastMessage ? [room.lastMessage] : [] }, event, self).messages[0] ?? null;
  return room.kept ? changed({ ...counted, lastMessage }, event, self) : { ...counted, lastMessage };
}

function withPage(room: RoomState, { messages, hasMore }: { messages: readonly PageMessage[]; hasMore: boolean }, self: string): RoomState {
  const page = fromPage(room, messages, self);
  const first = room.to < 0;
  const counted = first ? withFirstPage(room, page, self) : room;
  const oldest = page[0]?.seq;
  const reachesBack = first || oldest === undefined || oldest <= room.from;
  const from = hasMore ? Math.min(room.from, oldest ?? Infinity) : 0;
  const all = merged(room.messages, page);
  const newest = all.at(-1) ?? null;
  return {
    ...counted,
    messages: all,
    limit: first ? room.limit : Math.max(room.limit, all.length + room.limit / 10),
    from: reachesBack ? from : room.from,
    hasMore: reachesBack ? hasMore : room.hasMore,
    head: Math.max(room.head, page.at(-1)?.seq ?? 0),
    lastMessage: newest && newest.seq >= (room.lastMessage?.seq ?? 0) ? newest : room.lastMessage,
  };
}

function trimmed(room: RoomState): RoomState {
  if (room.messages.length <= room.limit * 1.1 + 10) return room;
  const messages = room.messages.slice(-room.limit);
  return { ...room, messages, from: Math.max(room.from, messages[0]?.seq ?? 0), hasMore: true };
}

function withRow(room: RoomState, row: RoomSummary, gone: number, self: string): RoomState {
  const { name, visibility, topic, archived, role, lastMessage } = row;
  const known = row.head < room.asOf ? room : { ...room, name: name || room.name, visibility, topic, archived, role, lastMessage: newer(room, lastMessage) };
  return withListedCounts(known, row, gone, self);
}

/** The last message by a list, unless a loaded one is as new. */
function newer({ lastMessage, kept, to }: RoomState, listed: PageMessage | null): Message | null {
  return kept && to >= 0 && lastMessage && lastMessage.seq >= (listed?.seq ?? 0) ? lastMessage : listed;
}

function withOwnMarker(room: RoomState, action: UnreadFrom & { gone?: number }, self: string): RoomState {
  if (action.lastRead >= room.lastRead) return withMarker(room, action.lastRead, self);
  return withMarkerBack(room, action.lastRead, action.gone ?? room.back + 1, self);
}

function withContentRemoved(room: RoomState, action: ContentRemoved & { gone?: number }): RoomState {
  const emptied = (message: Message): Message => (message.userId === action.userId && message.content !== null ? { ...message, content: null } : message);
  const erased = action.reason === "erased";
  const messages = erased ? room.messages.map(emptied) : room.messages;
  const lastMessage = erased && room.lastMessage ? emptied(room.lastMessage) : room.lastMessage;
  return withContentGone({ ...room, messages, lastMessage }, action.gone ?? room.gone + 1);
}

function withReceipts(room: RoomState, incoming: readonly Receipt[]): RoomState {
  if (!room.kept) return room;
  const receipts = new Map(room.receipts);
  for (const { userId, messageId, at } of incoming) {
    if (messageId > (receipts.get(userId)?.messageId ?? 0)) receipts.set(userId, { userId, messageId, at });
  }
  return { ...room, receipts };
}

function withAllReceipts(room: RoomState, incoming: readonly Receipt[], self: string): RoomState {
  const before = room.receipts.get(self)?.messageId ?? 0;
  const known = withReceipts(room, incoming);
  const read = known.receipts.get(self)?.messageId ?? 0;
  if (read > before) return withMarker(known, read, self);
  // Messages were marked as unread here, and perhaps read since.
  return read > room.lastRead ? { ...known, stale: true } : known;
}

function withMembers(room: RoomState, members: readonly Member[], hasMore: boolean, continued: boolean): RoomState {
  if (!room.kept) return room;
  const all = new Map([...(continued ? room.members : []), ...members.map((member) => [member.userId, member] as const)]);
  return { ...room, members: all, moreMembers: hasMore ? (members.at(-1)?.userId ?? null) : null };
}

function withUpdatedMember(room: RoomState, { userId, role, muted, until }: { userId: string; role?: Member["role"]; muted?: boolean; until?: string }, self: string): RoomState {
  const known = userId === self && role ? { ...room, role } : room;
  const member = known.members.get(userId);
  if (!member) return known;
  const { muted: before, mutedUntil, ...rest } = member;
  const mute = muted ?? before ? { muted: true, ...(muted ? until && { mutedUntil: until } : mutedUntil && { mutedUntil }) } : {};
  return withMember(known, { ...rest, ...mute, role: role ?? member.role });
}

function withMember(room: RoomState, member: Member): RoomState {
  return room.kept ? { ...room, members: new Map(room.members).set(member.userId, member) } : room;
}

function withoutMember(room: RoomState, userId: string): RoomState {
  if (!room.members.has(userId)) return room;
  const members = new Map(room.members);
  members.delete(userId);
  return { ...room, members };
}

function withStatus(room: RoomState, userId: string, status: string, lastSeen: string | null): RoomState {
  const member = room.members.get(userId);
  return member && (member.status !== status || member.lastSeen !== lastSeen) ? withMember(room, { ...member, status, lastSeen }) : room;
}

function silent(room: RoomState, userId: string): RoomState {
  return room.typing.includes(userId) ? { ...room, typing: room.typing.filter((each) => each !== userId) } : room;
}
