/*
 * Deciding what has been read, and when to tell the server.
 * Its rule: the newest message counts as read once it is on screen in a focused tab. That shows here at once; the server
 * hears of it at most once a second, the latest mark of each room only.
 */

const PAUSE_MS = 1_000;

export class ReadMarks {
  #seen;
  #tell;
  #owed = new Map(); // roomId -> messageId
  #timer = null;
  #paused = null; // the room of which nothing counts as read, since a message was marked as unread

  /** `seen(roomId, messageId)` is for this page, `tell(roomId, messageId)` for the server. */
  constructor({ seen, tell }) {
    this.#seen = seen;
    this.#tell = tell;
  }

  /** Call whenever the newest message of the room may have come into view. */
  look(room, self) {
    if (document.hidden || !document.hasFocus() || room.roomId === this.#paused) return;
    const newest = room.messages.findLast(({ userId }) => userId !== self)?.messageId ?? 0;
    if (newest <= room.lastRead) return;
    this.#owed.set(room.roomId, newest);
    this.#seen(room.roomId, newest);
    if (this.#timer === null) this.#pay();
  }

  /** Tells the server what was read of a room until now; from now on what is on screen of it does not count as read. */
  pause(roomId) {
    this.#paused = roomId;
    if (this.#owed.has(roomId)) this.#tell(roomId, this.#owed.get(roomId));
    this.#owed.delete(roomId);
  }

  resume() {
    this.#paused = null;
  }

  stop() {
    this.#owed.clear();
    this.#paused = null;
  }

  #pay() {
    this.#timer = this.#owed.size ? setTimeout(() => this.#pay(), PAUSE_MS) : null;
    for (const [roomId, messageId] of this.#owed) this.#tell(roomId, messageId);
    this.#owed.clear();
  }
}
