/* All connections, in one epoll loop. Person p sits in room p % rooms; their seat there is p / rooms. */
#ifndef CROWD_H
#define CROWD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ledger.h"
#include "protocol.h"
#include "frames.h"
#include "histogram.h"

enum state { AWAY, CONNECTING, UPGRADING, ENTERING, READY };

struct person {
    int fd;
    enum state state;
    unsigned greetings;
    unsigned tries;
    uint64_t not_before; /* when an attempt that failed may be repeated */
    const char *token;
    struct receiver hears;
    struct bytes in, out;
    bool waits_to_write;
    bool arriving; /* not yet let in, or not yet given what it missed */
};

#define MAX_CLOSES 16

struct crowd {
    int epoll;
    const struct door *door;
    struct sockaddr_storage address;
    socklen_t address_length;
    const char *run, *filler;
    uint32_t count, rooms;
    struct person *people;
    uint32_t ready, opening, next;
    struct book book;
    struct histogram handshake, level; /* since `began`: when each was let in, and when each had what it missed */
    uint64_t began;
    uint32_t levelled;
    struct { unsigned code; uint64_t count; } closes[MAX_CLOSES];
};

/* One connection (person.c). */
void person_open(struct crowd *c, struct person *p);
void person_send(struct crowd *c, struct person *p, int opcode, const char *text, size_t length);
void person_hang_up(struct crowd *c, struct person *p);

/* All of them (crowd.c). */
void crowd_turn(struct crowd *c, uint64_t until);                   /* serve sockets, at most until then */
bool crowd_fill(struct crowd *c, uint32_t at_once, uint64_t until); /* connect all clients that are not connected */
bool crowd_post(struct crowd *c, uint32_t index);
void crowd_cut(struct crowd *c, uint32_t kept_seats);
struct person *crowd_seat(struct crowd *c, uint32_t room, uint32_t seat);

#endif
