// Node's Socket.IO as its documentation has it: rooms by join(), io.to(room).emit(), acknowledgements by callback.
// With REDIS_URL: its Redis adapter, through which every broadcast travels then.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

async function adapter() {
  if (!process.env.REDIS_URL) return undefined;
  const { createAdapter } = require("@socket.io/redis-adapter");
  const { createClient } = require("redis");
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

(async () => {
  const http = createServer();
  const io = new Server(http, { adapter: await adapter() });
  io.on("connection", (socket) => {
    socket.on("room:join", async ({ roomId, userId }, done) => {
      socket.data.userId = userId;
      await socket.join(roomId);
      done({ ok: true });
    });
    socket.on("message:send", ({ roomId, content }, done) => {
      const at = new Date().toISOString();
      io.to(roomId).emit("message:new", { roomId, userId: socket.data.userId, content, at });
      done({ ok: true, at });
    });
  });
  http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`PORT ${http.address().port}`));
})();
