/*
 * Which users a text mentions: ids after an @, in any case, with or without the punctuation that follows them.
 * The page knows only the members that it has loaded, so other ids are sent as they may be meant. The server drops those
 * that are not members, and its ack names them.
 */

const MOST = 100; // that the server accepts
const NAMED = /(^|[^\p{L}\p{N}._|-])@([a-z0-9][a-z0-9._@|-]*)/giu;
const USER_ID = /^[A-Za-z0-9][A-Za-z0-9._@|-]{0,127}$/;

/** "@bob, see @Carol." -> ["bob", "carol"]; undefined if there is none. `members` are user ids. */
export function mentionsOf(content, members) {
  const named = namesIn(content).map((name) => meant(name, members));
  const ids = [...named.filter(({ known }) => known), ...named.filter(({ known }) => !known)].flatMap(({ ids: each }) => each);
  const found = [...new Set(ids)].slice(0, MOST);
  return found.length ? found : undefined;
}

/** The names after an @ that mention none of the users in `mentioned`. */
export function namesWithoutMention(content, members, mentioned) {
  return namesIn(content).filter((name) => !meant(name, members).ids.some((id) => mentioned.includes(id)));
}

function namesIn(content) {
  return [...new Set([...content.matchAll(NAMED)].map(([, , name]) => name))];
}

/** The ids that a name may stand for: of members, exactly so, else in another case; else of users who are not loaded. */
function meant(name, members) {
  const forms = [...new Set([name, name.replace(/[._@|-]+$/, "")])];
  for (const form of forms) if (members.includes(form)) return { known: true, ids: [form] };
  for (const form of forms) {
    const ids = members.filter((id) => id.toLowerCase() === form.toLowerCase());
    if (ids.length) return { known: true, ids };
  }
  return { known: false, ids: [...new Set(forms.flatMap((form) => [form, form.toLowerCase()]))].filter((id) => USER_ID.test(id)) };
}
