/* What every part asks of the system: memory, the clock, and an end where there is no going on. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stddef.h>
#include <stdint.h>

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void *must_alloc(size_t bytes); /* zeroed */
void *must_grow(void *old, size_t bytes);
uint64_t now_ns(void);

#endif
