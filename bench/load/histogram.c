#include "histogram.h"

#include <math.h>
#include <string.h>

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

/* Values below 128 have a slot each; above, the slot is the exponent and the six bits after the leading one. */
static unsigned slot_of(uint64_t value)
{
    if (value < 128)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - 6;
    return shift * 64 + (unsigned)(value >> shift);
}

static uint64_t highest_in(unsigned slot)
{
    if (slot < 128)
        return slot;
    unsigned shift = slot / 64 - 1;
    uint64_t first = slot - shift * 64;
    return (first << shift) + (((uint64_t)1 << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->counts[slot_of(value)]++;
    h->total++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)h->total);
    uint64_t seen = 0;
    for (unsigned slot = 0; slot < HISTOGRAM_SLOTS && h->total; slot++) {
        seen += h->counts[slot];
        if (seen >= wanted && seen > 0)
            return highest_in(slot) < h->max ? highest_in(slot) : h->max;
    }
    return h->max;
}
