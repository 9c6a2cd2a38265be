/* Latencies in logarithmic buckets, 64 to each doubling: a percentile is at most 1.6 % too high, and never too low. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SLOTS ((64 - 6) * 64 + 64)

struct histogram {
    uint64_t counts[HISTOGRAM_SLOTS];
    uint64_t total;
    uint64_t max;
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);

/* The value that a share (0 to 1) of all values does not exceed; 0 where there are none. */
uint64_t histogram_at(const struct histogram *h, double share);

#endif
