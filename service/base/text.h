/*
 * A text that grows: for what is written in parts and whose length is not known before.
 *
 * Zero-initialised means "empty". The owner frees it with text_free(). One thread at a time may use
 * it. Nothing here blocks; out of memory ends the process (base/alloc.h).
 */
#ifndef HOLDFAST_BASE_TEXT_H
#define HOLDFAST_BASE_TEXT_H

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"

typedef struct {
    char *p;
    size_t n, capacity;
} text_t;

static inline str_t text_str(const text_t *text)
{
    return (str_t){text->p, text->n};
}

/* The end of the text, with room for `bytes` more: for str_put() and functions like it. text_end()
   takes over what was written there. */
static inline char *text_room(text_t *text, size_t bytes)
{
    if (text->capacity - text->n < bytes) {
        size_t capacity = text->capacity == 0 ? 4096 : text->capacity;
        while (capacity - text->n < bytes)
            capacity *= 2;
        text->p = alloc_resize(text->p, capacity, 1);
        text->capacity = capacity;
    }
    return text->p + text->n;
}

static inline void text_end(text_t *text, const char *end)
{
    assert(end >= text->p + text->n && end <= text->p + text->capacity);
    text->n = (size_t)(end - text->p);
}

static inline void text_add(text_t *text, str_t more)
{
    char *at = text_room(text, more.n);
    str_put(&at, more);
    text_end(text, at);
}

/* Empties it, and keeps its memory for the next text. */
static inline void text_clear(text_t *text)
{
    text->n = 0;
}

static inline void text_free(text_t *text)
{
    free(text->p);
    *text = (text_t){0};
}

#endif
