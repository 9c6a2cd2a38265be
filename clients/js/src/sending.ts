/*
 * The own messages on their way: what `room.messages` shows of them, and the promises of `send`.
 *
 * Invariant: a message is shown once: as pending or refused, or in its place in the room's order.
 */
import { OnRecordError } from "./errors.js";
import { Outbox } from "./outbox.js";
import type { MessageNew, MessageSendAck } from "./protocol.js";
import { newRef } from "./refs.js";
import type { PendingMessage, SendOptions, Sent } from "./room.js";
import type { Entry, EntryStore } from "./storage.js";

interface Waiting {
  resolve(sent: Sent): void;
  reject(error: OnRecordError): void;
}

export interface SendingHooks {
  readonly userId: string;
  transmit(entry: Entry): Promise<MessageSendAck>;
  cancel(ref: string): void;
  settled(roomId: string, seq: number): Promise<void>;
  changed(roomId: string, pending: readonly PendingMessage[], silently: boolean): void;
  problem(error: OnRecordError): void;
}

export class Sending {
  #hooks: SendingHooks;
  #outbox: Outbox;
  #waiting = new Map<string, Waiting>(); // by ref
  #pending = new Map<string, readonly PendingMessage[]>(); // by room

  constructor(store: EntryStore, hooks: SendingHooks) {
    this.#hooks = hooks;
    this.#outbox = new Outbox(store, {
      transmit: (entry) => hooks.transmit(entry),
      cancel: (entry) => hooks.cancel(entry.ref),
      sent: (entry, ack) => void this.#sent(entry, ack),
      failed: (entry, error) => this.#failed(entry, error),
      found: (entry) => this.#show(entry),
      dropped: (entry) => {
        this.#hide(entry.roomId, entry.ref);
        this.#take(entry.ref)?.reject(new OnRecordError("closed", "Another user has signed in.", true));
      },
    });
  }

  of(roomId: string): readonly PendingMessage[] {
    return this.#pending.get(roomId) ?? [];
  }

  start(userId: string): Promise<void> {
    return this.#outbox.start(userId);
  }

  /** Stops sending. With an error the promises of `send` end with it; the messages stay stored. */
  stop(error?: OnRecordError): void {
    this.#outbox.stop();
    if (!error) return;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }

  post(roomId: string, content: string, { replyTo, mentions }: SendOptions, ref = newRef()): Promise<Sent> {
    const entry: Entry = { ref, roomId, content: String(content), ...(replyTo !== undefined && { replyTo }), ...(mentions?.length && { mentions }), at: Date.now() };
    try {
      this.#show(entry);
      this.#outbox.add(entry);
    } catch (error) {
      this.#hide(roomId, ref);
      return Promise.reject(error as OnRecordError);
    }
    return new Promise((resolve, reject) => this.#waiting.set(ref, { resolve, reject }));
  }

  discard(roomId: string, ref: string): void {
    this.#outbox.discard(ref);
    this.#hide(roomId, ref);
    this.#take(ref)?.reject(new OnRecordError("closed", "The message was taken back."));
  }

  /**
   * A message of the room was received: it is shown there from now on. Returns whether it was shown as pending; the room
   * says so when it has the message, so that there is no moment without it.
   */
  received({ roomId, ref, userId }: MessageNew): boolean {
    if (ref === undefined || userId !== this.#hooks.userId || !this.of(roomId).some((each) => each.ref === ref)) return false;
    this.#set(roomId, this.of(roomId).filter((each) => each.ref !== ref), true);
    return true;
  }

  async #sent(entry: Entry, { messageId, seq, at, dropped }: MessageSendAck): Promise<void> {
    const waiting = this.#take(entry.ref);
    this.#alter(entry, { messageId, seq, at });
    await this.#hooks.settled(entry.roomId, seq);
    this.#hide(entry.roomId, entry.ref);
    waiting?.resolve({ messageId, seq, at, ref: entry.ref, ...(dropped?.length && { dropped }) });
  }

  #failed(entry: Entry, error: OnRecordError): void {
    this.#alter(entry, { pending: false, failed: error });
    const waiting = this.#take(entry.ref);
    if (waiting) waiting.reject(error);
    else this.#hooks.problem(error); // of an earlier instance, whose promise is gone
  }

  #take(ref: string): Waiting | undefined {
    const waiting = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return waiting;
  }

  #show({ ref, roomId, content, replyTo, mentions, at }: Entry): void {
    const shown: PendingMessage = {
      roomId, ref, userId: this.#hooks.userId, content, at: new Date(at || Date.now()).toISOString(), messageId: null, seq: null, pending: true,
      ...(replyTo !== undefined && { replyTo }), ...(mentions && { mentions }),
    };
    this.#set(roomId, [...this.of(roomId).filter((each) => each.ref !== ref), shown]);
  }

  #alter({ roomId, ref }: Entry, change: Partial<PendingMessage>): void {
    if (this.of(roomId).some((each) => each.ref === ref)) this.#set(roomId, this.of(roomId).map((each) => (each.ref === ref ? { ...each, ...change } : each)));
  }

  #hide(roomId: string, ref: string): void {
    if (this.of(roomId).some((each) => each.ref === ref)) this.#set(roomId, this.of(roomId).filter((each) => each.ref !== ref));
  }

  #set(roomId: string, pending: readonly PendingMessage[], silently = false): void {
    if (pending.length) this.#pending.set(roomId, pending);
    else this.#pending.delete(roomId);
    this.#hooks.changed(roomId, pending, silently);
  }
}
