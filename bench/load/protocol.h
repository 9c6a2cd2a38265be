/* The protocol of each kind of server: how a connection enters its room, how it posts, and what an answer means.
 *
 * The text of a post holds its index between two '#', which occur nowhere else, so it is found without parsing JSON.
 */
#ifndef DOOR_H
#define DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum meaning { OTHER, GREETED, ENTERED, DELIVERY, ACK, REFUSAL, HEARTBEAT };

struct heard {
    enum meaning meaning;
    uint32_t index;   /* of a delivery or ack */
    uint64_t seq;     /* the server's own number of a delivery, 0 where it gives none */
    const char *code; /* of a refusal */
    size_t code_length;
};

struct visitor {
    uint32_t number, room;
    const char *token;
    uint64_t cursor; /* 0: from now on */
};

struct door {
    const char *name, *path;
    bool greets;   /* the server speaks first */
    bool recovers; /* who comes back with a cursor is sent what they missed */
    /* Each writes text into `out` and returns its length. `join` may be null where `enter` is enough. */
    size_t (*enter)(char *out, size_t room, const struct visitor *v);
    size_t (*join)(char *out, size_t room, const struct visitor *v);
    size_t (*post)(char *out, size_t room, uint32_t index, uint32_t chat, const char *run, const char *filler);
    struct heard (*hear)(const char *text, size_t length);
};

const struct door *door_named(const char *name);

#endif
