/*
 * Who this tab is: the demo sign-in of development, and the token it buys.
 * Its rule: kept in sessionStorage, which belongs to one tab, so that two windows can be two people.
 */

const KEY = "onrecord.session";
const TOKEN_MS = 15_000;

/** Why there is no token. `final`: asking again will not help. */
class SignInRefused extends Error {
  constructor(message, final) {
    super(message);
    this.final = final;
  }
}

/** "José Núñez" -> "jose-nunez". What the alphabet of ids cannot hold is spelled by its code point. */
function slug(name, outsiders, length) {
  const plain = name.trim().normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase().replace(/\s+/g, "-");
  const spelled = plain.replace(outsiders, (char) => (char < "\x80" ? "" : `u${char.codePointAt(0).toString(16)}`));
  return spelled.replace(/^[^a-z0-9]+/, "").slice(0, length);
}

export const userIdFor = (name) => slug(name, /[^a-z0-9._@|-]/gu, 128);
export const roomIdFor = (name) => slug(name, /[^a-z0-9._-]/gu, 64);

export function currentSession() {
  return JSON.parse(sessionStorage.getItem(KEY));
}

export function signOut() {
  sessionStorage.removeItem(KEY);
}

export async function signIn(name) {
  const person = { userId: userIdFor(name), name: name.trim() };
  if (!person.userId) throw new SignInRefused("A name needs at least one letter or digit.", true);
  keep(person, await requestToken(person));
}

/** The tab's token; a newly issued one if `fresh`. */
export async function getToken(fresh) {
  const session = currentSession();
  if (!session) throw new SignInRefused("You are signed out.", true);
  if (!fresh) return session.token;
  const token = await requestToken(session);
  if (currentSession()?.userId === session.userId) keep(session, token); // signing out meanwhile stays signed out
  return token;
}

function keep({ userId, name }, token) {
  sessionStorage.setItem(KEY, JSON.stringify({ userId, name, token }));
}

async function requestToken({ userId, name }) {
  let response;
  try {
    response = await fetch("/dev/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ userId, name }),
      signal: AbortSignal.timeout(TOKEN_MS),
    });
  } catch {
    throw new SignInRefused("The server cannot be reached.", false);
  }
  if (response.status === 404) throw new SignInRefused("This server does not offer the demo sign-in.", true);
  if (!response.ok) throw new SignInRefused(await problem(response), response.status < 500 && response.status !== 429);
  return (await response.json()).token;
}

/** The sentence inside an RFC 9457 problem document. */
async function problem(response) {
  const { detail, title } = await response.json().catch(() => ({}));
  return detail ?? title ?? `The server refused the sign-in (${response.status}).`;
}
