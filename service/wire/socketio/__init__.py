"""Socket.IO 5 over Engine.IO: clients in namespaces, and the chat as one of them."""
