/* The limit: what the kernel charges. A WebSocket server with rooms in C, epoll, one send() per frame and receiver.
 *
 *     limit [JOIN_MS]
 *
 * It speaks the plain door of the load generator, and no more: it looks for fields where that client writes them. With
 * JOIN_MS the frames of a room are kept so long and sent as one. Prints its port.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "accept.h"

#define ROOMS 20000
#define EVENTS 256
#define MOST 65536
#define OUTBOX (1024 * 1024)

struct bytes {
    char *data;
    size_t length, room;
};

struct guest {
    int fd;
    bool upgraded, waits_to_write;
    struct room *room;
    size_t place;
    struct bytes in, out;
};

struct room {
    struct guest **guests;
    size_t count, room;
    struct bytes waiting;
};

static int loop;
static uint64_t join_ns;
static struct room rooms[ROOMS];

static void add(struct bytes *b, const void *data, size_t length)
{
    if (b->length + length > b->room) {
        b->room = 2 * (b->length + length);
        b->data = realloc(b->data, b->room);
    }
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void leave(struct guest *g)
{
    if (g->fd < 0)
        return;
    if (g->room) {
        struct guest *last = g->room->guests[--g->room->count];
        g->room->guests[last->place = g->place] = last;
    }
    close(g->fd);
    g->fd = -1; /* a later event of this turn may name it; it is freed when the next turn begins */
}

static void watch(struct guest *g, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = g};
    g->waits_to_write = writing;
    epoll_ctl(loop, EPOLL_CTL_MOD, g->fd, &event);
}

/* Straight to the socket while nothing waits; a guest who reads too slowly is shown out. */
static void give(struct guest *g, const char *data, size_t length)
{
    ssize_t sent = g->out.length ? 0 : send(g->fd, data, length, MSG_NOSIGNAL);
    if (sent == (ssize_t)length)
        return;
    if (sent < 0 && errno != EAGAIN) {
        shutdown(g->fd, SHUT_RDWR);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    add(&g->out, data + sent, length - (size_t)sent);
    if (g->out.length > OUTBOX)
        shutdown(g->fd, SHUT_RDWR);
    else if (!g->waits_to_write)
        watch(g, true);
}

static void flush(struct guest *g)
{
    ssize_t sent = send(g->fd, g->out.data, g->out.length, MSG_NOSIGNAL);
    if (sent <= 0)
        return;
    g->out.length -= (size_t)sent;
    memmove(g->out.data, g->out.data + sent, g->out.length);
    if (!g->out.length)
        watch(g, false);
}

static size_t head_of(char *out, size_t length)
{
    out[0] = (char)0x81;
    if (length < 126) {
        out[1] = (char)length;
        return 2;
    }
    out[1] = 126;
    out[2] = (char)(length >> 8);
    out[3] = (char)length;
    return 4;
}

static void say(struct guest *g, const char *text, size_t length)
{
    char frame[512];
    size_t head = head_of(frame, length);
    memcpy(frame + head, text, length);
    give(g, frame, head + length);
}

static void send_waiting(struct room *r)
{
    for (size_t i = 0; i < r->count; i++)
        give(r->guests[i], r->waiting.data, r->waiting.length);
    r->waiting.length = 0;
}

/* To all members of the room, under another type; then the author's ack. */
static void post(struct guest *g, const char *text, size_t length)
{
    static const char sent[] = "{\"type\":\"message:send\"", new[] = "{\"type\":\"message:new\"";
    char frame[MOST], ack[256];
    size_t rest = length - (sizeof sent - 1), payload = sizeof new - 1 + rest, head = head_of(frame, payload);
    memcpy(frame + head, new, sizeof new - 1);
    memcpy(frame + head + sizeof new - 1, text + sizeof sent - 1, rest);
    if (g->room)
        add(&g->room->waiting, frame, head + payload);
    if (g->room && !join_ns)
        send_waiting(g->room);
    const char *ref = memmem(text, length, "\"ref\":\"", 7);
    if (ref) {
        int size = snprintf(ack, sizeof ack, "{\"type\":\"ack\",\"ref\":\"%.*s\"}", (int)strcspn(ref + 7, "\""), ref + 7);
        say(g, ack, (size_t)size);
    }
}

static void join(struct guest *g, const char *text, size_t length)
{
    const char *name = memmem(text, length, "\"roomId\":\"room", 14);
    struct room *r = &rooms[(name ? strtoul(name + 14, NULL, 10) : 0) % ROOMS];
    if (g->room)
        return;
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        r->guests = realloc(r->guests, r->room * sizeof *r->guests);
    }
    g->room = r;
    g->place = r->count;
    r->guests[r->count++] = g;
    say(g, "{\"type\":\"joined\"}", 17);
}

static void hear(struct guest *g, int opcode, const char *text, size_t length)
{
    if (opcode == 8)
        shutdown(g->fd, SHUT_RDWR);
    else if (length > 22 && !memcmp(text, "{\"type\":\"message:send\"", 22))
        post(g, text, length);
    else if (length > 19 && !memcmp(text, "{\"type\":\"room:join\"", 19))
        join(g, text, length);
}

/* One masked frame; returns its length, 0 while it is not whole. */
static size_t take_frame(struct guest *g, unsigned char *data, size_t have)
{
    if (have < 6)
        return 0;
    size_t length = data[1] & 127, head = length == 126 ? 8 : 6;
    if (length == 126 && have >= 8)
        length = (size_t)data[2] << 8 | data[3];
    if (have < head || have < head + length)
        return 0;
    unsigned char *mask = data + head - 4, *payload = data + head;
    for (size_t i = 0; i < length; i++)
        payload[i] ^= mask[i & 3];
    hear(g, data[0] & 15, (char *)payload, length);
    return head + length;
}

static size_t upgrade(struct guest *g, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    const char *key = end ? memmem(data, length, "Sec-WebSocket-Key: ", 19) : NULL;
    char accept[29], answer[256];
    if (!key)
        return 0;
    accept_key(key + 19, strcspn(key + 19, "\r"), accept);
    int size = snprintf(answer, sizeof answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    give(g, answer, (size_t)size);
    g->upgraded = true;
    return (size_t)(end + 4 - data);
}

static void read_some(struct guest *g)
{
    static char shared[MOST];
    ssize_t got = recv(g->fd, shared, sizeof shared - 1, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            leave(g);
        return;
    }
    add(&g->in, shared, (size_t)got);
    size_t at = 0, taken;
    if (!g->upgraded)
        at = upgrade(g, g->in.data, g->in.length);
    while (g->upgraded && (taken = take_frame(g, (unsigned char *)g->in.data + at, g->in.length - at)))
        at += taken;
    g->in.length -= at;
    memmove(g->in.data, g->in.data + at, g->in.length);
    if (!g->in.length) {
        free(g->in.data);
        g->in = (struct bytes){0};
    }
}

static void accept_all(int listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct guest *g = calloc(1, sizeof *g);
        g->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = g};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void serve(int listener)
{
    struct epoll_event events[EVENTS];
    struct guest *left[EVENTS];
    uint64_t next = now_ns() + join_ns;
    for (;;) {
        int count = epoll_wait(loop, events, EVENTS, join_ns ? 1 : -1), gone = 0;
        for (int i = 0; i < count; i++) {
            struct guest *g = events[i].data.ptr;
            if (!g) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT)
                flush(g);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_some(g);
            if (g->fd < 0)
                left[gone++] = g;
        }
        for (int i = 0; i < gone; i++) {
            free(left[i]->in.data);
            free(left[i]->out.data);
            free(left[i]);
        }
        if (!join_ns || now_ns() < next)
            continue;
        for (int i = 0; i < ROOMS; i++)
            if (rooms[i].waiting.length)
                send_waiting(&rooms[i]);
        next = now_ns() + join_ns;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit limit;
    socklen_t size = sizeof address;
    join_ns = argc > 1 ? (uint64_t)(atof(argv[1]) * 1e6) : 0;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("cannot listen");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    printf("PORT %u\n", ntohs(address.sin_port));
    fflush(stdout);
    serve(listener);
}
