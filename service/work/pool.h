/*
 * The pool of a shard: threads with a MySQL and a Redis connection each, for all work that
 * waits and is not the writer's: reads, moves of orders, rebuilds, whole transactions of the
 * SQL strategies.
 *
 * A loop submits a job; a pool thread runs it; its `done` then runs on that loop. The queue is
 * bounded: pool_submit() says no at once when it is full.
 *
 * Jobs of one slot that wait (for a lock that somebody holds, for a server that is silent) must not
 * take all threads from the others. A slot whose job has waited is slow for some seconds: its jobs
 * have a queue of their own, and at most a quarter of the threads run them.
 */
#ifndef HOLDFAST_WORK_POOL_H
#define HOLDFAST_WORK_POOL_H

#include "gate/gate_sync.h"
#include "loop/loop.h"
#include "store/db.h"
#include "work/shard.h"

/* What a pool thread owns. */
typedef struct worker {
    shard_t *shard;
    db_t *db;
    db_t *db_snapshot; /* a second connection to the same server, for rebuilds */
    gate_sync_t *gate;
    uint64_t gate_silent_until_ms; /* monotonic: Redis did not answer a release; see
                                      reconcile/release.h */
    sql_t sql;                     /* scratch */
} worker_t;

/* Connects to nothing yet. */
void worker_init(worker_t *worker, shard_t *shard);
void worker_dispose(worker_t *worker);

/* Embedded in what is to be done; owned by the pool between submit and `done`. */
typedef struct job {
    loop_message_t message;
    loop_t *loop;
    void (*run)(struct job *job, worker_t *worker);
    void (*done)(struct job *job);
    struct job *next;
    unsigned slot; /* of the item that it is about, plus 1; 0: of no single item */
} job_t;

/* Before it is submitted: the job is about an item of this slot. */
static inline void job_set_slot(job_t *job, uint16_t slot)
{
    job->slot = slot + 1U;
}

typedef struct pool pool_t;

pool_t *pool_start(shard_t *shard, unsigned threads, unsigned queue_max);
/* Waits for all jobs that were taken. Nobody may submit any more. */
void pool_stop(pool_t *pool);
/* From any thread. Takes the job, or returns false at once: full. */
bool pool_submit(pool_t *pool, loop_t *loop, job_t *job, void (*run)(job_t *, worker_t *),
                 void (*done)(job_t *));
/* Jobs waiting now. */
unsigned pool_depth(pool_t *pool);

#endif
