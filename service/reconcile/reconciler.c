#include "reconcile/reconciler.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "engine/engine.h"
#include "metrics/metrics.h"
#include "reconcile/orphans.h"
#include "reconcile/pass.h"

/* Items compared in one pass; the next pass goes on behind them. */
#define ITEMS_PER_PASS 200
/* What keeps it from one pass over items it does at the next: a pass ends after so long. */
#define PASS_MS 1000
/* A process that does not say in this time that it lives is taken for gone. */
#define HEARTBEAT_MS 5000

typedef struct mend {
    UT_hash_handle hh;
    uint8_t sku_length;
    char sku[SKU_BYTES_MAX];
} mend_t;

/* Skus to be compared in this pass. */
typedef struct {
    char skus[ITEMS_PER_PASS][SKU_BYTES_MAX];
    uint8_t lengths[ITEMS_PER_PASS];
    unsigned count;
} round_t;

struct reconciler {
    struct node *node;
    unsigned shard;
    worker_t worker;
    orphans_t *orphans;
    round_t round;
    char after[SKU_BYTES_MAX]; /* the last sku of the pass before */
    uint8_t after_length;
    pthread_t thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t wake;
    bool stopping;
    mend_t *mends; /* uthash by sku */
};

/* --- mending on demand --- */

void reconciler_mend(reconciler_t *reconciler, str_t sku)
{
    mend_t *mend;
    pthread_mutex_lock(&reconciler->mutex);
    HASH_FIND(hh, reconciler->mends, sku.p, sku.n, mend);
    if (mend == NULL) {
        if ((mend = calloc(1, sizeof(*mend))) == NULL)
            abort();
        mend->sku_length = (uint8_t)sku.n;
        memcpy(mend->sku, sku.p, sku.n);
        HASH_ADD(hh, reconciler->mends, sku, mend->sku_length, mend);
        pthread_cond_signal(&reconciler->wake);
    }
    pthread_mutex_unlock(&reconciler->mutex);
}

static mend_t *take_mends(reconciler_t *reconciler)
{
    pthread_mutex_lock(&reconciler->mutex);
    mend_t *all = reconciler->mends;
    reconciler->mends = NULL;
    pthread_mutex_unlock(&reconciler->mutex);
    return all;
}

static void free_mends(mend_t *all)
{
    mend_t *mend, *next;
    HASH_ITER(hh, all, mend, next)
    {
        HASH_DEL(all, mend);
        free(mend);
    }
}

static void mend_gates(reconciler_t *reconciler)
{
    mend_t *all = take_mends(reconciler), *mend, *next;
    HASH_ITER(hh, all, mend, next)
    {
        item_t item;
        str_t sku = {mend->sku, mend->sku_length};
        sync_result_t result = item_rebuild(&reconciler->worker, sku, &item);
        if (result == SYNC_READY)
            engine_news(reconciler->node, sku, item.epoch);
        else if (result != SYNC_UNKNOWN_ITEM)
            reconciler_mend(reconciler, sku); /* Redis or MySQL is away: in the next pass */
    }
    free_mends(all);
}

/* --- comparing --- */

static bool stopping(reconciler_t *reconciler)
{
    pthread_mutex_lock(&reconciler->mutex);
    bool stop = reconciler->stopping;
    pthread_mutex_unlock(&reconciler->mutex);
    return stop;
}

/* The next items in the order of their skus, behind those of the pass before. */
static bool read_round(reconciler_t *reconciler)
{
    worker_t *worker = &reconciler->worker;
    round_t *round = &reconciler->round;
    round->count = 0;
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "SELECT sku FROM inventory WHERE bucket = 0 AND sku > %s AND strategy IN "
            "('lua', 'watch') ORDER BY sku LIMIT %u",
            ((str_t){reconciler->after, reconciler->after_length}), (uint64_t)ITEMS_PER_PASS);
    if (db_query(worker->db, &worker->sql) != DB_OK)
        return false;
    while (db_next(worker->db)) {
        str_t sku = db_bytes(worker->db, 0);
        memcpy(round->skus[round->count], sku.p, sku.n);
        round->lengths[round->count++] = (uint8_t)sku.n;
    }
    return true;
}

static void compare_one(reconciler_t *reconciler, str_t sku)
{
    pass_t pass = reconcile_pass(&reconciler->worker, sku);
    if (pass.result != SYNC_READY || pass.finding == FINDING_AGREE)
        return;
    METRIC_INC(reconciler_findings_total);
    LOG_WARN("gate and MySQL disagreed", LOG_BYTES("sku", sku),
             LOG_STR("found", finding_name(pass.finding)),
             LOG_STR("did", pass.rebuilt ? "rebuilt" : "nothing"));
    if (pass.rebuilt)
        engine_news(reconciler->node, sku, pass.item.epoch);
}

static void compare_round(reconciler_t *reconciler)
{
    round_t *round = &reconciler->round;
    uint64_t deadline = clock_mono_ms() + PASS_MS;
    unsigned i = 0;
    if (!read_round(reconciler))
        return;
    for (; i < round->count && clock_mono_ms() < deadline && !stopping(reconciler); ++i)
        compare_one(reconciler, (str_t){round->skus[i], round->lengths[i]});
    bool all = i == round->count && round->count < ITEMS_PER_PASS;
    reconciler->after_length = 0;
    if (!all && i != 0) {
        memcpy(reconciler->after, round->skus[i - 1], round->lengths[i - 1]);
        reconciler->after_length = round->lengths[i - 1];
    }
}

/* --- the thread --- */

/* Until the next pass, or until something is put down to be mended. False: stop. */
static bool wait_for_next_pass(reconciler_t *reconciler)
{
    struct timespec until;
    uint32_t ms = reconciler->node->config->reconcile.pass_interval_ms;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&reconciler->mutex);
    if (!reconciler->stopping)
        pthread_cond_timedwait(&reconciler->wake, &reconciler->mutex, &until);
    bool go_on = !reconciler->stopping;
    pthread_mutex_unlock(&reconciler->mutex);
    return go_on;
}

static void *reconciler_thread(void *arg)
{
    reconciler_t *reconciler = arg;
    while (wait_for_next_pass(reconciler)) {
        gate_sync_heartbeat(reconciler->worker.gate, str_of(reconciler->node->incarnation),
                            HEARTBEAT_MS);
        mend_gates(reconciler);
        orphans_pass(reconciler->orphans, &reconciler->worker);
        compare_round(reconciler);
    }
    worker_dispose(&reconciler->worker);
    return NULL;
}

reconciler_t *reconciler_new(struct node *node, unsigned shard)
{
    reconciler_t *reconciler = calloc(1, sizeof(*reconciler));
    if (reconciler == NULL)
        abort();
    reconciler->node = node;
    reconciler->shard = shard;
    reconciler->orphans = orphans_new();
    worker_init(&reconciler->worker, node, shard);
    pthread_mutex_init(&reconciler->mutex, NULL);
    pthread_cond_init(&reconciler->wake, NULL);
    return reconciler;
}

void reconciler_start(reconciler_t *reconciler)
{
    h2o_multithread_create_thread(&reconciler->thread, NULL, reconciler_thread, reconciler);
}

void reconciler_stop(reconciler_t *reconciler)
{
    pthread_mutex_lock(&reconciler->mutex);
    reconciler->stopping = true;
    pthread_cond_signal(&reconciler->wake);
    pthread_mutex_unlock(&reconciler->mutex);
    pthread_join(reconciler->thread, NULL);
}

void reconciler_free(reconciler_t *reconciler)
{
    orphans_free(reconciler->orphans);
    free_mends(reconciler->mends);
    pthread_cond_destroy(&reconciler->wake);
    pthread_mutex_destroy(&reconciler->mutex);
    free(reconciler);
}
