/*
 * Who this tab is: signed in at the identity provider, or by the demo sign-in of development, and the token it has.
 * Its rule: kept in sessionStorage, which belongs to one tab, so that two windows can be two people.
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
  sessionStorage.removeItem(KEY);
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

/** The tab's token; a newly issued one if `fresh`, which only the demo sign-in has without asking anybody. */
export async function getToken(fresh) {
  const session = currentSession();
  if (!session) throw new SignInRefused("You are signed out.", true);
  if (!fresh) return session.token;
  if (!session.demo) throw new SignInRefused("Your sign-in has expired.", true, "token_expired");
  const token = await demoToken(session);
  if (currentSession()?.userId === session.userId) keep({ ...session, token }); // signing out meanwhile stays signed out
  return token;
}

function keep({ userId, name, token, demo = false }) {
  sessionStorage.setItem(KEY, JSON.stringify({ userId, name, token, demo }));
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
