// A stock socket.io-client on a string: takes commands as JSON lines, tells everything that it hears as JSON lines.
const { io } = require(process.argv[2]);
const readline = require("node:readline");

const sockets = new Map();
const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const commands = {
  open({ client, url, options }) {
    const socket = io(url, { forceNew: true, ...options });
    sockets.set(client, socket);
    socket.onAny((name, ...args) => tell({ client, event: name, args }));
    socket.on("connect", () => tell({ client, state: "connect", id: socket.id, recovered: socket.recovered ?? false }));
    const watch = () =>
      socket.io.engine.on("upgrade", (transport) => tell({ client, state: "upgrade", to: transport.name }));
    socket.io.on("reconnect", watch);
    watch();
    socket.on("disconnect", (reason) => tell({ client, state: "disconnect", reason }));
    socket.on("connect_error", (error) =>
      tell({ client, state: "connect_error", message: error.message, data: error.data ?? null, active: socket.active ?? null }));
  },
  emit({ client, name, args, ack }) {
    const answer = (...given) => tell({ client, ack, args: given });
    sockets.get(client).emit(name, ...args, ...(ack === null ? [] : [answer]));
  },
  transport({ client, ack }) {
    tell({ client, ack, args: [sockets.get(client).io.engine.transport.name] });
  },
  cut({ client }) {
    sockets.get(client).io.engine.close();
  },
  leave({ client }) {
    sockets.get(client).disconnect();
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { command, ...fields } = JSON.parse(line);
  commands[command](fields);
}).on("close", () => process.exit(0));
