#include "clients.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define EVENTS 256
#define GATHER 200000u /* ns, or what is left until something is due */
#define READ_AT_ONCE (256 * 1024)
#define MAX_SENT 16384
#define RETRY_NS 200000000u
#define MAX_TRIES 50
#define NO_CODE 1006 /* closed without a word (RFC 6455, 7.1.5) */

static uint32_t number_of(const struct crowd *c, const struct person *p)
{
    return (uint32_t)(p - c->people);
}

static void watch(struct crowd *c, struct person *p, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = p};
    p->waits_to_write = writing;
    epoll_ctl(c->epoll, EPOLL_CTL_MOD, p->fd, &event);
}

static void note_close(struct crowd *c, unsigned code)
{
    for (unsigned i = 0; i < MAX_CLOSES; i++) {
        if (!c->closes[i].count)
            c->closes[i].code = code;
        if (c->closes[i].code == code) {
            c->closes[i].count++;
            return;
        }
    }
}

void person_hang_up(struct crowd *c, struct person *p)
{
    close(p->fd);
    bytes_free(&p->in);
    bytes_free(&p->out);
    c->ready -= p->state == READY;
    c->opening -= p->state != READY;
    p->state = AWAY;
}

/* The server ended it. */
static void lost(struct crowd *c, struct person *p, unsigned code)
{
    if (p->state == AWAY)
        return;
    note_close(c, code);
    person_hang_up(c, p);
    p->not_before = now_ns() + RETRY_NS;
    if (++p->tries > MAX_TRIES)
        fail("Connection %u was refused or closed %u times, the last time with %u.", number_of(c, p), p->tries, code);
}

static void flush(struct crowd *c, struct person *p)
{
    while (p->out.start < p->out.end) {
        ssize_t sent = send(p->fd, p->out.data + p->out.start, p->out.end - p->out.start, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                lost(c, p, NO_CODE);
            else if (!p->waits_to_write)
                watch(c, p, true);
            return;
        }
        p->out.start += (size_t)sent;
    }
    if (p->waits_to_write)
        watch(c, p, false);
}

static void send_bytes(struct crowd *c, struct person *p, const char *data, size_t length)
{
    if (p->out.start == p->out.end) {
        ssize_t sent = send(p->fd, data, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length)
            return;
        if (sent < 0 && errno != EAGAIN) {
            lost(c, p, NO_CODE);
            return;
        }
        data += sent > 0 ? sent : 0;
        length -= sent > 0 ? (size_t)sent : 0;
    }
    bytes_add(&p->out, data, length);
    flush(c, p);
}

void person_send(struct crowd *c, struct person *p, int opcode, const char *text, size_t length)
{
    char frame[MAX_SENT + 14];
    send_bytes(c, p, frame, frame_write(frame, opcode, text, length));
}

/* Arriving: connect, upgrade, say who we are, enter the room. */

void person_open(struct crowd *c, struct person *p)
{
    int yes = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = p};
    p->fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        fail("No socket for connection %u: %s.", number_of(c, p), strerror(errno));
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    p->state = CONNECTING;
    p->greetings = 0;
    p->waits_to_write = p->arriving = true;
    c->opening++;
    epoll_ctl(c->epoll, EPOLL_CTL_ADD, p->fd, &event);
    if (connect(p->fd, (struct sockaddr *)&c->address, c->address_length) < 0 && errno != EINPROGRESS) {
        if (errno == EADDRNOTAVAIL)
            fail("No local port is left for connection %u.", number_of(c, p));
        lost(c, p, NO_CODE);
    }
}

static void upgrade(struct crowd *c, struct person *p)
{
    char request[512];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lost(c, p, NO_CODE);
        return;
    }
    p->state = UPGRADING;
    watch(c, p, false);
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "User-Agent: onrecord-bench\r\n\r\n", c->door->path);
    send_bytes(c, p, request, (size_t)length);
}

static void say(struct crowd *c, struct person *p, size_t (*words)(char *, size_t, const struct visitor *))
{
    char text[MAX_SENT];
    struct visitor v = {number_of(c, p), p->hears.room, p->token, p->hears.seq};
    person_send(c, p, TEXT, text, words(text, sizeof text, &v));
}

static void greeted(struct crowd *c, struct person *p)
{
    if (p->greetings++ == 0)
        say(c, p, c->door->enter);
    else if (c->door->join)
        say(c, p, c->door->join);
}

static void level(struct crowd *c, struct person *p, uint64_t now)
{
    p->arriving = false;
    c->levelled++;
    histogram_add(&c->level, now - c->began);
}

static bool owed(const struct crowd *c, const struct person *p)
{
    /* A post that was never answered may not be on the record. */
    bool complete = c->book.acked == c->book.sent;
    return c->door->recovers && complete && p->hears.expected && p->hears.got < book_posts_in(&c->book, p->hears.room);
}

static void entered(struct crowd *c, struct person *p)
{
    if (p->state != ENTERING)
        return;
    p->state = READY;
    p->tries = 0;
    c->opening--;
    c->ready++;
    uint64_t now = now_ns();
    histogram_add(&c->handshake, now - c->began);
    if (!owed(c, p))
        level(c, p, now);
}

/* What comes in. */

static void delivered(struct crowd *c, struct person *p, const struct heard *h, uint64_t now)
{
    book_delivered(&c->book, &p->hears, number_of(c, p), h->index, h->seq, now);
    if (p->arriving && p->state == READY && !owed(c, p))
        level(c, p, now);
}

static void heard(struct crowd *c, struct person *p, const char *text, size_t length, uint64_t now)
{
    struct heard h = c->door->hear(text, length);
    switch (h.meaning) {
    case DELIVERY:
        c->book.bytes += length;
        delivered(c, p, &h, now);
        break;
    case ACK:
        book_acked(&c->book, h.index, now);
        break;
    case REFUSAL:
        book_refused(&c->book, h.code, h.code_length);
        break;
    case GREETED:
        greeted(c, p);
        break;
    case ENTERED:
        entered(c, p);
        break;
    case HEARTBEAT:
        person_send(c, p, TEXT, "3", 1);
        break;
    case OTHER:
        break;
    }
}

static void take_frame(struct crowd *c, struct person *p, const struct frame *f, uint64_t now)
{
    const unsigned char *payload = (const unsigned char *)f->payload;
    if (f->opcode == TEXT)
        heard(c, p, f->payload, f->length, now);
    else if (f->opcode == PING)
        person_send(c, p, PONG, f->payload, f->length);
    else if (f->opcode == CLOSE)
        lost(c, p, f->length >= 2 ? (unsigned)payload[0] << 8 | payload[1] : NO_CODE);
}

/* Read what is whole in data; return how much that was. */
static size_t take(struct crowd *c, struct person *p, const char *data, size_t length, uint64_t now)
{
    size_t at = 0;
    struct frame f;
    if (p->state == UPGRADING) {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (!end)
            return 0;
        if (length < 12 || memcmp(data + 9, "101", 3)) {
            lost(c, p, (unsigned)atoi(data + 9));
            return length;
        }
        at = (size_t)(end + 4 - data);
        p->state = ENTERING;
        if (!c->door->greets)
            say(c, p, c->door->enter);
    }
    while (p->state != AWAY && frame_read(data + at, length - at, &f)) {
        take_frame(c, p, &f, now);
        at += f.whole;
    }
    return at;
}

static void read_some(struct crowd *c, struct person *p)
{
    static char shared[READ_AT_ONCE];
    ssize_t got = recv(p->fd, shared, sizeof shared, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            lost(c, p, NO_CODE);
        return;
    }
    uint64_t now = now_ns();
    if (p->in.start == p->in.end) {
        size_t taken = take(c, p, shared, (size_t)got, now);
        if (p->state != AWAY && taken < (size_t)got)
            bytes_add(&p->in, shared + taken, (size_t)got - taken);
        return;
    }
    bytes_add(&p->in, shared, (size_t)got);
    size_t taken = take(c, p, p->in.data + p->in.start, p->in.end - p->in.start, now);
    if (p->state != AWAY)
        p->in.start += taken;
}

/* Let more come before it is looked at, as a network card holds back its interrupts. */
static void gather(uint64_t until)
{
    uint64_t now = now_ns(), wait = until > now ? until - now : 0;
    struct timespec pause = {0, (long)(wait < GATHER ? wait : GATHER)};
    nanosleep(&pause, NULL);
}

void crowd_turn(struct crowd *c, uint64_t until)
{
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns();
    uint64_t wait = until > now ? until - now : 0;
    struct timespec most = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    int count = epoll_pwait2(c->epoll, events, EVENTS, &most, NULL);
    for (int i = 0; i < count; i++) {
        struct person *p = events[i].data.ptr;
        if (!p || p->state == AWAY)
            continue;
        if (p->state == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            upgrade(c, p);
        else if (events[i].events & EPOLLOUT)
            flush(c, p);
        if (p->state != AWAY && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            read_some(c, p);
    }
    if (count > 0 && count < EVENTS)
        gather(until);
}
