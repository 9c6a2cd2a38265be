#include "accept.h"

#include <stdint.h>
#include <string.h>

/* SHA-1 (RFC 3174) of a message of less than two blocks, for the one use that WebSockets have for it. */
static uint32_t turn(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

static void sha1(const char *text, size_t length, unsigned char out[20])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char blocks[128] = {0};
    memcpy(blocks, text, length);
    blocks[length] = 0x80;
    blocks[126] = (unsigned char)(length * 8 >> 8);
    blocks[127] = (unsigned char)(length * 8);
    for (int block = 0; block < 2; block++) {
        const unsigned char *at = blocks + 64 * block;
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)at[4 * i] << 24 | (uint32_t)at[4 * i + 1] << 16 | (uint32_t)at[4 * i + 2] << 8 | at[4 * i + 3];
        for (int i = 16; i < 80; i++)
            w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i >= 40 && i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            static const uint32_t k[] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
            uint32_t next = turn(a, 5) + f + e + k[i / 20] + w[i];
            e = d, d = c, c = turn(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++)
        out[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void accept_key(const char *key, size_t length, char out[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[64 + 36];
    unsigned char sum[21] = {0};
    length = length > 24 ? 24 : length;
    memcpy(text, key, length);
    memcpy(text + length, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    sha1(text, length + 36, sum);
    for (int i = 0; i < 28; i++) {
        unsigned bits = (unsigned)(sum[i * 6 / 8] << 8) | (i * 6 / 8 + 1 < 21 ? sum[i * 6 / 8 + 1] : 0u);
        out[i] = digits[bits >> (10 - i * 6 % 8) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}
