/*
 * What was written and not sent is still there after a reload, and when a person comes back from the identity provider.
 * Its rule: kept in sessionStorage, which belongs to one tab, and forgotten when the person signs out.
 */

const KEY = "onrecord.drafts";

/** Keeps drafts [[roomId, text]] and the messages of `rooms` that are not on the record. */
export function keepDrafts(drafts, rooms, online) {
  const unsent = [...rooms].flatMap(({ roomId, unsent: all }) =>
    all.filter(({ failure }) => failure || !online).map(({ content }) => [roomId, content]),
  );
  sessionStorage.setItem(KEY, JSON.stringify([...drafts, ...unsent]));
}

export function forgetDrafts() {
  sessionStorage.removeItem(KEY);
}

/** Returns what was kept, roomId -> text, and forgets it. */
export function takeDrafts() {
  const drafts = new Map();
  for (const [roomId, text] of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) {
    drafts.set(roomId, [drafts.get(roomId), text].filter(Boolean).join("\n"));
  }
  forgetDrafts();
  return drafts;
}
