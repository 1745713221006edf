/*
 * The pool of a shard: threads with a MySQL and a Redis connection each. They run all blocking work
 * except that of the writer: reads, moves of orders, rebuilds, whole transactions of the SQL
 * strategies.
 *
 * A loop submits a job; a pool thread runs it, and may block; then `done` runs on that loop.
 * Nothing here blocks the loop. The queue is bounded: pool_submit() returns false at once when it
 * is full. The job contains its own result: the pool reports no errors.
 *
 * Jobs of one slot may wait (for a lock that another transaction holds, or for a silent server);
 * they must not take all threads from the others. A slot whose job has waited is slow for 4 s: its
 * jobs have a queue of their own, and at most a quarter of the threads run them.
 */
#ifndef HOLDFAST_WORK_POOL_H
#define HOLDFAST_WORK_POOL_H

#include "gate/gate_sync.h"
#include "loop/loop.h"
#include "store/db.h"
#include "work/shard.h"

/* The connections and buffers that a pool thread owns. */
typedef struct worker {
    shard_t *shard;
    db_t *db;
    gate_sync_t *gate;
    /* monotonic; until then no release is sent, because Redis did not answer one; see
       reconcile/release.h */
    uint64_t gate_silent_until_ms;
    sql_t sql; /* scratch */
} worker_t;

/* Makes no connection yet. */
void worker_init(worker_t *worker, shard_t *shard);
void worker_dispose(worker_t *worker);

/* Embedded in the work to be done. The pool owns it between pool_submit() and `done`. */
typedef struct job {
    loop_message_t message;
    loop_t *loop;
    void (*run)(struct job *job, worker_t *worker);
    void (*done)(struct job *job);
    struct job *next;
    unsigned slot; /* slot of its item, plus 1; 0: no lock of a single item can stop it */
} job_t;

/* Call it before the job is submitted, if the job may wait for locks of an item of this slot. */
static inline void job_set_slot(job_t *job, uint16_t slot)
{
    job->slot = slot + 1U;
}

typedef struct pool pool_t;

pool_t *pool_start(shard_t *shard, unsigned threads, unsigned queue_max);
/* Blocks until all submitted jobs have run. No thread may submit any more. */
void pool_stop(pool_t *pool);
/* Any thread. Takes the job; returns false at once if the queue is full. */
bool pool_submit(pool_t *pool, loop_t *loop, job_t *job, void (*run)(job_t *, worker_t *),
                 void (*done)(job_t *));
/* Number of jobs that wait now. Any thread. */
unsigned pool_depth(pool_t *pool);

#endif
