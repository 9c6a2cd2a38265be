/*
 * Hooks for React over the client.
 *
 * Invariant: what a hook returns is the same object until it changes, so a component is drawn again only then.
 */
import { createContext, createElement, useCallback, useContext, useEffect, useRef, useState, useSyncExternalStore, type ReactElement, type ReactNode } from "react";
import type { ConnectionState, Member, Message, OnRecord, OnRecordError, PendingMessage, Room, RoomOverview } from "./index.js";

const Context = createContext<OnRecord | undefined>(undefined);

/** Gives the client to the hooks below it. It neither connects nor closes: the application does. */
export function OnRecordProvider({ client, children }: { client: OnRecord; children?: ReactNode }): ReactElement {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the provider. */
export function useClient(): OnRecord {
  const client = useContext(Context);
  if (!client) throw new Error("There is no <OnRecordProvider> around this component.");
  return client;
}

/** The state of the connection, and why it is not connected, if that is known. */
export function useConnection(): { state: ConnectionState; error: OnRecordError | undefined; userId: string } {
  const client = useClient();
  const error = useRef<OnRecordError | undefined>(undefined);
  const subscribe = useCallback(
    (changed: () => void) =>
      client.on("state", (_state, why) => {
        error.current = why;
        changed();
      }),
    [client],
  );
  const state = useSyncExternalStore(subscribe, () => client.state, () => "closed" as const);
  return { state, error: error.current, userId: client.userId };
}

/** Joins a room while the component is shown: the room, undefined until it is joined, or why it could not be. */
export function useRoom(roomId: string): { room: Room | undefined; error: OnRecordError | undefined } {
  const client = useClient();
  const { state } = useConnection();
  const open = state !== "closed"; // before `connect` there is nothing to join with
  const [found, setFound] = useState<{ roomId?: string; room?: Room; error?: OnRecordError }>({});
  useEffect(() => {
    if (!open) return undefined;
    let shown = true;
    client.join(roomId).then(
      (room) => shown && setFound({ roomId, room }),
      (error: OnRecordError) => shown && error.code !== "closed" && setFound({ roomId, error }),
    );
    return () => {
      shown = false;
    };
  }, [client, roomId, open]);
  const current = found.roomId === roomId ? found : {};
  return { room: current.room, error: current.error };
}

/** The messages of a room: those of the record in order, then the own ones on their way. */
export function useMessages(room: Room | undefined): readonly (Message | PendingMessage)[] {
  return useOf(room, (each) => each.messages, NOTHING);
}

/** The ids of the users who are typing in a room. */
export function useTyping(room: Room | undefined): readonly string[] {
  return useOf(room, (each) => each.typing, NOTHING);
}

/** The members of a room, with `status` and `lastSeen`. */
export function usePresence(room: Room | undefined): readonly Member[] {
  return useOf(room, (each) => each.members, NOTHING);
}

/** The unread messages of a room and those among them that mention the user; of all rooms together without one. */
export function useUnread(room?: Room): { unread: number; mentions: number } {
  const rooms = useRooms();
  const unread = useOf(room, (each) => each.unread, 0);
  const mentions = useOf(room, (each) => each.mentions, 0);
  if (room) return { unread, mentions };
  return { unread: rooms.reduce((sum, each) => sum + each.unread, 0), mentions: rooms.reduce((sum, each) => sum + each.mentions, 0) };
}

/** The user's rooms with their counts, kept current. */
export function useRooms(): readonly RoomOverview[] {
  const client = useClient();
  const subscribe = useCallback((changed: () => void) => client.on("rooms", changed), [client]);
  return useSyncExternalStore(subscribe, () => client.rooms, () => NOTHING);
}

const NOTHING: readonly never[] = [];

function useOf<T>(room: Room | undefined, of: (room: Room) => T, otherwise: T): T {
  const subscribe = useCallback((changed: () => void) => (room ? onceATurn(room, changed) : () => {}), [room]);
  const read = () => (room ? of(room) : otherwise);
  return useSyncExternalStore(subscribe, read, read);
}

/** Calls `changed` once for the many events that arrive together after a reconnect. */
function onceATurn(room: Room, changed: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const off = room.on("update", () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      changed();
    }, 0);
  });
  return () => {
    clearTimeout(timer);
    off();
  };
}
