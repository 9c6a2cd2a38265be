// Node's `ws` with rooms written by hand, as its README broadcasts: one JSON.stringify a message, one send() a receiver.
const { WebSocketServer, WebSocket } = require("ws");

const rooms = new Map();

function join(socket, { roomId, userId }) {
  if (!rooms.has(roomId)) rooms.set(roomId, new Set());
  rooms.get(roomId).add(socket);
  socket.roomId = roomId;
  socket.userId = userId;
  socket.send(JSON.stringify({ type: "joined", roomId }));
}

function post(socket, { ref, roomId, content }) {
  const at = new Date().toISOString();
  const text = JSON.stringify({ type: "message:new", roomId, userId: socket.userId, content, at });
  for (const member of rooms.get(roomId)) if (member.readyState === WebSocket.OPEN) member.send(text);
  socket.send(JSON.stringify({ type: "ack", ref, at }));
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, path: "/ws", backlog: 4096 });
server.on("listening", () => console.log(`PORT ${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("close", () => rooms.get(socket.roomId)?.delete(socket));
  socket.on("message", (data) => {
    const frame = JSON.parse(data);
    if (frame.type === "room:join") join(socket, frame);
    else if (frame.type === "message:send") post(socket, frame);
  });
});
