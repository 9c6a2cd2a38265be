/*
 * Messages, and what events change of them: content, reactions, pins. Pure.
 *
 * A page of history may have been read before events that arrived first, so the latest changes are applied to it again.
 * Invariant: a message is the same after an event that was received twice.
 */
import type { MessageDeleted, MessageEdited, MessageNew, MessagePinned, MessageReaction, Message as PageMessage, Reaction } from "./protocol.js";

/** A message on the record. `ref` is known for own messages that were received live. */
export interface Message extends PageMessage {
  readonly ref?: string;
  readonly pending?: false;
  readonly failed?: undefined;
  /** @internal Whether an event has reported that the content is gone, so that it is subtracted from counts once. */
  readonly removed?: boolean;
}

export type ChangeEvent = MessageEdited | MessageDeleted | MessageReaction | MessagePinned;

export interface Changeable {
  readonly messages: readonly Message[]; // ascending seq
  readonly recent: readonly ChangeEvent[];
  readonly asOf: number;
}

const MOST_RECENT = 100;
const USERS_LISTED = 100; // of a reaction, by the server

function change(message: Message, event: ChangeEvent, self: string): Message {
  switch (event.type) {
    case "message:edited":
      return { ...message, content: event.content, editedAt: event.at, ...(event.content === null && { removed: true }) };
    case "message:deleted":
      return { ...message, content: null, deletedAt: event.at, reactions: [], pinned: false, removed: true };
    case "message:reaction":
      return { ...message, reactions: reacted(message.reactions ?? [], event, self) };
    case "message:pinned":
      return { ...message, pinned: event.pinned };
  }
}

export function isChange(event: { type: string }): event is ChangeEvent {
  return event.type === "message:edited" || event.type === "message:deleted" || event.type === "message:reaction" || event.type === "message:pinned";
}

/** The place of a message, or of the first one after it. */
export function placeOf(messages: readonly { readonly seq: number }[], seq: number): number {
  let [low, high] = [0, messages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((messages[middle] as { seq: number }).seq < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function messageOf(messages: readonly Message[], messageId: number): Message | undefined {
  const found = messages[placeOf(messages, messageId)]; // a message's id is its seq
  return found?.messageId === messageId ? found : undefined;
}

/** The room with the message of an event changed, and the event kept for pages that are still on their way. */
export function changed<R extends Changeable>(room: R, event: ChangeEvent, self: string): R {
  const recent = [...room.recent, event].slice(-MOST_RECENT);
  const known = messageOf(room.messages, event.messageId);
  if (!known) return { ...room, recent };
  const now = change(known, event, self);
  const messages = [...room.messages];
  // A resumed event that the counts include already comes without the content that a later one removes.
  messages[placeOf(messages, known.seq)] = event.seq <= room.asOf ? withRemoved(now, known.removed) : now;
  return { ...room, messages, recent };
}

function withRemoved(message: Message, removed: boolean | undefined): Message {
  const { removed: _, ...rest } = message;
  return removed === undefined ? rest : { ...rest, removed };
}

/** Messages of a page, as the state holds them. */
export function fromPage(room: Changeable, messages: readonly PageMessage[], self: string): Message[] {
  return messages.map((message) => {
    const reactions = message.reactions ?? [];
    const recent = room.recent.filter((event) => event.messageId === message.messageId && applies(event, reactions, self));
    return recent.reduce<Message>((known, event) => change(known, event, self), message);
  });
}

/** The messages with others added, by seq. What only this client knows of a message is kept. */
export function merged(messages: readonly Message[], incoming: readonly Message[]): readonly Message[] {
  const [first] = incoming;
  if (!first) return messages;
  if (first.seq > (messages.at(-1)?.seq ?? 0)) return [...messages, ...incoming];
  const bySeq = new Map(messages.map((message) => [message.seq, message]));
  for (const message of incoming) {
    const { ref, removed } = bySeq.get(message.seq) ?? {};
    bySeq.set(message.seq, { ...(ref !== undefined && { ref }), ...(removed && { removed }), ...message });
  }
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

export function fromEvent({ type: _, ...message }: MessageNew): Message {
  return message;
}

/** Whether an event can be applied a second time: of a reaction with more users than are listed only the user's own. */
function applies(event: ChangeEvent, reactions: readonly Reaction[], self: string): boolean {
  const known = event.type === "message:reaction" && reactions.find(({ emoji }) => emoji === event.emoji);
  return !known || event.userId === self || known.count === known.userIds.length;
}

function reacted(reactions: readonly Reaction[], { emoji, userId, added }: MessageReaction, self: string): readonly Reaction[] {
  const known = reactions.find((each) => each.emoji === emoji) ?? { emoji, count: 0, userIds: [], mine: false };
  const listed = known.userIds.includes(userId);
  const all = known.count === known.userIds.length;
  const has = userId === self ? known.mine : listed || (!added && !all);
  if (added === has) return reactions;
  const userIds = added ? [...known.userIds, ...(all && known.count < USERS_LISTED ? [userId] : [])] : known.userIds.filter((each) => each !== userId);
  const now = { emoji, count: known.count + (added ? 1 : -1), userIds, mine: userId === self ? added : known.mine };
  if (!now.count) return reactions.filter((each) => each !== known);
  return reactions.includes(known) ? reactions.map((each) => (each === known ? now : each)) : [...reactions, now];
}
