/*
 * What the bodies of one HTTP/2 connection hold until they are whole.
 *
 * libh2o keeps the body of each stream until its end, and resets a stream whose body is over its
 * limit with REFUSED_STREAM, upon which clients send it again. So that clients hear 413 instead,
 * that limit is far above ours (protocols.h); and so that 100 streams do not hold 100 times as
 * much, the bodies of a connection are counted here, by the frames that libh2o is about to see.
 * Pure, but for memory.
 */
#ifndef HOLDFAST_HTTP_HTTP2_BODIES_H
#define HOLDFAST_HTTP_HTTP2_BODIES_H

#include "base/str.h"

/* Streams that libh2o has open at a time. */
#define HTTP2_STREAMS_MAX 100
/* A body over the limit by so much is read to its end, to be answered 413. So much may all bodies
   of a connection that are not whole hold, besides HTTP2_STREAMS_MAX times the limit; and twice as
   much those that are whole and over it, until their answers are taken (connection.h). */
#define HTTP2_BODY_OVER_BYTES (4 * 1024 * 1024)

typedef struct http2_bodies http2_bodies_t;

/* A body is kept up to `stream_max` bytes, libh2o's limit; all together up to `all_max`. */
http2_bodies_t *http2_bodies_new(size_t stream_max, size_t all_max);
void http2_bodies_free(http2_bodies_t *bodies);

/* `input` is all that has come and libh2o has not taken yet: the preface, once, and frames. Those
   that are whole are counted, since libh2o takes them. False: more is kept than may be. */
bool http2_bodies_take(http2_bodies_t *bodies, str_t input);

#endif
