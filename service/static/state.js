/*
 * What the page knows, as a fold of what it heard: `reduce(state, action) -> state`, for events of the wire by their
 * own names and for what the page itself did (`opened`, `joined`, `sending`, `sent`, `failed`, `discarded`, `reset`, `removed`).
 * Its rule: pure, and the same after an event heard twice. A message is known by its seq, an unsent one by its ref.
 */

const MOST_MESSAGES = 2000;
const TRIMMED_TO = 1500;

export const emptyState = (userId) => ({ userId, open: null, rooms: new Map() });

const emptyRoom = (roomId) => ({
  roomId,
  name: roomId,
  visibility: "public",
  messages: [], // ascending seq
  unsent: [], // {ref, content, failure: null | {code, message, retryable}}
  hasMore: false,
  members: new Map(),
  moreMembers: null, // or the user id after which there are more
  receipts: new Map(), // userId -> messageId
  lastRead: 0,
  unread: 0,
  countedTo: 0, // seq up to which `unread` has counted
});

export function reduce(state, action) {
  if (Object.hasOwn(WHOLE, action.type)) return WHOLE[action.type](state, action);
  const room = state.rooms.get(action.roomId);
  if (!room || !Object.hasOwn(ROOM, action.type)) return state;
  return withRoom(state, action.roomId, ROOM[action.type](room, action, state.userId));
}

const WHOLE = {
  opened: (state, { roomId }) => ({ ...state, open: roomId }),
  joined: (state, { roomId, head }) => {
    const room = state.rooms.get(roomId) ?? emptyRoom(roomId);
    return withRoom(state, roomId, { ...room, countedTo: room.countedTo || head }); // unread counts start at the join
  },
  removed: (state, { roomId }) => withRoom(state, roomId, null),
  "room:list": (state, { rooms }) =>
    rooms.reduce((next, item) => withRoom(next, item.roomId, listed(next.rooms.get(item.roomId), item, next.userId)), state),
  "presence:changed": (state, { userId, status }) => ({
    ...state,
    rooms: new Map([...state.rooms].map(([roomId, room]) => [roomId, withStatus(room, userId, status)])),
  }),
};

const ROOM = {
  reset: (room) => ({ ...emptyRoom(room.roomId), name: room.name, visibility: room.visibility, unsent: room.unsent }),
  sending: (room, { ref, content }) => ({ ...room, unsent: [...without(room.unsent, ref), { ref, content, failure: null }] }),
  // An ack may overtake events with lower numbers, so it shows the message but moves no count.
  sent: (room, { ref, message }) => ({ ...room, unsent: without(room.unsent, ref), messages: merged(room.messages, [message]) }),
  failed: (room, { ref, failure }) => ({
    ...room,
    unsent: room.unsent.map((each) => (each.ref === ref ? { ...each, failure } : each)),
  }),
  discarded: (room, { ref }) => ({ ...room, unsent: without(room.unsent, ref) }),

  "message:new": (room, { type, ...message }, self) =>
    trimmed(counted({ ...room, unsent: without(room.unsent, message.ref) }, [message], self)),
  "message:edited": (room, { messageId, content, at }) => changed(room, messageId, { content, editedAt: at }),
  "message:deleted": (room, { messageId, at }, self) => {
    const unread = room.unread - others(room.messages.filter((each) => each.messageId === messageId), room.lastRead, self);
    return changed({ ...room, unread: Math.max(0, unread) }, messageId, { content: null, deletedAt: at });
  },
  "message:history": (room, { messages, hasMore }, self) => {
    const reachesBack = !room.messages.length || (messages[0]?.seq ?? 0) <= room.messages[0].seq;
    return { ...counted(room, messages, self), hasMore: reachesBack ? hasMore : room.hasMore };
  },
  "message:read": (room, { userId, messageId }, self) => withReceipts(room, [{ userId, messageId }], self),
  "room:receipts": (room, { receipts }, self) => withReceipts(room, receipts, self),

  "room:members": (room, { members, hasMore, continued }) => ({
    ...room,
    members: new Map([...(continued ? room.members : []), ...members.map((member) => [member.userId, member])]),
    moreMembers: hasMore ? members.at(-1).userId : null,
  }),
  "room:user_joined": (room, { userId, name, role, seq }) =>
    seq === undefined ? withStatus(room, userId, "online") : withMember(room, { userId, name, role, status: "online" }),
  "room:user_left": (room, { userId, seq }, self) => {
    if (seq === undefined) return withStatus(room, userId, "offline");
    return userId === self ? null : withoutMember(room, userId);
  },
  "room:updated": (room, { name }) => ({ ...room, name: name ?? room.name }),
};

/** What a person is called in a room. */
export function nameOf(room, userId) {
  return room.members.get(userId)?.name ?? userId;
}

function withRoom(state, roomId, room) {
  const rooms = new Map(state.rooms);
  if (room) rooms.set(roomId, room);
  else rooms.delete(roomId);
  return { ...state, rooms, open: rooms.has(state.open) ? state.open : null };
}

function listed(known, item, self) {
  const room = known ?? emptyRoom(item.roomId);
  const lastRead = Math.max(room.lastRead, item.lastRead ?? 0);
  // The list is a read model and may lag behind this page: what it cannot know yet is counted here.
  const unread =
    room.lastRead > (item.lastRead ?? 0)
      ? others(room.messages, room.lastRead, self)
      : item.unread + others(room.messages, item.head, self);
  return {
    ...room,
    name: item.name || room.name,
    visibility: item.visibility,
    lastRead,
    unread,
    countedTo: Math.max(room.countedTo, item.head),
  };
}

function counted(room, messages, self) {
  const unread = room.unread + others(messages, room.countedTo, self);
  const countedTo = Math.max(room.countedTo, messages.at(-1)?.seq ?? 0);
  return { ...room, unread, countedTo, messages: merged(room.messages, messages) };
}

function others(messages, after, self) {
  return messages.filter(({ seq, userId, content }) => seq > after && userId !== self && content !== null).length;
}

function merged(messages, incoming) {
  if (incoming.length === 1 && incoming[0].seq > (messages.at(-1)?.seq ?? 0)) return [...messages, incoming[0]];
  const bySeq = new Map(messages.map((message) => [message.seq, message]));
  for (const message of incoming) bySeq.set(message.seq, { ...bySeq.get(message.seq), ...message });
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

function trimmed(room) {
  if (room.messages.length <= MOST_MESSAGES) return room;
  return { ...room, messages: room.messages.slice(-TRIMMED_TO), hasMore: true };
}

function changed(room, messageId, change) {
  return { ...room, messages: room.messages.map((each) => (each.messageId === messageId ? { ...each, ...change } : each)) };
}

function withReceipts(room, incoming, self) {
  const receipts = new Map(room.receipts);
  for (const { userId, messageId } of incoming) receipts.set(userId, Math.max(messageId, receipts.get(userId) ?? 0));
  const lastRead = Math.max(room.lastRead, receipts.get(self) ?? 0);
  if (lastRead === room.lastRead) return { ...room, receipts };
  return { ...room, receipts, lastRead, unread: others(room.messages, lastRead, self) };
}

function withMember(room, member) {
  return { ...room, members: new Map(room.members).set(member.userId, member) };
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
