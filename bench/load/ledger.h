/* The accounts of one run: which post every receiver was given, how late, and which it was not.
 *
 * Post k of a run goes to room k % rooms as that room's number k / rooms, and its author is seat number % posters. So
 * one index in the text of a message says all there is to know about it.
 */
#ifndef BOOK_H
#define BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define MAX_CODES 16

struct receiver {
    uint32_t room;
    uint32_t got;     /* different posts of this run */
    bool expected;    /* it was there when the run began, so it should be given every post of its room */
    uint64_t seq;     /* the server's own number of the last event it heard, where the server has such numbers */
};

struct book {
    uint32_t rooms, posters, receivers;
    uint32_t first, posts, sent;  /* the run's first index, and how many posts are planned and sent */
    uint64_t *dues;               /* when each should be sent, in ns */
    uint32_t words;
    uint64_t *seen;               /* a bit for each receiver and number */
    uint32_t *last;               /* for each receiver and author, the last number plus one */
    uint64_t deliveries, duplicated, reordered, stale, late, limit, bytes;
    uint64_t acked, acks_late;
    uint64_t last_delivery;
    struct histogram delivery, ack, behind;
    struct { char code[32]; uint64_t count; } codes[MAX_CODES];
};

void book_open(struct book *b, uint32_t rooms, uint32_t posters, uint32_t receivers);
void book_begin(struct book *b, uint32_t first, uint32_t posts, uint64_t limit);
uint32_t book_room(const struct book *b, uint32_t index);
uint32_t book_author(const struct book *b, uint32_t index);
uint32_t book_posts_in(const struct book *b, uint32_t room); /* sent to a room in this run so far */
bool book_knows(const struct book *b, uint32_t index);
void book_delivered(struct book *b, struct receiver *r, uint32_t number, uint32_t index, uint64_t seq, uint64_t now);
void book_acked(struct book *b, uint32_t index, uint64_t now);
void book_refused(struct book *b, const char *code, size_t length);

#endif
