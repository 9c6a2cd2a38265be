/*
 * Messages, and what events change of them: content, reactions, pins.
 *
 * A page of history may have been read before events that arrived first, so the latest changes are applied to it again.
 * Invariant: a message is the same after an event that was received twice.
 */

const MOST_RECENT = 100;
const USERS_LISTED = 100; // of a reaction, by the server

const CHANGES = {
  "message:edited": (message, { content, at }) =>
    ({ ...message, content, editedAt: at, ...(content === null && { removed: true }) }),
  "message:deleted": (message, { at }) =>
    ({ ...message, content: null, deletedAt: at, reactions: [], pinned: false, removed: true }),
  "message:reaction": (message, { emoji, userId, added }, self) =>
    ({ ...message, reactions: reacted(message.reactions ?? [], { emoji, userId, added }, self) }),
  "message:pinned": (message, { pinned }) => ({ ...message, pinned }),
};

/** The room with the message of an event changed, and the event kept for pages that are still on their way. */
export function changed(room, event, self) {
  const change = CHANGES[event.type];
  const messages = room.messages.map((each) => {
    if (each.messageId !== event.messageId) return each;
    const now = change(each, event, self);
    // A resumed event that the counts include already comes without the content that a later one removes.
    return event.seq <= room.asOf ? { ...now, removed: each.removed } : now;
  });
  return { ...room, messages, recent: [...room.recent, event].slice(-MOST_RECENT) };
}

/** Messages of a page, as the state holds them. */
export function fromPage(room, messages, self) {
  return messages.map((message) => {
    const reactions = (message.reactions ?? []).map((each) => ({ ...each, mine: each.mine ?? each.userIds.includes(self) }));
    const recent = room.recent.filter((event) => event.messageId === message.messageId && applies(event, reactions, self));
    return recent.reduce((known, event) => CHANGES[event.type](known, event, self), { ...message, reactions });
  });
}

/** The messages with others added, by seq. What only this page knows of a message is kept. */
export function merged(messages, incoming) {
  if (incoming.length === 1 && incoming[0].seq > (messages.at(-1)?.seq ?? 0)) return [...messages, incoming[0]];
  const bySeq = new Map(messages.map((message) => [message.seq, message]));
  for (const message of incoming) {
    const { ref, removed } = bySeq.get(message.seq) ?? {};
    bySeq.set(message.seq, { ...(ref && { ref }), ...(removed && { removed }), ...message });
  }
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

/** Whether an event can be applied a second time: of a reaction with more users than are listed only the user's own. */
function applies({ type, emoji, userId }, reactions, self) {
  const known = type === "message:reaction" && reactions.find((each) => each.emoji === emoji);
  return !known || userId === self || known.count === known.userIds.length;
}

function reacted(reactions, { emoji, userId, added }, self) {
  const known = reactions.find((each) => each.emoji === emoji) ?? { emoji, count: 0, userIds: [], mine: false };
  const listed = known.userIds.includes(userId);
  const all = known.count === known.userIds.length;
  const has = userId === self ? known.mine : listed || (!added && !all);
  if (added === has) return reactions;
  const userIds = added
    ? [...known.userIds, ...(all && known.count < USERS_LISTED ? [userId] : [])]
    : known.userIds.filter((each) => each !== userId);
  const now = { emoji, count: known.count + (added ? 1 : -1), userIds, mine: userId === self ? added : known.mine };
  if (!now.count) return reactions.filter((each) => each !== known);
  return reactions.includes(known) ? reactions.map((each) => (each === known ? now : each)) : [...reactions, now];
}
