/*
 * What a person is asked before they leave a room.
 */

import { isolated, labelOf } from "./names.js";

/** The question, or undefined if leaving needs none. `successor` is the user who becomes the owner, if there is one. */
export function leaveQuestion(room, successor) {
  const name = isolated(room.name);
  const handover = successor && `You are the only owner of ${name}. If you leave, ${labelOf(room, successor)} becomes its owner.`;
  const back = room.visibility === "private" && "You can come back only if you are invited again.";
  return handover || back ? [handover, `Leave ${name}?`, back].filter(Boolean).join(" ") : undefined;
}
