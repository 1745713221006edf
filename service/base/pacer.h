/*
 * The pace of a background thread: it sleeps between two passes, and is woken early or stopped by
 * others. By the monotonic clock: a wall clock that is set back must not stop its work.
 *
 * One thread waits; wake and stop are for any thread.
 */
#ifndef HOLDFAST_BASE_PACER_H
#define HOLDFAST_BASE_PACER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool woken, stopping;
} pacer_t;

void pacer_init(pacer_t *pacer);
void pacer_dispose(pacer_t *pacer);
/* Returns after `ms`, or earlier when woken. False: stop. */
bool pacer_wait(pacer_t *pacer, uint32_t ms);
void pacer_wake(pacer_t *pacer);
void pacer_stop(pacer_t *pacer);
bool pacer_is_stopping(pacer_t *pacer);

#endif
