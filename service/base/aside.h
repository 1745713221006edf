/*
 * A set of things that failed and are set aside, so that they do not stop the others. Each is tried
 * again after a backoff, which doubles with every failure, until it succeeds or no longer exists.
 *
 * A key is a name of up to ASIDE_KEY_MAX bytes (a sku, an order id, a slot). The set is in memory
 * only; a process that starts begins with an empty one. The caller owns an aside_t; one thread at a
 * time may use it. Nothing blocks. Times are ms of the caller's monotonic clock.
 */
#ifndef HOLDFAST_BASE_ASIDE_H
#define HOLDFAST_BASE_ASIDE_H

#include "base/str.h"

#define ASIDE_KEY_MAX 64
#define ASIDE_NOTE_MAX 32
/* Most entries; further keys are not stored. */
#define ASIDE_MAX 10000

typedef struct aside aside_t;

/* The first wait lasts `base_ms`; no wait is longer than `cap_ms`. */
aside_t *aside_new(uint32_t base_ms, uint32_t cap_ms);
void aside_free(aside_t *aside);

/* Records a failure. Returns the number of failures in a row; 0: the set is full (ASIDE_MAX).
   `note`: up to ASIDE_NOTE_MAX bytes of the caller's, stored at the first failure; may be NULL. */
unsigned aside_put(aside_t *aside, str_t key, const void *note, size_t note_length,
                   uint64_t now_ms);
/* Removes a key that has succeeded or no longer exists. False: it was not set aside. */
bool aside_drop(aside_t *aside, str_t key);
/* Is it set aside, waiting or not? */
bool aside_has(const aside_t *aside, str_t key);
/* The number of failures in a row; 0: it is not set aside. */
unsigned aside_failures(const aside_t *aside, str_t key);
/* Is it set aside, with its wait not yet over? */
bool aside_waits(const aside_t *aside, str_t key, uint64_t now_ms);
/* The rest of its wait in ms; 0: it may be tried. */
uint64_t aside_wait_ms(const aside_t *aside, str_t key, uint64_t now_ms);
/* Fills in the entry whose wait ended first. False: there is none whose wait has ended. `note` has
   ASIDE_NOTE_MAX bytes. */
bool aside_next(const aside_t *aside, uint64_t now_ms, char key[ASIDE_KEY_MAX], size_t *length,
                void *note);
/* Removes all entries. */
void aside_clear(aside_t *aside);
unsigned aside_count(const aside_t *aside);
/* Removes entries whose wait ended at least `ms` ago and that were not tried since, because their
   names no longer occur. Returns their number. */
unsigned aside_forget_untried(aside_t *aside, uint64_t now_ms, uint64_t ms);

#endif
