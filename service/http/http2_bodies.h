/*
 * Counts the memory that the bodies of one HTTP/2 connection take until they are whole.
 *
 * libh2o keeps the body of each stream until its end. It resets a stream whose body is over its
 * limit with REFUSED_STREAM, upon which clients send the request again. To answer 413 instead,
 * libh2o's limit is set far above ours (protocols.h). So that 100 streams do not take 100 times as
 * much, the bodies of a connection are counted here, from the frames that libh2o is about to read.
 * No I/O; the connection owns it; loop thread only.
 */
#ifndef HOLDFAST_HTTP_HTTP2_BODIES_H
#define HOLDFAST_HTTP_HTTP2_BODIES_H

#include "base/str.h"

/* The number of streams that libh2o has open at a time. */
#define HTTP2_STREAMS_MAX 100
/* A body over the limit by no more than this is read to its end and answered 413. All bodies of a
   connection that are not whole may take this much together, besides HTTP2_STREAMS_MAX times the
   limit. Bodies that are whole and over the limit may take twice this much, until their answers are
   read (connection.h). */
#define HTTP2_BODY_OVER_BYTES (4 * 1024 * 1024)

typedef struct http2_bodies http2_bodies_t;

/* A body is kept up to `stream_max` bytes, libh2o's limit; all bodies together up to `all_max`
   bytes. Never NULL. */
http2_bodies_t *http2_bodies_new(size_t stream_max, size_t all_max);
void http2_bodies_free(http2_bodies_t *bodies);

/* Counts the whole frames of `input`, which libh2o takes next. `input` has all bytes that libh2o
   has not taken yet: at first the preface, then frames. False: the bodies take more than `all_max`;
   end the connection. */
bool http2_bodies_take(http2_bodies_t *bodies, str_t input);

#endif
