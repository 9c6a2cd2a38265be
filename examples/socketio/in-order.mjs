// Sends messages in order, and waits when the server refuses one by its rate. With a stock socket.io-client from 4.6 on:
//
//   const sender = inOrder(socket);
//   sender.send({ roomId: "general", content: "hello" }).then(({ seq }) => ..., (error) => ...);
//
// A message waits until the one before it is answered. After `too_many_requests` the same message, with the same `ref`,
// is sent again `retryAfter` seconds later; the others wait behind it. A longer wait than 30 seconds (the bytes of a day)
// rejects, as does any other error. A message without an answer is sent again, which has one effect because of its `ref`.

const ANSWER_MS = 15_000;
const LONGEST_WAIT = 30; // seconds

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function sendOne(socket, message) {
  for (;;) {
    const answer = await socket.timeout(ANSWER_MS).emitWithAck("message:send", message).catch(() => null);
    if (answer?.ok) return answer;
    if (answer && !(answer.error.code === "too_many_requests" && answer.error.retryAfter <= LONGEST_WAIT)) {
      throw Object.assign(new Error(answer.error.message), answer.error);
    }
    await pause(answer?.error.retryAfter ?? 1);
  }
}

export function inOrder(socket) {
  let last = Promise.resolve();
  return {
    send(message) {
      const named = { ref: crypto.randomUUID(), ...message };
      const sent = last.then(() => sendOne(socket, named));
      last = sent.catch(() => {});
      return sent;
    },
  };
}
