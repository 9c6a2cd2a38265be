/* WebSocket frames (RFC 6455) as a client needs them: text frames out under a mask of zeros, whole frames in. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stddef.h>
#include <stdint.h>

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct frame {
    int opcode;
    const char *payload;
    size_t length;
    size_t whole; /* bytes of the frame, its head included */
};

struct bytes {
    char *data;
    size_t start, end, room; /* what is held is data[start..end] */
};

void bytes_add(struct bytes *b, const void *data, size_t length);
void bytes_free(struct bytes *b);

/* Read one frame off `data`; 0 where it is not there yet. */
int frame_read(const char *data, size_t length, struct frame *f);

/* Write a masked frame to `out`, which has room for 14 bytes more than the payload; return its length. */
size_t frame_write(char *out, int opcode, const char *payload, size_t length);

#endif
