#include "reconcile/housekeeping.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/pacer.h"
#include "metrics/metrics.h"
#include "reconcile/release.h"
#include "store/changes.h"
#include "store/expiry.h"
#include "store/settings.h"

/* An epoch is at least the shard's clock when it was made; its COMMIT may come this much later. */
#define EPOCH_OVERLAP_MS 10000

/* How often old changes are removed, and how many of them at a time: so a first removal, of many,
   is no long transaction. */
#define CHANGES_INTERVAL_MS 10000
#define CHANGES_BATCH 1000
#define DAY_MS UINT64_C(86400000)

/* Time in one pass for holds that are due, and for those set aside. */
#define EXPIRE_MS 500
#define RETRY_MS 50

struct housekeeping {
    shard_t *shard;
    atomic_int *default_strategy;
    durability_watch_t *durability;
    worker_t worker;
    expiry_t expiry;
    uint64_t epochs_read_ms;     /* monotonic */
    uint64_t changes_removed_ms; /* likewise; 0: never */
    bool away;
    bool more; /* the last pass had no time for all due holds */
    pthread_t thread;
    pacer_t pacer;
};

static void note_away(housekeeping_t *housekeeping, result_t result)
{
    bool away = result == RESULT_AWAY || result == RESULT_UNKNOWN;
    if (away && !housekeeping->away)
        LOG_WARN("background work waits for MySQL", LOG_INT("shard", housekeeping->shard->index),
                 LOG_STR("error", db_error(housekeeping->worker.db)));
    housekeeping->away = away;
}

static bool may_continue(housekeeping_t *housekeeping, uint64_t deadline)
{
    return clock_mono_ms() < deadline && !pacer_is_stopping(&housekeeping->pacer);
}

/* --- expiry --- */

static void release_expired(housekeeping_t *housekeeping)
{
    const expiry_t *expiry = &housekeeping->expiry;
    if (expiry->count == 0)
        return;
    METRIC_ADD(orders_expired_total, expiry->count);
    release_to_gate(&housekeeping->worker, expiry->releases, expiry->count);
}

/* Expires holds that are due first, then those set aside. The limits keep the reading of epochs
   from waiting for either. */
static void expire(housekeeping_t *housekeeping)
{
    expiry_t *expiry = &housekeeping->expiry;
    db_t *db = housekeeping->worker.db;
    sql_t *sql = &housekeeping->worker.sql;
    uint64_t deadline = clock_mono_ms() + EXPIRE_MS;
    do {
        result_t result = expiry_batch(expiry, db, sql);
        note_away(housekeeping, expiry->more ? RESULT_DONE : result); /* more: it is of an order */
        release_expired(housekeeping);
    } while (may_continue(housekeeping, deadline) && expiry->more);
    housekeeping->more = expiry->more;
    deadline = clock_mono_ms() + RETRY_MS;
    while (!housekeeping->away && may_continue(housekeeping, deadline) &&
           expiry_retry(expiry, db, sql))
        release_expired(housekeeping);
}

/* --- epochs --- */

static void on_epoch(void *context, const item_t *item)
{
    shard_t *shard = context;
    if (item->epoch > atomic_load(&shard->epoch_seen)) /* no other thread writes it */
        atomic_store(&shard->epoch_seen, item->epoch);
    announce_item_changed(shard->announcements, item_sku(item), item->epoch);
}

/* Another node may have changed it. After an error the last value stays in force. */
static void follow_default_strategy(housekeeping_t *housekeeping)
{
    strategy_id_t strategy;
    bool found;
    if (housekeeping->shard->index == 0 &&
        settings_read_default_strategy(housekeeping->worker.db, &strategy, &found) == RESULT_DONE &&
        found)
        atomic_store(housekeeping->default_strategy, (int)strategy);
}

static void follow_epochs(housekeeping_t *housekeeping)
{
    uint64_t sent = clock_mono_ms(), now_ms;
    if (housekeeping->epochs_read_ms != 0 &&
        sent - housekeeping->epochs_read_ms < housekeeping->shard->config->reconcile.epoch_poll_ms)
        return;
    if (shard_clock_read(housekeeping->worker.db, &now_ms) != RESULT_DONE)
        return;
    follow_default_strategy(housekeeping);
    remote_clock_observe(&housekeeping->shard->clock, sent, now_ms);
    if (item_scan(housekeeping->worker.db, &housekeeping->worker.sql, now_ms - EPOCH_OVERLAP_MS,
                  on_epoch, housekeeping->shard) == RESULT_DONE)
        housekeeping->epochs_read_ms = sent;
}

/* --- the record of changes --- */

/* By the clock of the shard, which the ids are made by, once it is known. */
static void remove_old_changes(housekeeping_t *housekeeping)
{
    const shard_t *shard = housekeeping->shard;
    uint64_t keep_ms = shard->config->admin.changes_keep_days * DAY_MS;
    uint64_t mono_ms = clock_mono_ms(), now_ms = remote_clock_now_ms(&shard->clock);
    if (keep_ms == 0 || !remote_clock_is_observed(&shard->clock) || now_ms <= keep_ms ||
        (housekeeping->changes_removed_ms != 0 &&
         mono_ms - housekeeping->changes_removed_ms < CHANGES_INTERVAL_MS))
        return;
    housekeeping->changes_removed_ms = mono_ms;
    change_delete_old(housekeeping->worker.db, &housekeeping->worker.sql, now_ms - keep_ms,
                      CHANGES_BATCH);
}

/* --- the thread --- */

static void *housekeeping_thread(void *arg)
{
    housekeeping_t *housekeeping = arg;
    do {
        expire(housekeeping);
        follow_epochs(housekeeping);
        remove_old_changes(housekeeping);
        durability_check(housekeeping->durability, &housekeeping->worker);
    } while (pacer_wait(
        &housekeeping->pacer,
        housekeeping->more ? 0 : housekeeping->shard->config->reconcile.expiry_interval_ms));
    worker_dispose(&housekeeping->worker);
    return NULL;
}

housekeeping_t *housekeeping_start(shard_t *shard, atomic_int *default_strategy,
                                   durability_watch_t *durability)
{
    housekeeping_t *housekeeping = alloc_zero(1, sizeof(*housekeeping));
    housekeeping->shard = shard;
    housekeeping->default_strategy = default_strategy;
    housekeeping->durability = durability;
    expiry_init(&housekeeping->expiry, shard->config->reconcile.expiry_batch_max);
    worker_init(&housekeeping->worker, shard);
    pacer_init(&housekeeping->pacer);
    h2o_multithread_create_thread(&housekeeping->thread, NULL, housekeeping_thread, housekeeping);
    return housekeeping;
}

void housekeeping_end(housekeeping_t *housekeeping)
{
    pacer_stop(&housekeeping->pacer);
}

void housekeeping_stop(housekeeping_t *housekeeping)
{
    housekeeping_end(housekeeping);
    pthread_join(housekeeping->thread, NULL);
    pacer_dispose(&housekeeping->pacer);
    expiry_dispose(&housekeeping->expiry);
    free(housekeeping);
}
