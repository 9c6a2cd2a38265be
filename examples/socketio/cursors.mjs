// Keeps what a stock socket.io-client needs to lose nothing: a cursor for each room, and the messages not yet acknowledged.
//
//   const chat = keep(io, "http://localhost:8000", { token: async () => "<jwt>" });
//   chat.socket.on("message:new", (message) => ...);
//   await chat.join("general");
//   await chat.send("general", "Hello");
//
// The rule: `seq` numbers a room's events 1, 2, 3 ... without gaps, so the last one that was heard says it all.

export function keep(io, url, { token, rooms = {}, ...options }) {
  const cursors = { ...rooms };
  const waiting = new Map(); // ref -> how to send it again
  let epoch, me;

  const socket = io(url, {
    ...options,
    // A function is asked at every connect, so each reconnect brings a fresh token and the newest cursors.
    auth: async (give) => give({ token: await token(), rooms: { ...cursors }, ...(epoch && { epoch }) }),
  });

  socket.onAny((name, event) => {
    if (name === "connected") {
      ({ epoch, userId: me } = event);
      for (const [room, { head, recovered }] of Object.entries(event.rooms)) {
        if (!recovered && head === undefined) delete cursors[room]; // there is no such room for us any more
        else if (!recovered) cursors[room] = head; // tell your user that something may be missing
      }
      for (const again of waiting.values()) again();
    } else if (name === "room:user_left" && event.userId === me && event.seq) {
      delete cursors[event.roomId];
    } else if (event?.seq && event.roomId in cursors) {
      cursors[event.roomId] = Math.max(cursors[event.roomId], event.seq);
    }
  });

  // Sends a command until it is answered. One `ref` for all attempts makes them one command.
  function command(name, payload) {
    const ref = crypto.randomUUID();
    return new Promise((resolve, reject) => {
      const attempt = () =>
        socket.emit(name, { ...payload, ref }, (answer) => {
          if (!answer.ok && answer.error.retryable) return void setTimeout(attempt, 1000);
          waiting.delete(ref);
          if (answer.ok) resolve(answer);
          else reject(Object.assign(new Error(answer.error.message), answer.error));
        });
      waiting.set(ref, attempt);
      if (socket.connected) attempt();
    });
  }

  async function join(room) {
    const answer = await command("room:join", { roomId: room });
    cursors[room] ??= answer.seq - 1;
    return answer;
  }

  return { socket, cursors, command, join, send: (room, content) => command("message:send", { roomId: room, content }) };
}
