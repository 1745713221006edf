/*
 * Things that failed and are set aside, so that they do not stop the others: each is tried again
 * after a backoff that doubles with every failure, until it succeeds or is gone.
 *
 * A key is a name of up to ASIDE_KEY_MAX bytes (a sku, an order id, a slot). In memory only: a
 * process that starts finds out anew. Pure; an aside_t belongs to one thread. Times are ms of the
 * caller's monotonic clock.
 */
#ifndef HOLDFAST_BASE_ASIDE_H
#define HOLDFAST_BASE_ASIDE_H

#include "base/str.h"

#define ASIDE_KEY_MAX 64
#define ASIDE_NOTE_MAX 32
/* Beyond so many entries nothing more is remembered. */
#define ASIDE_MAX 10000

typedef struct aside aside_t;

/* The first wait lasts `base_ms`, none longer than `cap_ms`. */
aside_t *aside_new(uint32_t base_ms, uint32_t cap_ms);
void aside_free(aside_t *aside);

/* It has failed. Returns how often in a row by now; 0: there are ASIDE_MAX others. `note`: up to
   ASIDE_NOTE_MAX bytes of the caller's, kept from the first failure on; may be NULL. */
unsigned aside_put(aside_t *aside, str_t key, const void *note, size_t note_length,
                   uint64_t now_ms);
/* It has succeeded, or is gone. False: it was not set aside. */
bool aside_drop(aside_t *aside, str_t key);
/* Is it set aside, whether its wait is over or not? */
bool aside_has(const aside_t *aside, str_t key);
/* How often in a row it has failed; 0: it is not set aside. */
unsigned aside_failures(const aside_t *aside, str_t key);
/* Is it set aside, and its wait not over? */
bool aside_waits(const aside_t *aside, str_t key, uint64_t now_ms);
/* For how much longer; 0: it may be tried. */
uint64_t aside_wait_ms(const aside_t *aside, str_t key, uint64_t now_ms);
/* The one whose wait has been over for longest. False: there is none. `note` has ASIDE_NOTE_MAX
   bytes. */
bool aside_next(const aside_t *aside, uint64_t now_ms, char key[ASIDE_KEY_MAX], size_t *length,
                void *note);
/* Drops all. */
void aside_clear(aside_t *aside);
unsigned aside_count(const aside_t *aside);
/* Drops entries whose wait has been over for `ms` and that nobody tried since: what they name is
   not met any more. Returns how many. */
unsigned aside_forget_untried(aside_t *aside, uint64_t now_ms, uint64_t ms);

#endif
