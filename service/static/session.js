/*
 * Who this tab is: signed in at the identity provider, or by the demo sign-in of development, and the token it has.
 * Its rule: kept in sessionStorage, which belongs to one tab, so that two windows can be two people. What the sign-in is
 * renewed by is not here: a cookie that no script can read holds it, under the name that `renewal` gives.
 */

const KEY = "onrecord.session";
const PLACE = "onrecord.place"; // the room that was open when this tab left for the provider
const CALLBACK = "/signin/callback";
const ANSWER_MS = 15_000;

/** Why there is no token. `final`: asking again will not help. `code` is the server's, where it said so. */
class SignInRefused extends Error {
  constructor(message, final, code = "") {
    super(message);
    this.final = final;
    this.code = code;
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
  const renewal = currentSession()?.renewal;
  sessionStorage.removeItem(KEY);
  if (renewal) ask("/signin/end", { renewal }).catch(() => {}); // who is out here is out, whatever becomes of that
}

/** The ways to sign in that this server offers: {demo, provider}. */
export function offered() {
  return ask("/signin");
}

/** The demo sign-in: under any name. */
export async function signIn(name) {
  const person = { userId: userIdFor(name), name: name.trim() };
  if (!person.userId) throw new SignInRefused("A name needs at least one letter or digit.", true);
  keep({ ...person, demo: true, token: await demoToken(person) });
}

/** Leaves for the identity provider. */
export async function goToProvider() {
  const { address } = await ask("/signin/begin", {});
  sessionStorage.setItem(PLACE, location.hash);
  location.assign(address);
}

/** Whether this page was opened by the identity provider's sending somebody back. */
export const comesBack = () => location.pathname === CALLBACK;

/** Signs in whoever came back. The code leaves the address first, so that no reload sends it again. */
export async function finishSignIn() {
  const back = new URLSearchParams(location.search);
  history.replaceState(null, "", `/${sessionStorage.getItem(PLACE) ?? ""}`);
  sessionStorage.removeItem(PLACE);
  const given = ["state", "code", "error", "iss"].filter((name) => back.has(name)).map((name) => [name, back.get(name)]);
  keep(await ask("/signin/finish", Object.fromEntries(given)));
}

/** The tab's token; a newly issued one if `fresh`, for which nobody has to do anything. */
export async function getToken(fresh) {
  const session = currentSession();
  if (!session) throw new SignInRefused("You are signed out.", true);
  if (!fresh) return session.token;
  const token = session.demo ? await demoToken(session) : await renewed(session);
  if (currentSession()?.userId === session.userId) keep({ ...session, token }); // signing out meanwhile stays signed out
  return token;
}

/** A tab that was duplicated has the same cookie, and of most providers what is in it is good once: so one at a time. */
async function renewed(session) {
  const expired = () => new SignInRefused("Your sign-in has expired.", true, "token_expired");
  const { renewal } = session;
  if (!renewal) throw expired();
  const renew = () => ask("/signin/renew", { renewal });
  try {
    const { token } = await (navigator.locks ? navigator.locks.request(`onrecord.renewal.${renewal}`, renew) : renew());
    return token;
  } catch (error) {
    if (!error.final) throw error;
    if (currentSession()?.renewal === renewal) keep({ ...session, renewal: null }); // it will not be renewed later either
    throw expired();
  }
}

function keep({ userId, name, token, demo = false, renewal = null }) {
  sessionStorage.setItem(KEY, JSON.stringify({ userId, name, token, demo, renewal }));
}

async function demoToken({ userId, name }) {
  return (await ask("/dev/token", { userId, name })).token;
}

/** The server's answer: to a question, or to `body` where there is one. */
async function ask(path, body) {
  const sent = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { ...sent, signal: AbortSignal.timeout(ANSWER_MS) });
  } catch {
    throw new SignInRefused("The server cannot be reached.", false);
  }
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** What an RFC 9457 problem document says. */
async function refusal(response) {
  const { detail, title, code } = await response.json().catch(() => ({}));
  const final = response.status < 500 && response.status !== 429;
  return new SignInRefused(detail ?? title ?? `The server refused the sign-in (${response.status}).`, final, code);
}
