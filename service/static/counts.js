/*
 * Unread counts of a room: the server's counts, adjusted by the events since.
 *
 * `unread` and `mentions` are exact as of the event `asOf` and the read marker `lastRead`, unless `stale` is true. A
 * change that cannot be derived from the loaded messages sets `stale`; the next `room:list` clears it. The loaded
 * messages are complete from the seq `from` to the seq `to`. Content that became unreadable without an event of its own
 * (an expiry, an erasure) may still be in those up to the seq `unsure`; a list asked before the change `gone` of this page
 * may count it, and one asked before the change `back`, in which messages were marked as unread, has another marker.
 *
 * Invariant: a count is never derived from messages that happen to be loaded, unless they are all that it counts.
 */

export const NO_COUNTS = { lastRead: 0, unread: 0, mentions: 0, asOf: 0, stale: false, from: Infinity, to: -1, unsure: -1, gone: 0, back: 0 };

/** Whether a message counts as unread for a user whose marker is before it. */
const counts = ({ userId, content }, self) => userId !== self && content !== null;

/** The number of messages of others after `after` up to `until`, and how many of these mention the user. */
function others(messages, self, after, until = Infinity) {
  const found = messages.filter((message) => message.seq > after && message.seq <= until && counts(message, self));
  return { unread: found.length, mentions: found.filter(({ mentions }) => mentions?.includes(self)).length };
}

/** The room after content of it may have become unreadable; `gone` numbers such changes on this page. */
export function withContentGone(room, gone) {
  const loaded = room.messages.at(-1)?.seq ?? -1;
  return { ...room, gone, unsure: Math.max(room.unsure, room.to, loaded), stale: room.stale || room.unread > 0 };
}

/**
 * The room with the counts of its row in `room:list`, if that row is not older than what is known here. `gone` is the
 * number of the latest change of content when the list was asked.
 */
export function withListedCounts(room, { head, lastRead, unread, mentions }, gone, self) {
  if (gone < room.back) return { ...room, stale: true };
  if (head < room.asOf) return withMarker(room, lastRead, self);
  const stale = gone < room.gone && unread > 0;
  const listed = { ...room, lastRead, unread, mentions, asOf: head, stale };
  // Of a room that is not received, no event says that messages were marked as unread.
  if (lastRead >= room.lastRead || room.to < 0) return listed;
  // The row does not have the latest marker.
  return room.stale ? withMarker(listed, room.lastRead, self) : room;
}

/** The room with the user's read marker moved forward to a message. */
export function withMarker(room, messageId, self) {
  if (messageId <= room.lastRead) return room;
  const moved = { ...room, lastRead: messageId };
  if (messageId >= room.asOf) return { ...moved, unread: 0, mentions: 0, stale: false };
  if (isComplete(room, messageId + 1)) {
    // The minimum, since messages before the user's join do not count.
    const left = others(room.messages, self, messageId, room.asOf);
    return { ...moved, unread: Math.min(room.unread, left.unread), mentions: Math.min(room.mentions, left.mentions) };
  }
  const read = others(room.messages, self, room.lastRead, messageId);
  return { ...minus(moved, read), stale: room.stale || room.unread > 0 };
}

/** The room with the user's marker moved back by the change `back` of this page, since messages were marked as unread. */
export function withMarkerBack(room, lastRead, back, self) {
  const moved = { ...room, lastRead, back };
  if (room.stale || !isComplete(room, lastRead + 1)) return { ...moved, stale: true };
  const more = others(room.messages, self, lastRead, Math.min(room.lastRead, room.asOf));
  return minus(moved, { unread: -more.unread, mentions: -more.mentions });
}

/** The room as of a numbered event, which is not a new message. */
export function asOf(room, seq) {
  if (seq === undefined) return room;
  return { ...room, asOf: Math.max(room.asOf, seq), to: room.to < 0 ? room.to : Math.max(room.to, seq) };
}

/** The room with the counts after a new message. */
export function withNew(room, message, self) {
  if (message.seq <= room.asOf || message.seq <= room.lastRead) return room;
  const { unread, mentions } = others([message], self, 0);
  return { ...room, unread: room.unread + unread, mentions: room.mentions + mentions };
}

/**
 * The room with the counts after the content of a message was removed by the event `seq`. `message` is undefined if it
 * is not loaded. `removed` is set on messages whose removal an event has reported, so that it is subtracted once.
 */
export function withoutContent(room, message, messageId, seq, self) {
  if (seq <= room.asOf || messageId <= room.lastRead || message?.removed || message?.userId === self) return room;
  if (!isComplete(room, messageId) || message.content === null) return { ...room, stale: true }; // whether it was counted is unknown
  // Messages before the user's join do not count: those that do are the latest ones.
  const counted = room.unread > others(room.messages, self, messageId, room.asOf).unread;
  return counted ? minus(room, others([message], self, 0)) : room;
}

/** The room after the page that `room:join` sends; the counts become stale if it has events that they lack. */
export function withFirstPage(room, messages, self) {
  const to = Math.max(room.joinHead, messages.at(-1)?.seq ?? 0);
  const more = others(messages, self, Math.max(room.asOf, room.lastRead));
  return {
    ...minus(room, { unread: -more.unread, mentions: -more.mentions }),
    to,
    stale: room.stale || to > room.asOf,
    asOf: Math.max(room.asOf, to),
  };
}

/** Whether the loaded messages are all that the counts include from a seq on. */
function isComplete(room, seq) {
  return room.from <= seq && room.unsure < seq && room.to >= room.asOf;
}

function minus(room, { unread, mentions }) {
  return { ...room, unread: Math.max(0, room.unread - unread), mentions: Math.max(0, room.mentions - mentions) };
}
