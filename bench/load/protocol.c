#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STARTS(text, length, with) ((length) >= sizeof(with) - 1 && !memcmp(text, with, sizeof(with) - 1))
#define SEQ_WITHIN 160 /* `seq` stands among the first fields */

static uint32_t hex(const char *text)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned digit = (unsigned char)text[i];
        value = value << 4 | ((digit & 15) + (digit > '9' ? 9 : 0));
    }
    return value;
}

static struct heard delivery(const char *text, size_t length)
{
    const char *mark = memchr(text, '#', length);
    if (!mark || text + length < mark + 10 || mark[9] != '#')
        return (struct heard){.meaning = OTHER};
    return (struct heard){.meaning = DELIVERY, .index = hex(mark + 1)};
}

static struct heard numbered(const char *text, size_t length)
{
    struct heard h = delivery(text, length);
    const char *seq = memmem(text, length < SEQ_WITHIN ? length : SEQ_WITHIN, "\"seq\":", 6);
    if (seq)
        h.seq = strtoull(seq + 6, NULL, 10);
    return h;
}

static struct heard refusal(const char *text, size_t length)
{
    struct heard h = {.meaning = REFUSAL, .code = "unreadable", .code_length = 10};
    const char *code = memmem(text, length, "\"code\":\"", 8);
    if (code) {
        h.code = code + 8;
        h.code_length = strcspn(h.code, "\"");
    }
    return h;
}

static struct heard ack(const char *text, size_t length)
{
    const char *ref = memmem(text, length, "\"ref\":\"", 7);
    const char *dash = ref ? memchr(ref, '-', (size_t)(text + length - ref)) : NULL;
    if (!dash || text + length < dash + 9)
        return (struct heard){.meaning = OTHER};
    return (struct heard){.meaning = ACK, .index = hex(dash + 1)};
}

static size_t rooms_field(char *out, size_t room, const struct visitor *v)
{
    if (v->cursor)
        return (size_t)snprintf(out, room, "\"rooms\":{\"room%u\":%" PRIu64 "}", v->room, v->cursor);
    return (size_t)snprintf(out, room, "\"rooms\":{\"room%u\":null}", v->room);
}

/* OnRecord's native door. */

static size_t native_enter(char *out, size_t room, const struct visitor *v)
{
    char rooms[64];
    rooms_field(rooms, sizeof rooms, v);
    return (size_t)snprintf(out, room, "{\"type\":\"connect\",\"protocol\":1,\"token\":\"%s\",%s}", v->token, rooms);
}

static size_t json_post(char *out, size_t room, uint32_t index, uint32_t chat, const char *run, const char *filler)
{
    return (size_t)snprintf(out, room,
        "{\"type\":\"message:send\",\"ref\":\"%s-%08x\",\"roomId\":\"room%u\",\"content\":\"#%08x#%s\"}",
        run, index, chat, index, filler);
}

static struct heard native_hear(const char *text, size_t length)
{
    if (STARTS(text, length, "{\"type\":\"message:new\""))
        return numbered(text, length);
    if (STARTS(text, length, "{\"type\":\"ack\""))
        return ack(text, length);
    if (STARTS(text, length, "{\"type\":\"connected\""))
        return (struct heard){.meaning = ENTERED};
    if (STARTS(text, length, "{\"type\":\"error\""))
        return refusal(text, length);
    return (struct heard){.meaning = OTHER};
}

/* The plain door of the peers: the native one without tokens. */

static size_t plain_enter(char *out, size_t room, const struct visitor *v)
{
    return (size_t)snprintf(out, room, "{\"type\":\"room:join\",\"roomId\":\"room%u\",\"userId\":\"user%05u\"}",
        v->room, v->number);
}

static struct heard plain_hear(const char *text, size_t length)
{
    struct heard h = delivery(text, length);
    if (h.meaning == DELIVERY)
        return h;
    if (STARTS(text, length, "{\"type\":\"ack\""))
        return ack(text, length);
    if (STARTS(text, length, "{\"type\":\"joined\""))
        return (struct heard){.meaning = ENTERED};
    if (STARTS(text, length, "{\"type\":\"error\""))
        return refusal(text, length);
    return h;
}

/* Socket.IO over WebSocket alone: Engine.IO packets 0 open, 2 ping, 4 message; Socket.IO packets 0, 2 event, 3 ack. */

static size_t socketio_connect(char *out, size_t room, const struct visitor *v)
{
    char rooms[64];
    rooms_field(rooms, sizeof rooms, v);
    return (size_t)snprintf(out, room, "40{\"token\":\"%s\",%s}", v->token, rooms);
}

static size_t socketio_join(char *out, size_t room, const struct visitor *v)
{
    return (size_t)snprintf(out, room, "420[\"room:join\",{\"roomId\":\"room%u\",\"userId\":\"user%05u\"}]",
        v->room, v->number);
}

static size_t socketio_post(char *out, size_t room, uint32_t index, uint32_t chat, const char *run, const char *filler)
{
    return (size_t)snprintf(out, room,
        "42%u[\"message:send\",{\"ref\":\"%s-%08x\",\"roomId\":\"room%u\",\"content\":\"#%08x#%s\"}]",
        index, run, index, chat, index, filler);
}

static struct heard socketio_answer(const char *text, size_t length)
{
    if (STARTS(text, length, "430["))
        return (struct heard){.meaning = ENTERED};
    if (memmem(text, length, "\"ok\":false", 10))
        return refusal(text, length);
    return (struct heard){.meaning = ACK, .index = (uint32_t)strtoul(text + 2, NULL, 10)};
}

static struct heard socketio_hear(const char *text, size_t length)
{
    if (STARTS(text, length, "42[\"message:new\""))
        return numbered(text, length);
    if (STARTS(text, length, "43"))
        return socketio_answer(text, length);
    if (STARTS(text, length, "2") && length == 1)
        return (struct heard){.meaning = HEARTBEAT};
    if (STARTS(text, length, "0{") || STARTS(text, length, "40"))
        return (struct heard){.meaning = GREETED};
    if (STARTS(text, length, "44"))
        return refusal(text, length);
    return (struct heard){.meaning = OTHER};
}

static struct heard onrecord_socketio_hear(const char *text, size_t length)
{
    if (STARTS(text, length, "42[\"connected\""))
        return (struct heard){.meaning = ENTERED};
    if (STARTS(text, length, "40"))
        return (struct heard){.meaning = OTHER};
    return socketio_hear(text, length);
}

#define SOCKET_IO "/socket.io/?EIO=4&transport=websocket"

static const struct door doors[] = {
    {"native", "/ws", false, true, native_enter, NULL, json_post, native_hear},
    {"plain", "/ws", false, false, plain_enter, NULL, json_post, plain_hear},
    {"socketio", SOCKET_IO, true, false, socketio_connect, socketio_join, socketio_post, socketio_hear},
    {"onrecord-socketio", SOCKET_IO, true, true, socketio_connect, NULL, socketio_post, onrecord_socketio_hear},
};

const struct door *door_named(const char *name)
{
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++)
        if (!strcmp(doors[i].name, name))
            return &doors[i];
    return NULL;
}
