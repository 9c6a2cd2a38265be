#include "clients.h"

#include "system.h"

#define MAX_SENT 16384

struct person *crowd_seat(struct crowd *c, uint32_t room, uint32_t seat)
{
    uint64_t number = (uint64_t)seat * c->rooms + room;
    return number < c->count ? &c->people[number] : NULL;
}

static void open_some(struct crowd *c, uint32_t at_once)
{
    uint64_t now = now_ns();
    for (uint32_t looked = 0; looked < c->count && c->opening < at_once; looked++) {
        struct person *p = &c->people[c->next];
        c->next = (c->next + 1) % c->count;
        if (p->state == AWAY && p->not_before <= now)
            person_open(c, p);
    }
}

bool crowd_fill(struct crowd *c, uint32_t at_once, uint64_t until)
{
    c->began = now_ns();
    c->levelled = 0;
    histogram_clear(&c->handshake);
    histogram_clear(&c->level);
    uint32_t arriving = c->count - c->ready;
    while (c->ready < c->count || c->levelled < arriving) {
        uint64_t now = now_ns();
        if (now >= until)
            return false;
        if (c->ready + c->opening < c->count)
            open_some(c, at_once);
        crowd_turn(c, now + 10000000);
    }
    return true;
}

static struct person *author(struct crowd *c, uint32_t room, uint32_t seat)
{
    struct person *p = crowd_seat(c, room, seat);
    for (seat = 0; p && p->state != READY; seat++) /* a connected client posts for one that was closed */
        p = crowd_seat(c, room, seat);
    return p;
}

bool crowd_post(struct crowd *c, uint32_t index)
{
    char text[MAX_SENT];
    uint32_t room = book_room(&c->book, index);
    struct person *p = author(c, room, book_author(&c->book, index));
    if (!p)
        return false;
    person_send(c, p, TEXT, text, c->door->post(text, sizeof text, index, room, c->run, c->filler));
    return true;
}

void crowd_cut(struct crowd *c, uint32_t kept_seats)
{
    for (uint32_t i = kept_seats * c->rooms; i < c->count; i++)
        if (c->people[i].state != AWAY)
            person_hang_up(c, &c->people[i]);
}
