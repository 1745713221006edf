#include "store/pool.h"

#include <stdlib.h>

#include "engine/node.h"

struct pool {
    struct node *node;
    unsigned shard;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    job_t *head, **tail;
    unsigned depth, depth_max;
    bool stopping;
    unsigned threads_count;
    pthread_t threads[];
};

void worker_init(worker_t *worker, struct node *node, unsigned shard)
{
    const config_server_t *server = shard_primary(&node->config->shards[shard]);
    *worker = (worker_t){.node = node,
                         .shard = shard,
                         .db = db_new(node->config, server),
                         .db_snapshot = db_new(node->config, server),
                         .gate = gate_sync_new(node->config)};
}

void worker_dispose(worker_t *worker)
{
    db_free(worker->db);
    db_free(worker->db_snapshot);
    gate_sync_free(worker->gate);
    sql_free(&worker->sql);
    db_thread_end();
}

static void deliver(loop_message_t *message)
{
    job_t *job = H2O_STRUCT_FROM_MEMBER(job_t, message, message);
    job->done(job);
}

static job_t *take(pool_t *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while (pool->head == NULL && !pool->stopping)
        pthread_cond_wait(&pool->more, &pool->mutex);
    job_t *job = pool->head;
    if (job != NULL) {
        pool->head = job->next;
        if (pool->head == NULL)
            pool->tail = &pool->head;
        --pool->depth;
    }
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void *pool_thread(void *arg)
{
    pool_t *pool = arg;
    worker_t worker;
    worker_init(&worker, pool->node, pool->shard);
    for (job_t *job; (job = take(pool)) != NULL;) {
        db_refresh(worker.db);
        job->run(job, &worker);
        loop_post(job->loop, &job->message);
    }
    worker_dispose(&worker);
    return NULL;
}

pool_t *pool_start(struct node *node, unsigned shard, unsigned threads, unsigned queue_max)
{
    pool_t *pool = calloc(1, sizeof(*pool) + threads * sizeof(pthread_t));
    if (pool == NULL)
        abort();
    pool->node = node;
    pool->shard = shard;
    pool->tail = &pool->head;
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
    job->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    bool taken = pool->depth < pool->depth_max;
    if (taken) {
        *pool->tail = job;
        pool->tail = &job->next;
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
