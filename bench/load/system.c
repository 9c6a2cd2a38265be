#include "system.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void fail(const char *format, ...)
{
    va_list words;
    va_start(words, format);
    vfprintf(stderr, format, words);
    va_end(words);
    fputc('\n', stderr);
    exit(1);
}

void *must_alloc(size_t bytes)
{
    void *made = calloc(1, bytes);
    if (!made)
        fail("No memory for %zu bytes.", bytes);
    return made;
}

void *must_grow(void *old, size_t bytes)
{
    void *made = realloc(old, bytes);
    if (!made)
        fail("No memory for %zu bytes.", bytes);
    return made;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
