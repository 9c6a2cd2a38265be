// A chat in the terminal, with a stock socket.io-client:
//
//   npm install socket.io-client
//   TOKEN=$(../../.venv/bin/onrecord token --user robin) node talk.mjs http://localhost:8000 general
//
// Every line that you type is sent; everything that is said in the room is printed, once, whatever happens to the connection.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import { keep } from "./cursors.mjs";

const [url, room] = process.argv.slice(2);
const chat = keep(io, url, { token: async () => process.env.TOKEN });

chat.socket.on("message:new", ({ seq, name, content }) => console.log(`${seq} ${name}: ${content}`));
chat.socket.on("disconnect", (reason) => console.log(`(away: ${reason})`));
chat.socket.on("connect_error", (error) => console.log(`(not let in: ${error.message})`));

await chat.join(room);
console.log(`(in ${room})`);
createInterface({ input: process.stdin })
  .on("line", (line) => chat.send(room, line).catch((error) => console.log(`(refused: ${error.message})`)))
  .on("close", () => chat.socket.disconnect());
