/*
 * What the page knows, as a fold of what it heard: `reduce(state, action) -> state`, for events of the wire by their
 * own names and for what the page itself did (`connected`, `opened`, `joined`, `sending`, `sent`, `failed`, `discarded`, `reset`, `removed`).
 * Its rule: pure, and the same after an event heard twice. A message is known by its seq, an unsent one by its ref.
 */

const MOST_MESSAGES = 2000;
const TRIMMED_TO = 1500;

export const emptyState = (userId) => ({ userId, open: null, rooms: new Map(), invitations: [] });

const emptyRoom = (roomId) => ({
  roomId,
  name: roomId,
  visibility: "public",
  topic: null,
  archived: false,
  role: "member",
  typing: [], // user ids, in the order in which they began
  messages: [], // ascending seq
  unsent: [], // {ref, content, replyTo, mentions, failure: null | {code, message, retryable}}
  hasMore: false,
  members: new Map(),
  moreMembers: null, // or the user id after which there are more
  receipts: new Map(), // userId -> messageId
  lastRead: 0,
  unread: 0,
  mentions: 0, // of those unread
  countedTo: 0, // seq up to which these two have counted
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
  "room:list": (state, { rooms, invitations }) =>
    rooms.reduce((next, item) => withRoom(next, item.roomId, listed(next.rooms.get(item.roomId), item, next.userId)), {
      ...state,
      invitations,
    }),
  // Who types is not told again on the next connection.
  connected: (state, { userId }) => ({
    ...state,
    userId,
    rooms: new Map([...state.rooms].map(([roomId, room]) => [roomId, { ...room, typing: [] }])),
  }),
  "presence:changed": (state, { userId, status }) => ({
    ...state,
    rooms: new Map([...state.rooms].map(([roomId, room]) => [roomId, withStatus(room, userId, status)])),
  }),
};

const ROOM = {
  reset: (room) => ({ ...emptyRoom(room.roomId), name: room.name, visibility: room.visibility, unsent: room.unsent }),
  sending: (room, { message }) => ({ ...room, unsent: [...without(room.unsent, message.ref), { ...message, failure: null }] }),
  // An ack may overtake events with lower numbers, so it shows the message but moves no count.
  sent: (room, { ref, message }) => ({ ...room, unsent: without(room.unsent, ref), messages: merged(room.messages, [message]) }),
  failed: (room, { ref, failure }) => ({
    ...room,
    unsent: room.unsent.map((each) => (each.ref === ref ? { ...each, failure } : each)),
  }),
  discarded: (room, { ref }) => ({ ...room, unsent: without(room.unsent, ref) }),

  "message:new": (room, { type, ...message }, self) =>
    trimmed(counted(quiet({ ...room, unsent: without(room.unsent, message.ref) }, message.userId), [message], self)),
  "message:edited": (room, { messageId, content, at }) => changed(room, messageId, { content, editedAt: at }),
  "message:deleted": (room, { messageId, at }, self) => {
    const gone = others(room.messages.filter((each) => each.messageId === messageId), room.lastRead, self);
    const { unread, mentions } = room;
    const left = { unread: Math.max(0, unread - gone.unread), mentions: Math.max(0, mentions - gone.mentions) };
    return changed({ ...room, ...left }, messageId, { content: null, deletedAt: at, reactions: [], pinned: false });
  },
  "message:reaction": (room, { messageId, emoji, userId, added }) => {
    const reactions = room.messages.find((each) => each.messageId === messageId)?.reactions ?? [];
    return changed(room, messageId, { reactions: reacted(reactions, emoji, userId, added) });
  },
  "message:pinned": (room, { messageId, pinned }) => changed(room, messageId, { pinned }),
  "typing:start": (room, { userId }) => ({ ...room, typing: [...room.typing.filter((each) => each !== userId), userId] }),
  "typing:stop": (room, { userId }) => quiet(room, userId),
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
    return userId === self ? null : quiet(withoutMember(room, userId), userId);
  },
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
};

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

function listed(known, item, self) {
  const room = known ?? emptyRoom(item.roomId);
  const lastRead = Math.max(room.lastRead, item.lastRead ?? 0);
  // The list is a read model and may lag behind this page: what it cannot know yet is counted here.
  const here = room.lastRead > (item.lastRead ?? 0);
  const since = others(room.messages, here ? room.lastRead : item.head, self);
  const [unread, mentions] = here ? [0, 0] : [item.unread, item.mentions];
  return {
    ...room,
    name: item.name || room.name,
    visibility: item.visibility,
    topic: item.topic,
    archived: item.archived,
    role: item.role,
    lastRead,
    unread: unread + since.unread,
    mentions: mentions + since.mentions,
    countedTo: Math.max(room.countedTo, item.head),
  };
}

function counted(room, messages, self) {
  const more = others(messages, room.countedTo, self);
  const [unread, mentions] = [room.unread + more.unread, room.mentions + more.mentions];
  const countedTo = Math.max(room.countedTo, messages.at(-1)?.seq ?? 0);
  return { ...room, unread, mentions, countedTo, messages: merged(room.messages, messages) };
}

/** How many messages of others there are after a seq, and how many of these mention oneself. */
function others(messages, after, self) {
  const found = messages.filter(({ seq, userId, content }) => seq > after && userId !== self && content !== null);
  return { unread: found.length, mentions: found.filter(({ mentions }) => mentions?.includes(self)).length };
}

function reacted(reactions, emoji, userId, added) {
  const known = reactions.find((each) => each.emoji === emoji) ?? { emoji, count: 0, userIds: [] };
  if (added === known.userIds.includes(userId)) return reactions;
  const userIds = added ? [...known.userIds, userId] : known.userIds.filter((each) => each !== userId);
  const now = { emoji, count: known.count + (added ? 1 : -1), userIds };
  if (!now.count) return reactions.filter((each) => each !== known);
  return reactions.includes(known) ? reactions.map((each) => (each === known ? now : each)) : [...reactions, now];
}

function quiet(room, userId) {
  return room.typing.includes(userId) ? { ...room, typing: room.typing.filter((each) => each !== userId) } : room;
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
  return { ...room, receipts, lastRead, ...others(room.messages, lastRead, self) };
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
