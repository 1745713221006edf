#include "base/alloc.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static _Noreturn void no_memory(const char *file, int line, size_t bytes)
{
    log_write(LOG_LEVEL_ERROR, file, line, "out of memory; the process ends",
              LOG_INT("bytes", bytes), LOG_END_);
    log_flush();
    abort();
}

/* count * bytes, or a size that no allocation can have if the product overflows. */
static size_t product(size_t count, size_t bytes)
{
    size_t all;
    return __builtin_mul_overflow(count, bytes, &all) ? SIZE_MAX : all;
}

void *alloc_bytes_at(const char *file, int line, size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    if (memory == NULL)
        no_memory(file, line, bytes);
    return memory;
}

void *alloc_zero_at(const char *file, int line, size_t count, size_t bytes)
{
    size_t all = product(count, bytes);
    void *memory = calloc(1, all == 0 ? 1 : all);
    if (memory == NULL)
        no_memory(file, line, all);
    return memory;
}

void *alloc_resize_at(const char *file, int line, void *memory, size_t count, size_t bytes)
{
    size_t all = product(count, bytes);
    void *resized = realloc(memory, all == 0 ? 1 : all);
    if (resized == NULL)
        no_memory(file, line, all);
    return resized;
}

void *alloc_aligned_at(const char *file, int line, size_t alignment, size_t bytes)
{
    void *memory = aligned_alloc(alignment, bytes);
    if (memory == NULL)
        no_memory(file, line, bytes);
    return memset(memory, 0, bytes);
}

char *alloc_copy_at(const char *file, int line, const char *bytes, size_t n)
{
    char *copy = alloc_bytes_at(file, line, n + 1);
    if (n != 0)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

char *alloc_text_at(const char *file, int line, const char *text)
{
    return alloc_copy_at(file, line, text, strlen(text));
}

void *alloc_check_at(const char *file, int line, void *memory)
{
    if (memory == NULL)
        no_memory(file, line, 0);
    return memory;
}
