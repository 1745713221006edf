#include "reconcile/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "reconcile/buyers_load.h"

/* A wait that only a new entry ends. */
#define IDLE_MS 3600000
/* After a part that failed. */
#define RETRY_MS 200
/* A table that is loaded for longer than this logs its progress so often. */
#define PROGRESS_MS 5000

#define PAUSE_MAX_US 1000000
/* The simulation has few buyers, and longer pauses. */
#ifndef LOADER_PAUSE_US
#define LOADER_PAUSE_US 0
#endif

struct loader {
    shard_t *shard;
    worker_t worker;
    buyers_page_t *page;
    uint64_t progress_ms; /* monotonic: of the last line about the present table */
    pthread_t thread;
};

static void log_progress(loader_t *loader, const buyers_load_t *load)
{
    uint64_t now = clock_mono_ms();
    if (now - loader->progress_ms < PROGRESS_MS)
        return;
    loader->progress_ms = now;
    LOG_INFO("a table of buyers is being loaded", LOG_BYTES("sku", sku_str(&load->item.sku)),
             LOG_INT("epoch", load->epoch), LOG_INT("buyers", load->loaded));
}

/* Waits for half as long as the part took: a third of the time is left to the sale. */
static void pause_after(uint64_t part_us)
{
    uint64_t pause_us = part_us < 2 * PAUSE_MAX_US ? part_us / 2 : PAUSE_MAX_US;
    usleep((useconds_t)(pause_us + LOADER_PAUSE_US));
}

/* False: the thread is to end. */
static bool load_part(loader_t *loader, buyers_load_t *load, bool *stale)
{
    uint64_t begun = clock_mono_us();
    FAILPOINT("loader_part");
    db_refresh(loader->worker.db);
    sync_result_t step = buyers_load_next(&loader->worker, load, loader->page);
    *stale = step == SYNC_BUSY;
    if (step == SYNC_READY || step == SYNC_BUSY) {
        log_progress(loader, load);
        if (!load->ended && !*stale)
            pause_after(clock_mono_us() - begun);
        return !repair_queue_is_stopping(&loader->shard->loads);
    }
    return repair_queue_wait(&loader->shard->loads, RETRY_MS);
}

/* False: the thread is to end. */
static bool load_table(loader_t *loader, const repair_t *entry)
{
    uint64_t begun = clock_mono_us();
    bool stale = false, goes_on = true;
    buyers_load_t load = {.item = item_ref_of(sku_str(&entry->sku)), .epoch = entry->epoch};
    loader->progress_ms = clock_mono_ms();
    METRIC_ADD(tables_loading, 1);
    while (goes_on && !stale && !load.ended)
        goes_on = load_part(loader, &load, &stale);
    METRIC_ADD(tables_loading, -1);
    if (load.ended)
        LOG_INFO("a table of buyers is whole", LOG_BYTES("sku", sku_str(&load.item.sku)),
                 LOG_INT("epoch", load.epoch), LOG_INT("buyers", load.loaded),
                 LOG_INT("micros", clock_mono_us() - begun));
    return goes_on;
}

static void *loader_thread(void *arg)
{
    loader_t *loader = arg;
    bool goes_on = true;
    while (goes_on) {
        repair_t *all = repair_queue_take(&loader->shard->loads), *entry, *next;
        if (all == NULL) /* an entry may have come while a part waited, and ended that wait */
            goes_on = repair_queue_wait(&loader->shard->loads, IDLE_MS);
        HASH_ITER(hh, all, entry, next)
        {
            goes_on = goes_on && load_table(loader, entry);
            HASH_DEL(all, entry);
            free(entry);
        }
    }
    worker_dispose(&loader->worker);
    return NULL;
}

loader_t *loader_start(shard_t *shard)
{
    loader_t *loader = alloc_zero(1, sizeof(*loader));
    loader->shard = shard;
    loader->page = alloc_bytes(sizeof(*loader->page));
    worker_init(&loader->worker, shard);
    h2o_multithread_create_thread(&loader->thread, NULL, loader_thread, loader);
    return loader;
}

void loader_end(loader_t *loader)
{
    repair_queue_stop(&loader->shard->loads);
}

void loader_stop(loader_t *loader)
{
    loader_end(loader);
    pthread_join(loader->thread, NULL);
    free(loader->page);
    free(loader);
}
