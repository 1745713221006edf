#include "http/http2_bodies.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

#define PREFACE_BYTES 24
#define HEAD_BYTES 9

enum { TYPE_DATA, TYPE_HEADERS, TYPE_RST_STREAM = 3 };
enum { FLAG_END_STREAM = 1, FLAG_PADDED = 8 };

typedef struct {
    uint32_t stream;
    bool dropped; /* libh2o has reset it: it keeps none of the bytes that still arrive */
    size_t bytes;
} body_t;

struct http2_bodies {
    size_t stream_max, all_max, all;
    bool has_preface;
    unsigned count;
    body_t open[HTTP2_STREAMS_MAX];
};

http2_bodies_t *http2_bodies_new(size_t stream_max, size_t all_max)
{
    http2_bodies_t *bodies = alloc_zero(1, sizeof(*bodies));
    bodies->stream_max = stream_max;
    bodies->all_max = all_max;
    return bodies;
}

void http2_bodies_free(http2_bodies_t *bodies)
{
    free(bodies);
}

static body_t *find(http2_bodies_t *bodies, uint32_t stream)
{
    for (unsigned i = 0; i < bodies->count; ++i)
        if (bodies->open[i].stream == stream)
            return &bodies->open[i];
    return NULL;
}

static void forget(http2_bodies_t *bodies, body_t *body)
{
    if (body == NULL)
        return;
    assert(body->bytes <= bodies->all);
    bodies->all -= body->bytes;
    *body = bodies->open[--bodies->count];
}

/* Begins a body. If all entries are used, it takes that of a dropped stream. NULL: there is
   none. */
static body_t *begin(http2_bodies_t *bodies, uint32_t stream)
{
    if (bodies->count == HTTP2_STREAMS_MAX)
        for (unsigned i = 0; i < bodies->count; ++i)
            if (bodies->open[i].dropped) {
                forget(bodies, &bodies->open[i]);
                break;
            }
    if (bodies->count == HTTP2_STREAMS_MAX)
        return NULL;
    body_t *body = &bodies->open[bodies->count++];
    *body = (body_t){.stream = stream};
    return body;
}

static bool add(http2_bodies_t *bodies, uint32_t stream, size_t n)
{
    body_t *body = find(bodies, stream);
    if (body == NULL && (body = begin(bodies, stream)) == NULL)
        return false;
    if (body->dropped)
        return true;
    bodies->all += n;
    body->bytes += n;
    if (body->bytes > bodies->stream_max) {
        bodies->all -= body->bytes;
        *body = (body_t){.stream = stream, .dropped = true};
    }
    return bodies->all <= bodies->all_max;
}

/* Counts a whole frame, with `n` bytes behind its head. */
static bool take_frame(http2_bodies_t *bodies, const uint8_t *head, size_t n)
{
    unsigned type = head[3], flags = head[4];
    uint32_t stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                      (uint32_t)head[7] << 8 | head[8];
    bool ends = type == TYPE_RST_STREAM || ((flags & FLAG_END_STREAM) != 0 && type <= TYPE_HEADERS);
    if (ends) {
        forget(bodies, find(bodies, stream));
        return true;
    }
    if (type != TYPE_DATA)
        return true;
    if ((flags & FLAG_PADDED) != 0) {
        size_t padding = n == 0 ? 0 : 1 + (size_t)head[HEAD_BYTES];
        n = padding > n ? 0 : n - padding; /* libh2o ends a connection with too much padding */
    }
    return add(bodies, stream, n);
}

bool http2_bodies_take(http2_bodies_t *bodies, str_t input)
{
    const uint8_t *at = (const uint8_t *)input.p;
    size_t left = input.n;
    if (!bodies->has_preface) {
        if (left < PREFACE_BYTES)
            return true;
        bodies->has_preface = true;
        at += PREFACE_BYTES;
        left -= PREFACE_BYTES;
    }
    while (left >= HEAD_BYTES) {
        size_t n = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        if (left - HEAD_BYTES < n)
            break;
        if (!take_frame(bodies, at, n))
            return false;
        at += HEAD_BYTES + n;
        left -= HEAD_BYTES + n;
    }
    return true;
}
