#include "work/pool.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/metrics.h"

/* A job that has run for this long has waited for something, even if no statement reported it. */
#define SLOW_JOB_MS 1000
/* How long a slot stays slow after its last slow job. */
#define SLOW_SLOT_MS 4000

typedef struct {
    job_t *head, **tail;
} queue_t;

struct pool {
    shard_t *shard;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    queue_t jobs, slow_jobs;            /* slow_jobs: of slots that are slow */
    uint64_t slow_until_ms[SLOT_COUNT]; /* monotonic */
    unsigned slow_running, slow_max;
    unsigned depth, depth_max;
    bool stopping;
    unsigned threads_count;
    pthread_t threads[];
};

void worker_init(worker_t *worker, shard_t *shard)
{
    const config_t *config = shard->config;
    const config_server_t *server = shard_primary(&config->shards[shard->index]);
    *worker =
        (worker_t){.shard = shard, .db = db_new(config, server), .gate = gate_sync_new(config)};
    gate_sync_follow(worker->gate, shard->gate_health);
}

void worker_dispose(worker_t *worker)
{
    db_free(worker->db);
    gate_sync_free(worker->gate);
    sql_free(&worker->sql);
    db_thread_end();
}

static void deliver(loop_message_t *message)
{
    job_t *job = H2O_STRUCT_FROM_MEMBER(job_t, message, message);
    job->done(job);
}

static void push(queue_t *queue, job_t *job)
{
    job->next = NULL;
    *queue->tail = job;
    queue->tail = &job->next;
}

static job_t *pop(queue_t *queue)
{
    job_t *job = queue->head;
    if (job != NULL && (queue->head = job->next) == NULL)
        queue->tail = &queue->head;
    return job;
}

static bool is_slow(const pool_t *pool, const job_t *job)
{
    return job->slot != 0 && pool->slow_until_ms[job->slot - 1] > clock_mono_ms();
}

/* Under the mutex. Returns the next job that may run, or NULL. Jobs of slow slots come first,
   because few of them run at a time. A slot may have become slow while its jobs were in the other
   queue; then they move. */
static job_t *next_job(pool_t *pool, bool *slow)
{
    job_t *job;
    for (;;) {
        *slow = pool->slow_running < pool->slow_max && (job = pop(&pool->slow_jobs)) != NULL;
        if (*slow)
            return job;
        if ((job = pop(&pool->jobs)) == NULL || !is_slow(pool, job))
            return job;
        METRIC_INC(pool_slow_jobs_total);
        push(&pool->slow_jobs, job);
    }
}

static bool is_done(const pool_t *pool)
{
    return pool->stopping && pool->jobs.head == NULL && pool->slow_jobs.head == NULL;
}

static job_t *take(pool_t *pool, bool *slow)
{
    job_t *job;
    pthread_mutex_lock(&pool->mutex);
    while ((job = next_job(pool, slow)) == NULL && !is_done(pool))
        pthread_cond_wait(&pool->more, &pool->mutex);
    if (job != NULL) {
        --pool->depth;
        pool->slow_running += *slow;
    }
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

/* After a job. `waited`: it met a lock or took long. The job's memory may be freed by now. */
static void note_end(pool_t *pool, unsigned slot, bool slow, bool waited)
{
    if (!slow && !waited)
        return;
    pthread_mutex_lock(&pool->mutex);
    if (slow) {
        --pool->slow_running;
        pthread_cond_broadcast(&pool->more); /* another slow job may run, or nothing is left */
    }
    if (waited && slot != 0)
        pool->slow_until_ms[slot - 1] = clock_mono_ms() + SLOW_SLOT_MS;
    pthread_mutex_unlock(&pool->mutex);
}

static void run_job(pool_t *pool, worker_t *worker, job_t *job, bool slow)
{
    unsigned slot = job->slot, lock_waits = db_lock_waits(worker->db);
    uint64_t begun_ms = clock_mono_ms();
    db_refresh(worker->db);
    job->run(job, worker);
    bool waited =
        db_lock_waits(worker->db) != lock_waits || clock_mono_ms() - begun_ms >= SLOW_JOB_MS;
    loop_post(job->loop, &job->message);
    note_end(pool, slot, slow, waited);
}

static void *pool_thread(void *arg)
{
    pool_t *pool = arg;
    worker_t worker;
    bool slow;
    worker_init(&worker, pool->shard);
    for (job_t *job; (job = take(pool, &slow)) != NULL;)
        run_job(pool, &worker, job, slow);
    worker_dispose(&worker);
    return NULL;
}

pool_t *pool_start(shard_t *shard, unsigned threads, unsigned queue_max)
{
    pool_t *pool = alloc_zero(1, sizeof(*pool) + threads * sizeof(pthread_t));
    pool->shard = shard;
    pool->jobs.tail = &pool->jobs.head;
    pool->slow_jobs.tail = &pool->slow_jobs.head;
    pool->slow_max = threads < 4 ? 1 : threads / 4;
    pool->depth_max = queue_max;
    pool->threads_count = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->more, NULL);
    for (unsigned i = 0; i < threads; ++i)
        h2o_multithread_create_thread(&pool->threads[i], NULL, pool_thread, pool);
    return pool;
}

void pool_stop(pool_t *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->threads_count; ++i)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

bool pool_submit(pool_t *pool, loop_t *loop, job_t *job, void (*run)(job_t *, worker_t *),
                 void (*done)(job_t *))
{
    job->message.run = deliver;
    job->loop = loop;
    job->run = run;
    job->done = done;
    pthread_mutex_lock(&pool->mutex);
    bool taken = pool->depth < pool->depth_max;
    if (taken) {
        push(is_slow(pool, job) ? &pool->slow_jobs : &pool->jobs, job);
        ++pool->depth;
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->mutex);
    return taken;
}

unsigned pool_depth(pool_t *pool)
{
    pthread_mutex_lock(&pool->mutex);
    unsigned depth = pool->depth;
    pthread_mutex_unlock(&pool->mutex);
    return depth;
}
