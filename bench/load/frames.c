#include "frames.h"

#include <stdlib.h>
#include <string.h>

#include "system.h"

void bytes_add(struct bytes *b, const void *data, size_t length)
{
    if (b->start == b->end)
        b->start = b->end = 0;
    if (b->end + length > b->room) {
        b->room = 2 * (b->end + length);
        b->data = must_grow(b->data, b->room);
    }
    memcpy(b->data + b->end, data, length);
    b->end += length;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

int frame_read(const char *data, size_t length, struct frame *f)
{
    const unsigned char *head = (const unsigned char *)data;
    size_t size = 2;
    uint64_t payload;
    if (length < size)
        return 0;
    payload = head[1] & 127;
    if (payload >= 126) {
        unsigned wide = payload == 126 ? 2 : 8;
        size += wide;
        if (length < size)
            return 0;
        payload = 0;
        for (unsigned i = 0; i < wide; i++)
            payload = payload << 8 | head[2 + i];
    }
    if (!(head[0] & 0x80) || head[1] & 0x80)
        fail("The server sent a fragment or a masked frame, which this client does not read.");
    if (length < size + payload)
        return 0;
    *f = (struct frame){head[0] & 15, data + size, payload, size + payload};
    return 1;
}

size_t frame_write(char *out, int opcode, const char *payload, size_t length)
{
    unsigned char *head = (unsigned char *)out;
    size_t size = 2;
    head[0] = (unsigned char)(0x80 | opcode);
    if (length < 126) {
        head[1] = (unsigned char)(0x80 | length);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(length >> 8);
        head[3] = (unsigned char)length;
        size = 4;
    }
    if (length > 65535)
        fail("A frame of %zu bytes is longer than this client sends.", length);
    memset(head + size, 0, 4); /* a mask of zeros is a mask, and costs nothing */
    memcpy(head + size + 4, payload, length);
    return size + 4 + length;
}
