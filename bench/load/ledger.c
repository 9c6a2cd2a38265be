#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "system.h"

void book_open(struct book *b, uint32_t rooms, uint32_t posters, uint32_t receivers)
{
    *b = (struct book){.rooms = rooms, .posters = posters, .receivers = receivers};
    b->last = must_alloc((size_t)receivers * posters * sizeof *b->last);
}

void book_begin(struct book *b, uint32_t first, uint32_t posts, uint64_t limit)
{
    free(b->dues);
    free(b->seen);
    b->first = first;
    b->posts = posts;
    b->sent = 0;
    b->words = (posts / b->rooms + 1 + 63) / 64;
    b->dues = must_alloc(((size_t)posts + 1) * sizeof *b->dues);
    b->seen = must_alloc((size_t)b->receivers * b->words * sizeof *b->seen);
    memset(b->last, 0, (size_t)b->receivers * b->posters * sizeof *b->last);
    b->deliveries = b->duplicated = b->reordered = b->stale = b->late = b->bytes = 0;
    b->acked = b->acks_late = b->last_delivery = 0;
    b->limit = limit;
    histogram_clear(&b->delivery);
    histogram_clear(&b->ack);
    histogram_clear(&b->behind);
    memset(b->codes, 0, sizeof b->codes);
}

uint32_t book_room(const struct book *b, uint32_t index)
{
    return (index - b->first) % b->rooms;
}

static uint32_t number_of(const struct book *b, uint32_t index)
{
    return (index - b->first) / b->rooms;
}

uint32_t book_author(const struct book *b, uint32_t index)
{
    return number_of(b, index) % b->posters;
}

uint32_t book_posts_in(const struct book *b, uint32_t room)
{
    return b->sent / b->rooms + (room < b->sent % b->rooms);
}

bool book_knows(const struct book *b, uint32_t index)
{
    return index - b->first < b->sent;
}

void book_delivered(struct book *b, struct receiver *r, uint32_t receiver, uint32_t index, uint64_t seq, uint64_t now)
{
    if (!book_knows(b, index) || book_room(b, index) != r->room) {
        b->stale++;
        return;
    }
    uint32_t number = number_of(b, index);
    uint64_t *word = &b->seen[(size_t)receiver * b->words + number / 64], bit = (uint64_t)1 << number % 64;
    if (*word & bit) {
        b->duplicated++;
        return;
    }
    *word |= bit;
    r->got++;
    /* One author's posts come in their order, and the server's own numbers rise. */
    uint32_t *last = &b->last[(size_t)receiver * b->posters + number % b->posters];
    b->reordered += number < *last || (seq && seq < r->seq);
    if (number >= *last)
        *last = number + 1;
    if (seq > r->seq)
        r->seq = seq;
    uint64_t took = now - b->dues[index - b->first];
    histogram_add(&b->delivery, took);
    b->deliveries++;
    b->late += took > b->limit;
    b->last_delivery = now;
}

void book_acked(struct book *b, uint32_t index, uint64_t now)
{
    if (!book_knows(b, index))
        return;
    uint64_t took = now - b->dues[index - b->first];
    histogram_add(&b->ack, took);
    b->acked++;
    b->acks_late += took > b->limit;
}

void book_refused(struct book *b, const char *code, size_t length)
{
    if (length >= sizeof b->codes[0].code)
        length = sizeof b->codes[0].code - 1;
    for (unsigned i = 0; i < MAX_CODES; i++) {
        if (!b->codes[i].count)
            memcpy(b->codes[i].code, code, length);
        if (strlen(b->codes[i].code) == length && !memcmp(b->codes[i].code, code, length)) {
            b->codes[i].count++;
            return;
        }
    }
}
