/*
 * Which users a text mentions: ids after an @, in any case, with or without the punctuation that follows them.
 * The page knows only the members that it has loaded, so other ids are sent as they may be meant. The server drops those
 * that are not members, and its ack names them.
 */

const MOST = 100; // that the server accepts
const LONGEST = 255; // characters of a user id
const WORD_ENDS = /[\p{L}\p{N}._|-]$/u; // before an @, it makes an address of the two
const RUN = /^[!-~]+/;
const PLAIN = /^[a-z0-9][a-z0-9._@|-]*/i; // of a run: an id as most are, which other characters end
const SENTENCE = /[.,;:!?)\]}'">]+$/;
const USER_ID = /^(?!(?:service|os|node):)[!-~]{1,255}$/;

/** "@bob, see @Carol." -> ["bob", "carol"]; undefined if there is none. `members` are user ids. */
export function mentionsOf(content, members) {
  const named = namesIn(content, members);
  const ids = [...named.filter(({ known }) => known), ...named.filter(({ known }) => !known)].flatMap(({ ids: each }) => each);
  const found = [...new Set(ids)].slice(0, MOST);
  return found.length ? found : undefined;
}

/** The names after an @ that mention none of the users in `mentioned`. */
export function namesWithoutMention(content, members, mentioned) {
  const without = namesIn(content, members).filter(({ ids }) => !ids.some((id) => mentioned.includes(id)));
  return [...new Set(without.map(({ name }) => name))];
}

/** [{name, known, ids}]: of each name after an @ the ids that it may stand for, and whether they are members. */
function namesIn(content, members) {
  const ids = new Set(members);
  const alike = new Map(); // the ids that differ in case only
  for (const id of ids) alike.set(id.toLowerCase(), [...(alike.get(id.toLowerCase()) ?? []), id]);
  const found = [];
  let end = 0; // of the name before
  for (let at = content.indexOf("@"); at >= 0; at = content.indexOf("@", Math.max(at + 1, end))) {
    if (WORD_ENDS.test(content.slice(Math.max(0, at - 2), at))) continue;
    const run = RUN.exec(content.slice(at + 1, at + 2 * LONGEST))?.[0];
    const meant = run && (memberIn(run, ids, alike) ?? stranger(run));
    if (!meant) continue;
    found.push(meant);
    end = at + 1 + meant.length;
  }
  return found;
}

/** The members that the longest possible beginning of a run names exactly, or else in another case. */
function memberIn(run, ids, alike) {
  const plain = PLAIN.exec(run)?.[0];
  const forms = plain ? [...beginnings(run), plain, plain.replace(/[._@|-]+$/, "")] : beginnings(run);
  const exact = forms.find((form) => ids.has(form));
  if (exact) return { name: exact, known: true, ids: [exact], length: exact.length };
  const form = forms.find((each) => alike.has(each.toLowerCase()));
  return form && { name: form, known: true, ids: alike.get(form.toLowerCase()), length: form.length };
}

/** A run of characters, without its last punctuation mark, without its last two, ... */
function beginnings(run) {
  const word = run.replace(/[^a-z0-9]+$/i, "");
  return Array.from({ length: run.length - Math.max(word.length, 1) + 1 }, (_, less) => run.slice(0, run.length - less));
}

/** The ids of users who are not loaded: the whole run, or what a sentence leaves of it; undefined if there is none. */
function stranger(run) {
  if (run.startsWith("@")) return undefined;
  const plain = PLAIN.exec(run)?.[0] ?? "";
  const forms = [run, run.replace(SENTENCE, ""), plain, plain.replace(/[._@|-]+$/, "")];
  const ids = [...new Set(forms.flatMap((form) => [form, form.toLowerCase()]))].filter((id) => USER_ID.test(id));
  const name = run.replace(/[^a-z0-9._@|-]+$/i, "") || run;
  return ids.length ? { name, known: false, ids, length: plain.length } : undefined;
}
