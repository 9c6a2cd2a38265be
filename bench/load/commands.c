#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "system.h"

#define SECOND 1000000000u
#define DRAIN (60 * (uint64_t)SECOND)

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_histogram(const char *name, const struct histogram *h)
{
    printf("\"%s_p50_ms\":%.3f,\"%s_p99_ms\":%.3f,\"%s_p999_ms\":%.3f,\"%s_max_ms\":%.3f,", name,
        ms(histogram_at(h, 0.5)), name, ms(histogram_at(h, 0.99)), name, ms(histogram_at(h, 0.999)), name, ms(h->max));
}

static void print_closes(struct crowd *c)
{
    printf("\"closes\":{");
    for (unsigned i = 0; i < MAX_CLOSES && c->closes[i].count; i++)
        printf("%s\"%u\":%" PRIu64, i ? "," : "", c->closes[i].code, c->closes[i].count);
    printf("}}\n");
    fflush(stdout);
    memset(c->closes, 0, sizeof c->closes);
}

static void print_codes(const struct book *b)
{
    printf("\"refused\":{");
    for (unsigned i = 0; i < MAX_CODES && b->codes[i].count; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "", b->codes[i].code, b->codes[i].count);
    printf("},");
}

static void do_connect(struct crowd *c, uint32_t at_once, double seconds)
{
    uint32_t before = c->ready;
    bool all = crowd_fill(c, at_once, now_ns() + (uint64_t)(seconds * SECOND));
    printf("{\"all\":%s,\"came\":%u,\"ready\":%u,\"level\":%u,\"seconds\":%.4f,", all ? "true" : "false",
        c->ready - before, c->ready, c->levelled, (double)(now_ns() - c->began) / SECOND);
    print_histogram("handshake", &c->handshake);
    print_histogram("level", &c->level);
    printf("\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"deliveries\":%" PRIu64 ",", c->book.duplicated,
        c->book.reordered, c->book.deliveries);
    print_closes(c);
}

static bool hopeless(const struct book *b, uint64_t expected, bool acks)
{
    return acks ? b->acks_late * 100 > b->posts : b->late * 100 > expected;
}

/* Send what is due until all is sent, or it is clear that it is too much. */
static void send_posts(struct crowd *c, double rate, uint64_t expected, bool acks)
{
    struct book *b = &c->book;
    uint64_t began = now_ns() + 1000000;
    while (b->sent < b->posts && !hopeless(b, expected, acks)) {
        uint64_t now = now_ns(), due = began + (uint64_t)((double)b->sent / rate * SECOND);
        if (due > now) {
            crowd_turn(c, due);
            continue;
        }
        b->dues[b->sent++] = due;
        histogram_add(&b->behind, now - due);
        if (!crowd_post(c, b->first + b->sent - 1))
            fail("No client is left in a room to post.");
        if (b->sent % 16 == 0)
            crowd_turn(c, 0);
    }
}

static uint64_t owed_in_all(struct crowd *c)
{
    uint64_t owed = 0;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->people[i].hears.expected)
            owed += book_posts_in(&c->book, c->people[i].hears.room) - c->people[i].hears.got;
    return owed;
}

/* Wait for the rest; after so many seconds without any of it, it counts as lost. */
static void drain(struct crowd *c, double patience)
{
    struct book *b = &c->book;
    uint64_t until = now_ns() + DRAIN, last = now_ns(), had = 0;
    while ((owed_in_all(c) || b->acked < b->sent) && now_ns() < until && now_ns() < last + (uint64_t)(patience * SECOND)) {
        uint64_t pause = now_ns() + 5000000;
        while (now_ns() < pause)
            crowd_turn(c, pause);
        if (b->deliveries + b->acked != had)
            last = now_ns();
        had = b->deliveries + b->acked;
    }
}

static uint64_t begin(struct crowd *c, uint32_t index, double rate, double seconds, double limit_ms)
{
    uint64_t expected = 0;
    book_begin(&c->book, index, (uint32_t)(rate * seconds + 0.5), (uint64_t)(limit_ms * 1e6));
    for (uint32_t i = 0; i < c->count; i++) {
        struct person *p = &c->people[i];
        p->hears.got = 0;
        p->hears.expected = p->state == READY;
        expected += p->hears.expected;
    }
    return expected * c->book.posts / c->rooms;
}

static void expect_the_away_too(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        c->people[i].hears.expected = true;
}

static void do_post(struct crowd *c, double rate, double seconds, double limit_ms, bool acks, double patience)
{
    static uint32_t index = 1;
    struct book *b = &c->book;
    uint64_t expected = begin(c, index, rate, seconds, limit_ms), began = now_ns();
    send_posts(c, rate, expected, acks);
    double sending = (double)(now_ns() - began) / SECOND;
    drain(c, patience);
    index += b->posts;
    double took = (double)((b->last_delivery > began ? b->last_delivery : now_ns()) - began) / SECOND;
    took = took > b->sent / rate ? took : b->sent / rate; /* the pause after the last post belongs to the rate */
    printf("{\"posts\":%u,\"planned\":%u,\"sending_s\":%.4f,\"acked\":%" PRIu64 ",\"deliveries\":%" PRIu64
           ",\"expected\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64
           ",\"stale\":%" PRIu64 ",\"seconds\":%.4f,\"bytes_per_delivery\":%.1f,", b->sent, b->posts, sending, b->acked,
        b->deliveries, b->deliveries + owed_in_all(c), owed_in_all(c), b->duplicated, b->reordered, b->stale, took,
        b->deliveries ? (double)b->bytes / (double)(b->deliveries + b->duplicated) : 0);
    print_histogram("delivery", &b->delivery);
    print_histogram("ack", &b->ack);
    print_histogram("behind", &b->behind);
    print_codes(b);
    print_closes(c);
    expect_the_away_too(c);
}

static void do_idle(struct crowd *c, double seconds)
{
    uint64_t until = now_ns() + (uint64_t)(seconds * SECOND);
    while (now_ns() < until)
        crowd_turn(c, until);
    printf("{\"ready\":%u,", c->ready);
    print_closes(c);
}

void obey(struct crowd *c, const char *line)
{
    unsigned count;
    double first, second, third, fourth;
    char what[16];
    if (sscanf(line, "connect %u %lf", &count, &first) == 2) {
        do_connect(c, count, first);
    } else if (sscanf(line, "post %lf %lf %lf %15s %lf", &first, &second, &third, what, &fourth) == 5) {
        do_post(c, first, second, third, !strcmp(what, "acks"), fourth);
    } else if (sscanf(line, "cut %u", &count) == 1) {
        crowd_cut(c, count);
        printf("{\"ready\":%u}\n", c->ready);
        fflush(stdout);
    } else if (sscanf(line, "idle %lf", &first) == 1) {
        do_idle(c, first);
    } else {
        fail("This is no command: %s", line);
    }
}
