/*
 * The state of the page as a fold of actions: `reduce(state, action) -> state`. Actions are the events of the protocol,
 * the acks of `room:list` and `message:history` under the names of their commands, and what the page did (`connected`,
 * `opened`, `joined`, `sending`, `sent`, `failed`, `discarded`, `reset`, `removed`).
 *
 * Invariant: `reduce` is pure, and the state is the same after an event that was received twice. A message is identified
 * by its seq, an unsent one by its ref. The state equals the server's answers; where it cannot, the room is `stale`.
 */

import { changed, fromPage, merged } from "./changes.js";
import { asOf, NO_COUNTS, withContentGone, withFirstPage, withListedCounts, withMarker, withMarkerBack, withNew, withoutContent } from "./counts.js";

const MOST_MESSAGES = 2000;
const TRIMMED_TO = 1500;

export const emptyState = (userId) => ({
  userId,
  epoch: null, // of the log, whose numbers these are
  open: null,
  rooms: new Map(),
  invitations: [],
  left: new Map(), // roomId -> seq of the user's leave or removal
  missed: new Map(), // roomId -> seq of the latest event of a room that was not known then
  joins: 0, // so far on this page
  gone: 0, // changes so far that made content unreadable, or may have while the connection was down, or moved a marker back
});

const emptyRoom = (roomId) => ({
  ...NO_COUNTS,
  roomId,
  name: roomId,
  visibility: "public",
  topic: null,
  archived: false,
  role: "member",
  typing: [], // user ids, in the order in which they began
  messages: [], // ascending seq
  recent: [], // the latest events that changed messages
  unsent: [], // {ref, content, replyTo, mentions, failure: null | {code, message, retryable}}
  hasMore: false,
  members: new Map(),
  invited: new Map(), // userId -> {userId, name, by}
  moreMembers: null, // or the user id after which there are more
  receipts: new Map(), // userId -> messageId
  joinHead: 0, // seq up to which the history that follows a join is complete
  joined: 0, // which join of this page was the latest when the room appeared
});

export function reduce(state, action) {
  if (Object.hasOwn(WHOLE, action.type)) return WHOLE[action.type](state, action);
  const room = state.rooms.get(action.roomId);
  if (!room && action.seq !== undefined) return { ...state, missed: new Map(state.missed).set(action.roomId, action.seq) };
  if (!room || !Object.hasOwn(ROOM, action.type)) return state;
  return withRoom(state, action.roomId, asOf(ROOM[action.type](room, action, state.userId), action.seq));
}

const WHOLE = {
  opened: (state, { roomId }) => ({ ...state, open: roomId }),
  joined: (state, { roomId, seq, head }) => {
    const joins = state.joins + 1;
    const known = state.rooms.get(roomId);
    const room = known ?? { ...emptyRoom(roomId), asOf: seq, stale: true };
    const joinHead = known ? head : seq - 1; // a new member's history ends before the join
    const left = new Map(state.left);
    left.delete(roomId);
    return withRoom({ ...state, joins, left }, roomId, { ...room, joinHead, joined: joins });
  },
  removed: (state, { roomId, seq }) => gone(state, roomId, seq),
  "room:list": (state, { rooms, invitations, joins = state.joins, gone = state.gone }) => {
    const there = new Set(rooms.map(({ roomId }) => roomId));
    const lost = [...state.rooms.values()].filter(({ roomId, joined }) => !there.has(roomId) && joined <= joins);
    const kept = lost.reduce((next, { roomId }) => withRoom(next, roomId, null), { ...state, invitations });
    return rooms.filter((item) => item.head > (state.left.get(item.roomId) ?? -1)).reduce((next, item) => withListed(next, item, gone), kept);
  },
  connected: (state, { userId, epoch = state.epoch }) => ({
    ...state,
    gone: state.gone + 1,
    userId,
    epoch,
    left: epoch === state.epoch ? state.left : new Map(),
    missed: new Map(),
    // The server does not repeat who is typing, and every page of this connection is newer than what came before it.
    rooms: new Map([...state.rooms].map(([roomId, room]) => [roomId, withContentGone({ ...room, typing: [], recent: [] }, state.gone + 1)])),
  }),
  "room:content_removed": (state, { roomId, reason, userId }) => {
    const room = state.rooms.get(roomId);
    if (!room) return state;
    const gone = state.gone + 1;
    const messages = reason === "erased" ? room.messages.map((each) => (each.userId === userId ? { ...each, content: null } : each)) : room.messages;
    return withRoom({ ...state, gone }, roomId, withContentGone({ ...room, messages }, gone));
  },
  "message:unread": (state, { roomId, lastRead }) => {
    const room = state.rooms.get(roomId);
    if (!room) return state;
    if (lastRead >= room.lastRead) return withRoom(state, roomId, withMarker(room, lastRead, state.userId));
    const gone = state.gone + 1;
    return withRoom({ ...state, gone }, roomId, withMarkerBack(room, lastRead, gone, state.userId));
  },
  "presence:changed": (state, { userId, status }) => ({
    ...state,
    rooms: new Map([...state.rooms].map(([roomId, room]) => [roomId, withStatus(room, userId, status)])),
  }),
  "room:user_left": (state, { roomId, userId, seq }) => {
    const room = state.rooms.get(roomId);
    // A leave up to `asOf` was followed by a join elsewhere: only what this connection received of the room ends.
    if (seq !== undefined && userId === state.userId)
      return seq <= (room?.asOf ?? -1) ? withRoom(state, roomId, unloaded(room)) : gone(state, roomId, seq);
    if (!room) return state;
    if (seq === undefined) return withRoom(state, roomId, withStatus(room, userId, "offline"));
    return withRoom(state, roomId, asOf(quiet(withoutMember(withoutInvited(room, userId), userId), userId), seq));
  },
};

const ROOM = {
  reset: (room) => ({
    ...emptyRoom(room.roomId),
    ...Object.fromEntries(["name", "visibility", "role", "topic", "archived", "unsent", "joined", "gone", "back"].map((field) => [field, room[field]])),
    stale: true,
  }),
  sending: (room, { message }) => ({ ...room, unsent: [...without(room.unsent, message.ref), { ...message, failure: null }] }),
  // An ack may overtake events with lower numbers, so it shows the message and changes no count.
  sent: (room, { ref, message }) => {
    const known = room.messages.some(({ seq }) => seq === message.seq);
    return { ...room, unsent: without(room.unsent, ref), messages: known ? room.messages : merged(room.messages, [message]) };
  },
  failed: (room, { ref, failure }) => ({
    ...room,
    unsent: room.unsent.map((each) => (each.ref === ref ? { ...each, failure } : each)),
  }),
  discarded: (room, { ref }) => ({ ...room, unsent: without(room.unsent, ref) }),

  "message:new": (room, { type, ...event }, self) => {
    const message = event.content === null && event.seq > room.asOf ? { ...event, removed: true } : event;
    const known = quiet({ ...withNew(room, message, self), unsent: without(room.unsent, message.ref) }, message.userId);
    return trimmed({ ...known, messages: merged(room.messages, [message]) });
  },
  "message:edited": (room, event, self) => changed(event.content === null ? removed(room, event, self) : room, event, self),
  "message:deleted": (room, event, self) => changed(removed(room, event, self), event, self),
  "message:reaction": changed,
  "message:pinned": changed,
  "typing:start": (room, { userId }) => ({ ...room, typing: [...room.typing.filter((each) => each !== userId), userId] }),
  "typing:stop": (room, { userId }) => quiet(room, userId),
  "message:history": (room, { messages, hasMore }, self) => {
    const page = fromPage(room, messages, self);
    const first = room.to < 0;
    const counted = first ? withFirstPage(room, page, self) : room;
    const reachesBack = first || !page.length || page[0].seq <= room.from;
    const from = hasMore ? Math.min(room.from, page[0]?.seq ?? Infinity) : 0;
    return {
      ...counted,
      from: reachesBack ? from : room.from,
      hasMore: reachesBack ? hasMore : room.hasMore,
      messages: merged(room.messages, page),
    };
  },
  "message:read": (room, { userId, messageId }, self) => {
    const known = withReceipts(room, [{ userId, messageId }]);
    return userId === self ? withMarker(known, messageId, self) : known;
  },
  "room:receipts": (room, { receipts }, self) => {
    const [before, known] = [room.receipts.get(self) ?? 0, withReceipts(room, receipts)];
    const read = known.receipts.get(self) ?? 0;
    if (read > before) return withMarker(known, read, self);
    // Messages were marked as unread here, and perhaps read since.
    return read > room.lastRead ? { ...known, stale: true } : known;
  },

  "room:members": (room, { members, hasMore, continued, invited = [] }) => ({
    ...room,
    invited: continued ? room.invited : new Map(invited.map((each) => [each.userId, each])),
    members: new Map([...(continued ? room.members : []), ...members.map((member) => [member.userId, member])]),
    moreMembers: hasMore ? members.at(-1).userId : null,
  }),
  "room:user_joined": (room, { userId, name, role, seq }) =>
    seq === undefined ? withStatus(room, userId, "online") : withMember(withoutInvited(room, userId), { userId, name, role, status: "online" }),
  "room:member_updated": (room, { userId, role, muted }, self) => {
    const known = userId === self && role ? { ...room, role } : room;
    const member = known.members.get(userId);
    return member ? withMember(known, { ...member, role: role ?? member.role, muted: muted ?? member.muted }) : known;
  },
  "room:updated": (room, { name, topic, archived }) => ({
    ...room,
    name: name ?? room.name,
    topic: topic === undefined ? room.topic : topic,
    archived: archived ?? room.archived,
  }),
  "room:created": (room) => room,
  "room:invited": (room, { userId, by }) => ({ ...room, invited: new Map(room.invited).set(userId, { userId, name: userId, by }) }),
};

/** Whether some room's counts are known to be out of date, so that `room:list` is to be asked. */
export function isStale(state) {
  return [...state.rooms.values()].some(({ stale }) => stale);
}

/** What a person is called in a room. */
export function nameOf(room, userId) {
  return room.members.get(userId)?.name ?? userId;
}

/** Whether somebody may delete what others wrote. */
export function mayModerate(room, userId) {
  const role = room.members.get(userId)?.role ?? room.role;
  return role === "owner" || role === "moderator";
}

function withRoom(state, roomId, room) {
  const rooms = new Map(state.rooms);
  if (room) rooms.set(roomId, room);
  else rooms.delete(roomId);
  return { ...state, rooms, open: rooms.has(state.open) ? state.open : null };
}

function withListed(state, item, gone) {
  const room = state.rooms.get(item.roomId) ?? { ...emptyRoom(item.roomId), joined: state.joins };
  const { name, visibility, topic, archived, role } = item;
  const known = item.head < room.asOf ? room : { ...room, name: name || room.name, visibility, topic, archived, role };
  const listed = withListedCounts(known, item, gone, state.userId);
  // The list was asked before an event that came when the room was not known.
  return withRoom(state, item.roomId, { ...listed, stale: listed.stale || item.head < (state.missed.get(item.roomId) ?? 0) });
}

function gone(state, roomId, seq) {
  const left = new Map(state.left).set(roomId, Math.max(seq, state.left.get(roomId) ?? 0));
  const invitations = state.invitations.filter((each) => each.roomId !== roomId);
  return withRoom({ ...state, left, invitations }, roomId, null);
}

/** The room as it is before the first page that follows a join. */
function unloaded(room) {
  const { messages, recent, hasMore, from, to } = emptyRoom(room.roomId);
  return { ...room, messages, recent, hasMore, from, to };
}

/** The room with the counts after an event has removed a message's content. */
function removed(room, { messageId, seq }, self) {
  const message = room.messages.find((each) => each.messageId === messageId);
  return withoutContent(room, message, messageId, seq, self);
}

function quiet(room, userId) {
  return room.typing.includes(userId) ? { ...room, typing: room.typing.filter((each) => each !== userId) } : room;
}

function trimmed(room) {
  if (room.messages.length <= MOST_MESSAGES) return room;
  const messages = room.messages.slice(-TRIMMED_TO);
  return { ...room, messages, from: Math.max(room.from, messages[0].seq), hasMore: true };
}

function withReceipts(room, incoming) {
  const receipts = new Map(room.receipts);
  for (const { userId, messageId } of incoming) receipts.set(userId, Math.max(messageId, receipts.get(userId) ?? 0));
  return { ...room, receipts };
}

function withMember(room, member) {
  return { ...room, members: new Map(room.members).set(member.userId, member) };
}

function withoutInvited(room, userId) {
  const invited = new Map(room.invited);
  return invited.delete(userId) ? { ...room, invited } : room;
}

function withoutMember(room, userId) {
  const members = new Map(room.members);
  members.delete(userId);
  return { ...room, members };
}

function withStatus(room, userId, status) {
  const member = room.members.get(userId);
  return member ? withMember(room, { ...member, status }) : room;
}

function without(unsent, ref) {
  return ref === undefined ? unsent : unsent.filter((each) => each.ref !== ref);
}
