#include "reconcile/keeper.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/pacer.h"
#include "metrics/metrics.h"
#include "reconcile/release.h"
#include "store/expiry.h"
#include "store/settings.h"

/* Epochs are at least the shard's clock when they were made; COMMIT may come this much later. */
#define EPOCH_OVERLAP_MS 10000

/* In one pass, of holds that are due, and of those set aside. */
#define EXPIRE_MS 500
#define RETRY_MS 50

struct keeper {
    shard_t *shard;
    atomic_int *default_strategy;
    durability_watch_t *durability;
    worker_t worker;
    expiry_t expiry;
    uint64_t epochs_read_ms; /* monotonic */
    bool away;
    bool more; /* holds are due that the last pass had no time for */
    pthread_t thread;
    pacer_t pacer;
};

static void note_away(keeper_t *keeper, result_t result)
{
    bool away = result == RESULT_AWAY || result == RESULT_UNKNOWN;
    if (away && !keeper->away)
        LOG_WARN("background work waits for MySQL", LOG_INT("shard", keeper->shard->index),
                 LOG_STR("error", db_error(keeper->worker.db)));
    keeper->away = away;
}

static bool may_go_on(keeper_t *keeper, uint64_t deadline)
{
    return clock_mono_ms() < deadline && !pacer_is_stopping(&keeper->pacer);
}

/* --- expiry --- */

static void hand_on(keeper_t *keeper)
{
    const expiry_t *expiry = &keeper->expiry;
    if (expiry->count == 0)
        return;
    METRIC_ADD(orders_expired_total, expiry->count);
    release_to_gate(&keeper->worker, expiry->releases, expiry->count);
}

/* What is due first, then what was set aside. The epochs wait for neither. */
static void expire(keeper_t *keeper)
{
    expiry_t *expiry = &keeper->expiry;
    db_t *db = keeper->worker.db;
    sql_t *sql = &keeper->worker.sql;
    uint64_t deadline = clock_mono_ms() + EXPIRE_MS;
    do {
        result_t result = expiry_batch(expiry, db, sql);
        note_away(keeper, expiry->more ? RESULT_DONE : result); /* more: it is of an order */
        hand_on(keeper);
    } while (may_go_on(keeper, deadline) && expiry->more);
    keeper->more = expiry->more;
    deadline = clock_mono_ms() + RETRY_MS;
    while (!keeper->away && may_go_on(keeper, deadline) && expiry_retry(expiry, db, sql))
        hand_on(keeper);
}

/* --- epochs --- */

static void on_epoch(void *context, const item_t *item)
{
    announce_item_changed(context, item_sku(item), item->epoch);
}

static void follow_epochs(keeper_t *keeper)
{
    uint64_t sent = clock_mono_ms(), now_ms;
    if (keeper->epochs_read_ms != 0 &&
        sent - keeper->epochs_read_ms < keeper->shard->config->reconcile.epoch_poll_ms)
        return;
    if (shard_clock_read(keeper->worker.db, &now_ms) != RESULT_DONE)
        return;
    int strategy =
        keeper->shard->index == 0 ? settings_read_default_strategy(keeper->worker.db) : -1;
    if (strategy >= 0) /* another node may have been told */
        atomic_store(keeper->default_strategy, strategy);
    remote_clock_observe(&keeper->shard->clock, sent, now_ms);
    if (item_scan(keeper->worker.db, &keeper->worker.sql, now_ms - EPOCH_OVERLAP_MS, on_epoch,
                  keeper->shard->announcements) == RESULT_DONE)
        keeper->epochs_read_ms = sent;
}

/* --- the thread --- */

static void *keeper_thread(void *arg)
{
    keeper_t *keeper = arg;
    do {
        expire(keeper);
        follow_epochs(keeper);
        durability_check(keeper->durability, &keeper->worker);
    } while (pacer_wait(&keeper->pacer,
                        keeper->more ? 0 : keeper->shard->config->reconcile.expiry_interval_ms));
    worker_dispose(&keeper->worker);
    return NULL;
}

keeper_t *keeper_start(shard_t *shard, atomic_int *default_strategy, durability_watch_t *durability)
{
    keeper_t *keeper = alloc_zero(1, sizeof(*keeper));
    keeper->shard = shard;
    keeper->default_strategy = default_strategy;
    keeper->durability = durability;
    expiry_init(&keeper->expiry, shard->config->reconcile.expiry_batch_max);
    worker_init(&keeper->worker, shard);
    pacer_init(&keeper->pacer);
    h2o_multithread_create_thread(&keeper->thread, NULL, keeper_thread, keeper);
    return keeper;
}

void keeper_stop(keeper_t *keeper)
{
    pacer_stop(&keeper->pacer);
    pthread_join(keeper->thread, NULL);
    pacer_dispose(&keeper->pacer);
    expiry_dispose(&keeper->expiry);
    free(keeper);
}
