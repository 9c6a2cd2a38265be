/*
 * What the text of a message shows beside words: links, *emphasis*, **strong**, `code`, fenced code and flat lists.
 *
 * Invariant: the result is data and no HTML; it takes time in proportion to the length of the text, and has at most
 * `MOST_PARTS` elements, two levels deep. What is no markup is shown as it was typed. Only whole lines are markup
 * together: no emphasis, link or code span goes on in the next line.
 */

const MOST_PARTS = 500; // elements of one message; what follows them is plain text
const LONGEST_URL = 2_048;
const DEEPEST = 3; // levels of a list

const FENCE = /^ {0,3}(?:(`{3,})[^`]*|(~{3,}).*)$/;
const ITEM = /^( *)(?:[-*]|([0-9]{1,9})\.)[ \t]+(?=\S)/;
const SCHEME = /https?:\/\//gi;
// A URL ends before space, controls (those of direction too), quotes and brackets of prose, and full-width punctuation.
const URL_RUN = /[^\s\p{C}<>"`“”„‘’«»‹›，。；：！？、…（）「」『』【】《》〈〉]*/uy;
const ENDS_SENTENCE = ".,;:!?'*_~&";
const PAIRS = { ")": "(", "]": "[", "}": "{" };
const WORD_BEFORE = /[A-Za-z0-9]$/;
const EMPHASIS = { 1: "em", 2: "strong" };
const LETTER = /[\p{L}\p{N}]/u;
// Scripts that have no spaces between words, or join particles to them.
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/**
 * [{kind: "text", parts}, {kind: "code", text}, {kind: "list", ordered, items: [{level, number, parts}]}]. A part is a
 * string, {kind: "code", text}, {kind: "link", text, href} or {kind: "em" | "strong", parts}.
 */
export function blocksOf(content) {
  const budget = { left: MOST_PARTS };
  const lines = content.split(/\r\n|\r|\n/);
  const blocks = [];
  for (let at = 0; at < lines.length; at++) {
    const fence = FENCE.exec(lines[at]);
    const item = ITEM.exec(lines[at]);
    if (fence && budget.left-- > 0) at = addCode(blocks, lines, at, fence[1] ?? fence[2]);
    else if (item && budget.left-- > 0) addItem(blocks, lines[at], item, budget);
    else addText(blocks, lines[at], budget);
  }
  return blocks.map(tidied).filter(({ kind, parts }) => kind !== "text" || parts.length);
}

/** Adds the code after a fence, up to one that closes it or the end; returns the index of the last line. */
function addCode(blocks, lines, begin, fence) {
  let end = begin + 1;
  while (end < lines.length && !closes(lines[end], fence)) end++;
  blocks.push({ kind: "code", text: lines.slice(begin + 1, end).join("\n") });
  return end;
}

function closes(line, fence) {
  const mark = line.trim();
  return mark.length >= fence.length && mark === fence[0].repeat(mark.length) && /^ {0,3}\S/.test(line);
}

function addItem(blocks, line, [marker, indent, number], budget) {
  const ordered = number !== undefined;
  if (blocks.at(-1)?.ordered !== ordered) blocks.push({ kind: "list", ordered, items: [] });
  const level = Math.min(DEEPEST, Math.floor(indent.length / 2));
  const parts = partsOf(line.slice(marker.length), budget);
  blocks.at(-1).items.push({ level, number: ordered ? Number(number) : null, parts });
}

function addText(blocks, line, budget) {
  const parts = partsOf(line, budget);
  const last = blocks.at(-1);
  if (last?.kind === "text") for (const part of ["\n"].concat(parts)) last.parts.push(part);
  else blocks.push({ kind: "text", parts });
}

/** Neighbouring strings are one; a text beside a block keeps no empty line there. */
function tidied(block, index, blocks) {
  if (block.kind !== "text") return block;
  const parts = joined(block.parts);
  if (index > 0) parts.splice(0, 1, withoutLines(parts[0] ?? "", true));
  if (index < blocks.length - 1) parts.splice(-1, 1, withoutLines(parts.at(-1) ?? "", false));
  return { ...block, parts: parts.filter((part) => part !== "") };
}

/** A part without the line feeds at its beginning or its end. */
function withoutLines(part, atBeginning) {
  if (typeof part !== "string") return part;
  let [begin, end] = [0, part.length];
  if (atBeginning) while (part[begin] === "\n") begin++;
  else while (end > 0 && part[end - 1] === "\n") end--;
  return part.slice(begin, end);
}

function joined(parts) {
  const runs = []; // arrays of neighbouring strings, and other parts
  for (const part of parts) {
    if (typeof part !== "string") runs.push(part);
    else if (Array.isArray(runs.at(-1))) runs.at(-1).push(part);
    else runs.push([part]);
  }
  return runs.map((run) => (Array.isArray(run) ? run.join("") : run)).filter((run) => run !== "");
}

/** The parts of a line. */
function partsOf(line, budget) {
  const tokens = [];
  let read = 0;
  for (const span of [...literalsOf(line), null]) {
    addMarked(tokens, line, read, span?.begin ?? line.length);
    if (!span) break;
    if (budget.left-- > 0) tokens.push(span.part);
    else tokens.push(line.slice(span.begin, span.end));
    read = span.end;
  }
  return nested(tokens, budget);
}

/** [{begin, end, part}]: the code spans and links of a line, in whose text nothing is markup. */
function literalsOf(line) {
  const spans = codeSpansOf(line);
  const found = [];
  let next = 0; // of the code spans
  let read = 0;
  SCHEME.lastIndex = 0;
  for (let scheme = SCHEME.exec(line); scheme; scheme = SCHEME.exec(line)) {
    while (next < spans.length && spans[next].begin < scheme.index) read = found[found.push(spans[next++]) - 1].end;
    if (scheme.index < read || WORD_BEFORE.test(line.slice(Math.max(0, scheme.index - 1), scheme.index))) continue;
    URL_RUN.lastIndex = scheme.index;
    const run = URL_RUN.exec(line)[0];
    const link = linkOf(run);
    if (link) found.push({ begin: scheme.index, end: scheme.index + link.text.length, part: link });
    // Also past what is no link, since another in it would be read as often as there are schemes.
    read = SCHEME.lastIndex = scheme.index + Math.max(run.length, scheme[0].length);
  }
  return [...found, ...spans.slice(next)];
}

/** A run of backticks and the next of the same length have code between them. */
function codeSpansOf(line) {
  const runs = [...line.matchAll(/`+/g)].filter(({ index }) => line[index - 1] !== "\\");
  const closing = closingOf(runs);
  const spans = [];
  for (let at = 0; at < runs.length; at++) {
    if (closing[at] === undefined) continue;
    const [begin, end] = [runs[at].index, runs[closing[at]].index];
    const inner = line.slice(begin + runs[at][0].length, end);
    // A space beside each of the backticks separates code that begins or ends with one.
    const text = inner.trim() && inner.startsWith(" ") && inner.endsWith(" ") ? inner.slice(1, -1) : inner;
    spans.push({ begin, end: end + runs[at][0].length, part: { kind: "code", text } });
    at = closing[at];
  }
  return spans;
}

/** Of each run the index of the next one that has its length. */
function closingOf(runs) {
  const later = new Map();
  const closing = [];
  for (let at = runs.length - 1; at >= 0; at--) {
    closing[at] = later.get(runs[at][0].length);
    later.set(runs[at][0].length, at);
  }
  return closing;
}

/** The link that a run of characters begins with; undefined for none, and for one that shows another host than it opens. */
function linkOf(run) {
  const text = withoutEnding(run);
  const url = text.length > LONGEST_URL ? null : parsed(text);
  if (!url) return undefined;
  const { protocol, hostname, username, password, href } = url;
  const opens = /^https?:$/.test(protocol) && LETTER.test(hostname) && !username && !password;
  return opens ? { kind: "link", text, href } : undefined;
}

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** A URL without the punctuation of the sentence around it: brackets belong to it where they are in pairs. */
function withoutEnding(run) {
  const unopened = {};
  for (const char of run) {
    if (Object.values(PAIRS).includes(char)) unopened[char] = (unopened[char] ?? 0) - 1;
    if (char in PAIRS) unopened[PAIRS[char]] = (unopened[PAIRS[char]] ?? 0) + 1;
  }
  let end = run.length;
  for (; end > 0; end--) {
    const char = run[end - 1];
    if (unopened[PAIRS[char]] > 0) unopened[PAIRS[char]]--;
    else if (!ENDS_SENTENCE.includes(char)) break;
  }
  return run.slice(0, end);
}

/** Adds a stretch of a line: its text, and {mark, opens, closes} for each asterisk or two that may be markup. */
function addMarked(tokens, line, begin, end) {
  let read = begin;
  const stretch = line.slice(begin, end);
  for (const { 0: run, index } of stretch.matchAll(/\*+/g)) {
    if (run.length > 3) continue;
    const [before, after] = [begin + index, begin + index + run.length];
    const opens = /\S/.test(line[after] ?? " ") && !endsWord(line, before) && line[before - 1] !== "\\";
    const closes = /\S/.test(line[before - 1] ?? " ") && !beginsWord(line, after) && line[before - 1] !== "\\";
    tokens.push(line.slice(read, before), { run, opens, closes });
    read = after;
  }
  tokens.push(line.slice(read, end));
}

/** Whether a word of a script with spaces ends at an index of a line. */
function endsWord(line, at) {
  return isWord([...line.slice(Math.max(0, at - 2), at)].at(-1));
}

function beginsWord(line, at) {
  return isWord(String.fromCodePoint(line.codePointAt(at) ?? 32));
}

function isWord(char) {
  return char !== undefined && LETTER.test(char) && !UNSPACED.test(char);
}

/** The parts of a line: marks of emphasis in pairs become elements, at most one of each kind in one another. */
function nested(tokens, budget) {
  const pairs = pairsOf(tokens, budget);
  const stack = [[]];
  tokens.forEach((token, at) => {
    if (!token.run) return stack.at(-1).push(token);
    const { opened = [], closed = [] } = pairs.get(at) ?? {};
    for (const mark of closed) {
      const parts = stack.pop();
      stack.at(-1).push({ kind: EMPHASIS[mark], parts: joined(parts) });
    }
    const used = [...opened, ...closed].reduce((sum, mark) => sum + mark, 0);
    stack.at(-1).push(token.run.slice(used));
    for (const mark of opened.sort((a, b) => b - a)) stack.push([]);
    return undefined;
  });
  return joined(stack[0]);
}

/** Index of a token -> {opened, closed}: the marks (1 or 2 asterisks) that it opens or closes, the inner first. */
function pairsOf(tokens, budget) {
  const pairs = new Map();
  const open = new Map(); // mark -> the index of the token that may open it
  tokens.forEach((token, at) => {
    const marks = token.run?.length === 3 ? [1, 2] : [token.run?.length];
    const closed = marks.filter((mark) => open.has(mark)).sort((a, b) => open.get(b) - open.get(a) || a - b);
    if (token.closes && closed.length === marks.length && budget.left >= closed.length) {
      budget.left -= closed.length;
      for (const mark of closed) close(pairs, open, mark);
      pairs.set(at, { closed });
    } else if (token.opens) {
      for (const mark of marks) open.set(mark, at);
    }
  });
  return pairs;
}

/** A mark that was opened within the closed one has no partner any more. */
function close(pairs, open, mark) {
  const begin = open.get(mark);
  pairs.set(begin, { opened: [...(pairs.get(begin)?.opened ?? []), mark] });
  for (const [other, at] of open) if (at > begin || other === mark) open.delete(other);
}
