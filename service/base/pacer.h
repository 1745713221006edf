/*
 * The pace of a background thread: it sleeps between two passes, until other threads wake it early
 * or stop it. It uses the monotonic clock: a wall clock that is set back must not stop its work.
 *
 * The thread's owner owns the pacer. One thread calls pacer_wait(), which blocks; any thread may
 * call the others.
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
/* Returns after `ms`, or earlier after pacer_wake(). False: stop. */
bool pacer_wait(pacer_t *pacer, uint32_t ms);
void pacer_wake(pacer_t *pacer);
void pacer_stop(pacer_t *pacer);
bool pacer_is_stopping(pacer_t *pacer);

#endif
