/*
 * What the server means when it closes, in words for people.
 * Its rule: a code listed in STAY_AWAY ends the session; every other one, known or not, means "come back".
 */

export const TOKEN_EXPIRED = 4001;
export const TOKEN_NOT_YET_VALID = 4002;
export const TOO_MANY_REQUESTS = 4009;

const COME_BACK = {
  4000: "The server is restarting.",
  4001: "Your sign-in expired and is being renewed.",
  4002: "Your sign-in is not valid yet: the clocks differ.",
  4008: "This connection was too slow to keep up.",
  4009: "Too many requests from here.",
  4010: "The connection went silent.",
  4011: "This server is catching up with the others.",
};
const STAY_AWAY = {
  1009: "The server refused something too large.",
  4500: "The server did not accept your sign-in. Please sign in again.",
  4501: "The server could not read what this page sent.",
  4502: "This page does not speak the server's protocol version. Please reload it.",
  4503: "This account is suspended.",
  4504: "This account was erased.",
};

export function isFinal(code) {
  return code in STAY_AWAY;
}

export function reasonFor(code) {
  return STAY_AWAY[code] ?? COME_BACK[code] ?? "The server cannot be reached.";
}
