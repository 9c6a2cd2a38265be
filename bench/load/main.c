/* The load generator: many WebSocket clients of one chat server in one thread, controlled by commands, one a line.
 *
 *     load PORT DOOR CONNECTIONS ROOMS POSTERS RUN FILLER TOKENS CURSOR
 *
 * TOKENS is a file with a token a line, or "-"; CURSOR is the seq after which clients first receive events, 0 for "from
 * now on". Each command on stdin is answered with one line of JSON:
 *
 *     connect AT_ONCE SECONDS           connects all clients that are not connected, with that many handshakes at once;
 *                                       a client that was cut receives missed events if the protocol supports it
 *     post RATE SECONDS LIMIT WHAT PATIENCE
 *                                       an open loop: RATE posts a second, evenly over rooms and authors; a late post
 *                                       is timed from when it was due. Ends early once more than 1 % of all
 *                                       deliveries (WHAT = deliveries) or acks (WHAT = acks) took over LIMIT ms.
 *                                       Deliveries still missing after PATIENCE seconds without any delivery are lost
 *     cut SEATS                         disconnects all clients but the first SEATS of each room
 *     idle SECONDS                      only answers heartbeats
 *
 * `load percentiles` reads whole numbers and prints the histogram's percentiles of them. `load stalls SECONDS` only
 * reads the clock, and prints how long it was not running: the latency that the machine itself adds.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "commands.h"
#include "system.h"

#define SECOND 1000000000u
#define SPARE_DESCRIPTORS 32
#define STALL 500000u /* ns; no look at the clock takes that long */

/* Between commands the connections are served too: a heartbeat does not wait. */
static void serve(struct crowd *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    char buffer[4096];
    size_t held = 0;
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    epoll_ctl(c->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        ssize_t got = read(STDIN_FILENO, buffer + held, sizeof buffer - 1 - held);
        if (got == 0)
            return;
        held += got > 0 ? (size_t)got : 0;
        buffer[held] = 0;
        char *end = strchr(buffer, '\n');
        if (end) {
            *end = 0;
            /* Its descriptor would wake every turn of a run. */
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            obey(c, buffer);
            epoll_ctl(c->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
            held -= (size_t)(end + 1 - buffer);
            memmove(buffer, end + 1, held);
        } else {
            crowd_turn(c, now_ns() + SECOND);
        }
    }
}

static void allow_descriptors(uint32_t connections)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < connections + SPARE_DESCRIPTORS)
        fail("%u connections need as many open files, and the hard limit here is %llu (ulimit -Hn).", connections,
            (unsigned long long)limit.rlim_max);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void seat_people(struct crowd *c, const char *tokens, uint64_t cursor)
{
    FILE *file = strcmp(tokens, "-") ? fopen(tokens, "r") : NULL;
    char line[8192];
    c->people = must_alloc(c->count * sizeof *c->people);
    for (uint32_t i = 0; i < c->count; i++) {
        c->people[i].hears.room = i % c->rooms;
        c->people[i].hears.seq = cursor;
        c->people[i].token = "";
        if (file && fgets(line, sizeof line, file)) {
            line[strcspn(line, "\n")] = 0;
            c->people[i].token = strdup(line);
        }
    }
    if (file)
        fclose(file);
}

static int percentiles(void)
{
    static struct histogram h;
    uint64_t value;
    while (scanf("%" SCNu64, &value) == 1)
        histogram_add(&h, value);
    printf("{\"total\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}\n",
        h.total, histogram_at(&h, 0.5), histogram_at(&h, 0.99), histogram_at(&h, 0.999), h.max);
    return 0;
}

static int stalls(double seconds)
{
    uint64_t began = now_ns(), last = began, longest = 0, lost = 0;
    while (last - began < (uint64_t)(seconds * SECOND)) {
        uint64_t now = now_ns(), gap = now - last;
        if (gap > STALL)
            lost += gap;
        longest = gap > longest ? gap : longest;
        last = now;
    }
    printf("{\"longest_ms\":%.3f,\"share\":%.5f}\n", (double)longest / 1e6, (double)lost / (double)(last - began));
    return 0;
}

int main(int argc, char **argv)
{
    static struct crowd crowd;
    struct sockaddr_in *address = (struct sockaddr_in *)&crowd.address;
    if (argc == 2 && !strcmp(argv[1], "percentiles"))
        return percentiles();
    if (argc == 3 && !strcmp(argv[1], "stalls"))
        return stalls(atof(argv[2]));
    if (argc != 10 || !door_named(argv[2]))
        fail("usage: load PORT DOOR CONNECTIONS ROOMS POSTERS RUN FILLER TOKENS CURSOR");
    signal(SIGPIPE, SIG_IGN);
    crowd.door = door_named(argv[2]);
    crowd.count = (uint32_t)atoi(argv[3]);
    crowd.rooms = (uint32_t)atoi(argv[4]);
    crowd.run = argv[6];
    crowd.filler = argv[7];
    allow_descriptors(crowd.count);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    crowd.address_length = sizeof *address;
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    seat_people(&crowd, argv[8], strtoull(argv[9], NULL, 10));
    book_open(&crowd.book, crowd.rooms, (uint32_t)atoi(argv[5]), crowd.count);
    book_begin(&crowd.book, 0, 0, 0);
    serve(&crowd);
    return 0;
}
