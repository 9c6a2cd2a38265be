/*
 * What a screen reader says about messages that arrived: all of a few, the number of many.
 */

const MOST = 3;
const LONGEST = 300; // characters of a message

/** The sentence for messages [{author, content}] that arrived together; "" if there is nothing to say. */
export function announcement(messages) {
  const readable = messages.filter(({ content }) => content !== null);
  if (readable.length > MOST) return `${readable.length} new messages.`;
  return readable.map(({ author, content }) => `${author}: ${content.slice(0, LONGEST)}`).join("\n");
}
