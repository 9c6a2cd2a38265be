/* The server's half of the WebSocket handshake (RFC 6455, 4.2.2): the value of Sec-WebSocket-Accept. */
#ifndef ACCEPT_H
#define ACCEPT_H

#include <stddef.h>

void accept_key(const char *key, size_t length, char out[29]);

#endif
