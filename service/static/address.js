/*
 * The room that the address names, as in /#general; without one it names the list of rooms.
 * Its rule: each room that a person goes to is an entry of the browser's history, so that its back button goes to the
 * room before. Going back and forth, and what others do, adds none.
 */

const ROOM_ID = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const FROM_ROOMS = { fromRooms: true }; // the state of a room's entry that follows an entry of the list

/** The id of the room that the address names; "" for the list of rooms. */
export function namedRoom() {
  const named = location.hash.slice(1);
  return ROOM_ID.test(named) ? named : "";
}

export function goToRoom(roomId) {
  if (namedRoom() !== roomId) history.pushState(namedRoom() ? null : FROM_ROOMS, "", `#${roomId}`);
}

/** The people of the open room get an entry of their own, where they cover it. */
export function goToPeople() {
  history.pushState({ people: true }, "");
}

/** Whether the present entry is that of the people of a room. */
export const namesPeople = () => history.state?.people === true;

/** Goes to the list of rooms, backwards where one came from there; `went` is called if no `popstate` will follow. */
export function goToRooms(went) {
  if (history.state?.fromRooms) return history.back();
  leaveRoom();
  return went();
}

/** The present entry names the list from now on, for instance since the room was left. */
export function leaveRoom() {
  history.replaceState(null, "", location.pathname);
}
