/*
 * Unread counts of a room: the server's counts, adjusted by the events since. Pure.
 *
 * `unread` and `mentions` are exact as of the event `asOf` and the read marker `lastRead`, unless `stale` is true. A
 * change that cannot be derived from the loaded messages sets `stale`; the next `room:list` clears it. The loaded
 * messages are complete from the seq `from` to the seq `to`. Content that became unreadable without an event of its own
 * (an expiry, an erasure) may still be in those up to the seq `unsure`; a list asked before the change `gone` of this
 * client may count it, and one asked before the change `back`, in which messages were marked as unread, has another marker.
 *
 * Invariant: a count is never derived from messages that happen to be loaded, unless they are all that it counts.
 */
import { messageOf, placeOf, type Message } from "./changes.js";

export interface Counts {
  readonly lastRead: number;
  readonly unread: number;
  readonly mentions: number;
  readonly asOf: number;
  readonly stale: boolean;
  readonly from: number;
  readonly to: number;
  readonly unsure: number;
  readonly gone: number;
  readonly back: number;
}

interface Counted extends Counts {
  readonly messages: readonly Message[];
}

interface Both {
  unread: number;
  mentions: number;
}

export const NO_COUNTS: Counts = { lastRead: 0, unread: 0, mentions: 0, asOf: 0, stale: false, from: Infinity, to: -1, unsure: -1, gone: 0, back: 0 };

/** The number of messages of others after `after` up to `until`, and how many of these mention the user. */
function others(messages: readonly Message[], self: string, after: number, until = Infinity): Both {
  let [unread, mentions] = [0, 0];
  for (let place = placeOf(messages, after + 1); place < messages.length; place += 1) {
    const message = messages[place] as Message;
    if (message.seq > until) break;
    if (message.userId === self || message.content === null) continue;
    unread += 1;
    if (message.mentions?.includes(self)) mentions += 1;
  }
  return { unread, mentions };
}

/** The room after content of it may have become unreadable; `gone` numbers such changes. */
export function withContentGone<R extends Counted>(room: R, gone: number): R {
  const loaded = room.messages.at(-1)?.seq ?? -1;
  return { ...room, gone, unsure: Math.max(room.unsure, room.to, loaded), stale: room.stale || room.unread > 0 };
}

/** The counts of a row of `room:list`, if it is not older than what is known; `gone`: the latest change when it was asked. */
export function withListedCounts<R extends Counted>(room: R, row: { head: number; lastRead: number; unread: number; mentions: number }, gone: number, self: string): R {
  const { head, lastRead, unread, mentions } = row;
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
export function withMarker<R extends Counted>(room: R, messageId: number, self: string): R {
  if (messageId <= room.lastRead) return room;
  const moved = { ...room, lastRead: messageId };
  if (messageId >= room.asOf) return { ...moved, unread: 0, mentions: 0, stale: false };
  if (isComplete(room, messageId + 1)) {
    // The minimum, since messages before the user's join do not count.
    const left = others(room.messages, self, messageId, room.asOf);
    return { ...moved, unread: Math.min(room.unread, left.unread), mentions: Math.min(room.mentions, left.mentions) };
  }
  return { ...minus(moved, others(room.messages, self, room.lastRead, messageId)), stale: room.stale || room.unread > 0 };
}

/** The room with the user's marker moved back by the change `back`, since messages were marked as unread. */
export function withMarkerBack<R extends Counted>(room: R, lastRead: number, back: number, self: string): R {
  const moved = { ...room, lastRead, back };
  if (room.stale || !isComplete(room, lastRead + 1)) return { ...moved, stale: true };
  const more = others(room.messages, self, lastRead, Math.min(room.lastRead, room.asOf));
  return plus(moved, more);
}

/** The room as of a numbered event, which is not a new message. */
export function asOf<R extends Counted>(room: R, seq: number | undefined): R {
  if (seq === undefined) return room;
  return { ...room, asOf: Math.max(room.asOf, seq), to: room.to < 0 ? room.to : Math.max(room.to, seq) };
}

/** The room with the counts after a new message. */
export function withNew<R extends Counted>(room: R, message: Message, self: string): R {
  if (message.seq <= room.asOf || message.seq <= room.lastRead) return room;
  return plus(room, others([message], self, 0));
}

/** The room with the counts after the content of a message was removed by the event `seq`. */
export function withoutContent<R extends Counted>(room: R, messageId: number, seq: number, self: string): R {
  const message = messageOf(room.messages, messageId);
  if (seq <= room.asOf || messageId <= room.lastRead || message?.removed || message?.userId === self) return room;
  // Whether it was counted is unknown.
  if (!message || !isComplete(room, messageId) || message.content === null) return { ...room, stale: true };
  // Messages before the user's join do not count: those that do are the latest ones.
  const counted = room.unread > others(room.messages, self, messageId, room.asOf).unread;
  return counted ? minus(room, others([message], self, 0)) : room;
}

/** The room after the page that `room:join` sends; the counts become stale if it has events that they lack. */
export function withFirstPage<R extends Counted & { readonly joinHead: number }>(room: R, messages: readonly Message[], self: string): R {
  const to = Math.max(room.joinHead, messages.at(-1)?.seq ?? 0);
  const more = others(messages, self, Math.max(room.asOf, room.lastRead));
  return { ...plus(room, more), to, stale: room.stale || to > room.asOf, asOf: Math.max(room.asOf, to) };
}

/** Whether the loaded messages are all that the counts include from a seq on. */
function isComplete(room: Counted, seq: number): boolean {
  return room.from <= seq && room.unsure < seq && room.to >= room.asOf;
}

function plus<R extends Counted>(room: R, { unread, mentions }: Both): R {
  return { ...room, unread: Math.max(0, room.unread + unread), mentions: Math.max(0, room.mentions + mentions) };
}

function minus<R extends Counted>(room: R, { unread, mentions }: Both): R {
  return plus(room, { unread: -unread, mentions: -mentions });
}
