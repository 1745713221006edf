#include "reconcile/reconciler.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/aside.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "reconcile/orphans.h"
#include "reconcile/pass.h"
#include "store/canary.h"

/* Rows that one statement reads, and the most tracked items that one pass compares: to compare more
   would take too much of a core, of this process and of the stores, from the sale. */
#define PAGE 256
/* The most items of the round that one pass compares: their number must not show in the load of a
   system in which nobody buys. */
#define ROUND_ITEMS 32
/* A pass over items ends after this time; the next continues behind it. */
#define PASS_MS 1000
/* Another node may take over the shard if its holder has not renewed the lease for so long. */
#define LEASE_MS 2000
/* Backoff of items that are set aside, and the time after which one that was not met again is
   forgotten. */
#define ASIDE_BASE_MS 250
#define ASIDE_CAP_MS 5000
#define ASIDE_FORGET_MS 60000
/* After so many comparisons in a row that found the row locked, the pass waits for the lock: the
   cause may be a sale and not another user of the server. Such attempts end after this time; the
   rest is left to the next pass. */
#define FAILURES_BEFORE_WAIT 3
#define WAITS_MS 200

/* An item that the next passes compare: this node has called its gate since the last comparison, or
   that comparison has left something open. */
typedef struct {
    UT_hash_handle hh;
    memory_t memory;
    sku_t sku;
} tracked_t;

/* Items to be compared. */
typedef struct {
    item_ref_t items[PAGE];
    bool compare_again[PAGE];
    unsigned count;
    sku_t end; /* the last row that a scan has read for this page */
    bool last; /* there are no items behind these */
} page_t;

/* A scan over the shard's rows, by sku, and its progress. */
typedef struct {
    const char *rows; /* SQL: those that are read */
    const char *due;  /* SQL: those of them that are compared */
    unsigned max;     /* items of a page */
    sku_t after;      /* the last sku that was read, and compared if due; empty: none yet */
} scan_t;

typedef enum {
    SCAN_CONTINUES, /* there is another page */
    SCAN_ENDED,     /* all were compared; it starts again */
    SCAN_PAUSED,    /* the next pass continues: time is up */
} scan_progress_t;

struct reconciler {
    shard_t *shard;
    worker_t worker;
    lease_t lease;
    uint64_t taken_ms; /* monotonic: when the lease was last taken or renewed */
    bool lease_locked; /* its row is locked: no node can take it */
    orphans_t *orphans;
    bool answered; /* MySQL answered the last question for the lease */
    page_t page;
    tracked_t *tracked; /* uthash by sku; those that were compared last come last */
    scan_t all, fallbacks;
    /* Items that are set aside: after a failed repair; after a failed comparison under the
       lease. */
    aside_t *repairs_aside, *compared_aside;
    char why[256]; /* the error of the last failure that is_of_the_item() judged */
    pthread_t thread;
    pthread_mutex_t mutex; /* protects the members below */
    reconciler_report_t report;
    uint64_t last_pass_ms; /* monotonic */
};

/* --- what is set aside --- */

static void note_aside(reconciler_t *reconciler)
{
    uint64_t count =
        aside_count(reconciler->repairs_aside) + aside_count(reconciler->compared_aside);
    pthread_mutex_lock(&reconciler->mutex);
    METRIC_ADD(reconciler_set_aside, (int64_t)count - (int64_t)reconciler->report.set_aside);
    reconciler->report.set_aside = count;
    pthread_mutex_unlock(&reconciler->mutex);
}

/* reconciler->why has the reason. */
static void put_aside(reconciler_t *reconciler, aside_t *aside, str_t sku)
{
    uint64_t now = clock_mono_ms();
    if (aside_put(aside, sku, NULL, 0, now) == 0)
        return;
    METRIC_INC(reconciler_set_aside_total);
    LOG_WARN("the gate of an item cannot be repaired; the item is set aside", LOG_BYTES("sku", sku),
             LOG_STR("error", reconciler->why),
             LOG_INT("retry_ms", aside_wait_ms(aside, sku, now)));
    note_aside(reconciler);
}

static void drop_aside(reconciler_t *reconciler, aside_t *aside, str_t sku)
{
    if (!aside_drop(aside, sku))
        return;
    LOG_INFO("the gate of an item that was set aside is repaired", LOG_BYTES("sku", sku));
    note_aside(reconciler);
}

/* Forgets items that were not tried for long, which may have been deleted. */
static void forget_aside(reconciler_t *reconciler)
{
    aside_forget_untried(reconciler->compared_aside, clock_mono_ms(), ASIDE_FORGET_MS);
    aside_forget_untried(reconciler->repairs_aside, clock_mono_ms(), ASIDE_FORGET_MS);
    note_aside(reconciler);
}

/* Returns whether a failure concerns the item alone; false: a server is away. Keeps the error's
   text in `why` first, because the check uses the same connection. */
static bool is_of_the_item(reconciler_t *reconciler, sync_result_t why)
{
    worker_t *worker = &reconciler->worker;
    snprintf(reconciler->why, sizeof(reconciler->why), "%s",
             why == SYNC_GATE_AWAY ? gate_sync_error(worker->gate)
             : why == SYNC_BUSY    ? "its row is locked, or keeps changing"
                                   : db_error(worker->db));
    if (why == SYNC_GATE_AWAY)
        return gate_sync_connect(worker->gate) == RESULT_DONE;
    if (why == SYNC_BUSY)
        return true;
    return canary_passes_or_waits(worker->db, &worker->sql);
}

/* --- the repair queue --- */

/* Distinguishes a locked row from one that does not exist: reconcile_row_is_free() is false for
 * both. */
static bool item_is_there(reconciler_t *reconciler, const item_ref_t *ref)
{
    item_t item;
    bool found;
    worker_t *worker = &reconciler->worker;
    return item_read(worker->db, &worker->sql, ref, false, &item, &found) != RESULT_DONE || found;
}

/* The row of an item that is sold is locked most of the time, so it is locked only if the gate
   needs it. */
static bool needs_repair(reconciler_t *reconciler, const repair_t *repair, const item_ref_t *ref,
                         item_t *item)
{
    uint64_t gate_epoch;
    gate_item_t answer;
    sync_result_t result = item_peek(&reconciler->worker, ref, item, &answer, &gate_epoch);
    return result != SYNC_READY || item->epoch == repair->epoch ||
           !gate_agrees(answer, gate_epoch, item);
}

/* False: a server is away, so the queue waits. */
static bool repair_gate(reconciler_t *reconciler, const repair_t *repair, bool wait)
{
    item_t item;
    sync_result_t result = SYNC_BUSY;
    str_t sku = sku_str(&repair->sku);
    const item_ref_t ref = item_ref_of(sku);
    worker_t *worker = &reconciler->worker;
    if (!needs_repair(reconciler, repair, &ref, &item))
        result = SYNC_READY;
    else if (wait || reconcile_row_is_free(worker, &ref))
        result = repair->epoch != 0 ? item_rebuild(worker, &ref, repair->epoch, NULL, &item)
                                    : item_agree(worker, &ref, &item);
    else if (!item_is_there(reconciler, &ref))
        result = SYNC_UNKNOWN_ITEM;
    if (result == SYNC_READY && item.epoch != repair->sql_epoch)
        announce_item_changed(reconciler->shard->announcements, sku, item.epoch);
    if (result == SYNC_READY || result == SYNC_UNKNOWN_ITEM) {
        drop_aside(reconciler, reconciler->repairs_aside, sku);
        return true;
    }
    repair_queue_put_back(&reconciler->shard->repairs, repair);
    if (!is_of_the_item(reconciler, result))
        return false;
    put_aside(reconciler, reconciler->repairs_aside, sku);
    return true;
}

/* Items that have not failed often come first; then those that may wait for a lock, for a limited
   time. */
static void repair_gates(reconciler_t *reconciler)
{
    repair_t *all = repair_queue_take(&reconciler->shard->repairs), *repair, *next;
    bool healthy = !gate_health_is_hopeless(reconciler->shard->gate_health);
    uint64_t now = clock_mono_ms(), deadline = 0;
    for (unsigned waits = 0; waits < 2; ++waits) {
        deadline = waits ? clock_mono_ms() + WAITS_MS : UINT64_MAX;
        HASH_ITER(hh, all, repair, next)
        {
            str_t sku = sku_str(&repair->sku);
            unsigned failures = aside_failures(reconciler->repairs_aside, sku);
            if (waits == 0 && failures >= FAILURES_BEFORE_WAIT)
                continue;
            if (healthy && !aside_waits(reconciler->repairs_aside, sku, now) &&
                clock_mono_ms() < deadline)
                healthy = repair_gate(reconciler, repair, waits != 0);
            else
                repair_queue_put_back(&reconciler->shard->repairs, repair);
            HASH_DEL(all, repair);
            free(repair);
        }
    }
    assert(all == NULL); /* each was tried or put back: one that is lost leaves its gate as it is */
}

/* --- tracked items --- */

static tracked_t *find_tracked(reconciler_t *reconciler, str_t sku)
{
    tracked_t *tracked;
    HASH_FIND(hh, reconciler->tracked, sku.p, sku.n, tracked);
    return tracked;
}

static tracked_t *track(reconciler_t *reconciler, str_t sku)
{
    tracked_t *tracked = find_tracked(reconciler, sku);
    if (tracked == NULL) {
        tracked = alloc_zero(1, sizeof(*tracked));
        sku_set(&tracked->sku, sku);
        HASH_ADD(hh, reconciler->tracked, sku.bytes, tracked->sku.length, tracked);
    }
    return tracked;
}

static void forget(reconciler_t *reconciler, tracked_t *tracked)
{
    HASH_DEL(reconciler->tracked, tracked);
    free(tracked);
}

/* It goes behind all others. */
static void keep(reconciler_t *reconciler, tracked_t *tracked)
{
    HASH_DEL(reconciler->tracked, tracked);
    HASH_ADD(hh, reconciler->tracked, sku.bytes, tracked->sku.length, tracked);
}

/* For the metric and the report; after they were noted and after they were compared. */
static void note_tracked(reconciler_t *reconciler)
{
    uint64_t count = HASH_COUNT(reconciler->tracked);
    pthread_mutex_lock(&reconciler->mutex);
    METRIC_ADD(reconciler_tracked, (int64_t)count - (int64_t)reconciler->report.tracked);
    reconciler->report.tracked = count;
    pthread_mutex_unlock(&reconciler->mutex);
}

static void track_items_in_use(reconciler_t *reconciler)
{
    used_item_t *all = in_use_take(&reconciler->shard->in_use), *item, *next;
    HASH_ITER(hh, all, item, next)
    {
        track(reconciler, sku_str(&item->sku));
        HASH_DEL(all, item);
        free(item);
    }
    note_tracked(reconciler);
}

/* --- the lease --- */

static bool take_lease(reconciler_t *reconciler)
{
    worker_t *worker = &reconciler->worker;
    bool held_before = reconciler->lease.fence != 0;
    reconciler->taken_ms = clock_mono_ms();
    result_t result = lease_take(worker->db, &worker->sql, &reconciler->lease, LEASE_MS);
    bool holds = result == RESULT_DONE && reconciler->lease.fence != 0;
    reconciler->lease_locked = result == RESULT_RETRY && db_error_is_lock(worker->db);
    reconciler->answered = result == RESULT_DONE || reconciler->lease_locked;
    if (held_before && !holds)
        aside_clear(reconciler->compared_aside); /* another node compares those items now */
    if (result != RESULT_DONE && held_before)
        LOG_WARN("the lease of this shard cannot be renewed",
                 LOG_INT("shard", reconciler->shard->index),
                 LOG_STR("error", db_error(worker->db)));
    else if (holds != held_before)
        LOG_INFO(holds ? "this node reconciles this shard now"
                       : "another node reconciles this shard now",
                 LOG_INT("shard", reconciler->shard->index));
    pthread_mutex_lock(&reconciler->mutex);
    reconciler->report.holds_lease = holds;
    pthread_mutex_unlock(&reconciler->mutex);
    FAILPOINT("reconcile_lease_taken");
    return holds;
}

/* Renews the lease when half of its time is over. False: it is lost. */
static bool keep_lease(reconciler_t *reconciler)
{
    return clock_mono_ms() - reconciler->taken_ms < LEASE_MS / 2 || take_lease(reconciler);
}

/* --- comparing --- */

/* Reads the next rows of the scan, up to the last of `scan->max` items that are due. */
static bool read_page(reconciler_t *reconciler, const scan_t *scan)
{
    worker_t *worker = &reconciler->worker;
    page_t *page = &reconciler->page;
    unsigned rows = 0;
    page->count = 0;
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT sku, ");
    sql_add(&worker->sql, scan->due);
    sql_add(&worker->sql, " FROM inventory WHERE bucket = %u AND sku > %s AND ", BUCKET_ONLY,
            sku_str(&scan->after));
    sql_add(&worker->sql, scan->rows);
    sql_add(&worker->sql, " ORDER BY sku LIMIT %u", (uint64_t)PAGE);
    if (db_query(worker->db, &worker->sql) != RESULT_DONE)
        return false;
    for (; page->count < scan->max && rows < PAGE && db_next(worker->db); ++rows) {
        sku_set(&page->end, db_bytes(worker->db, 0));
        if (db_u64(worker->db, 1) != 0)
            page->items[page->count++] = item_ref_of(sku_str(&page->end));
    }
    page->last = rows < PAGE && page->count < scan->max;
    return true;
}

/* Takes the tracked items that have waited longest. */
static void take_page(reconciler_t *reconciler)
{
    page_t *page = &reconciler->page;
    page->count = 0;
    for (const tracked_t *tracked = reconciler->tracked; tracked != NULL && page->count < PAGE;
         tracked = tracked->hh.next)
        page->items[page->count++] = item_ref_of(sku_str(&tracked->sku));
    page->last = true;
}

static void note_finding(reconciler_t *reconciler, str_t sku, const pass_t *pass)
{
    reconciler_report_t *report = &reconciler->report;
    bool repaired = pass->done == ACTION_SYNC || pass->done == ACTION_REBUILD;
    if (repaired)
        METRIC_INC(reconciler_repairs_total);
    if (pass->done == ACTION_RESTORE)
        METRIC_INC(restores_total);
    LOG_WARN("gate and MySQL disagreed", LOG_BYTES("sku", sku),
             LOG_STR("found", finding_name(pass->finding)), LOG_STR("did", pass_action(pass)),
             LOG_INT("epoch", pass->item.epoch));
    pthread_mutex_lock(&reconciler->mutex);
    ++report->findings[pass->finding];
    report->repairs += repaired;
    report->has_last = true;
    memcpy(report->last_sku, sku.p, sku.n);
    report->last_sku[sku.n] = '\0';
    report->last_finding = pass->finding;
    report->last_action = pass_action(pass);
    report->last_epoch = pass->item.epoch;
    report->last_at_ms = clock_wall_ms();
    pthread_mutex_unlock(&reconciler->mutex);
}

/* True: the item needs a second comparison. */
static bool compare_one(reconciler_t *reconciler, const item_ref_t *ref)
{
    str_t sku = sku_str(&ref->sku);
    tracked_t *tracked = track(reconciler, sku);
    const lease_t *lease = reconciler->lease.fence != 0 ? &reconciler->lease : NULL;
    bool wait = aside_failures(reconciler->compared_aside, sku) >= FAILURES_BEFORE_WAIT;
    pass_t pass = reconcile_compare(&reconciler->worker, ref, &tracked->memory, lease,
                                    wait ? COMPARE_WAITS : 0);
    pthread_mutex_lock(&reconciler->mutex);
    ++reconciler->report.items;
    pthread_mutex_unlock(&reconciler->mutex);
    assert(!pass.compare_again ||
           pass.done == ACTION_NONE); /* one comparison alone decides nothing */
    /* What is away has left nothing open here: an item that is in use comes again. */
    if (pass.open && (pass.result == SYNC_READY || pass.failed))
        keep(reconciler, tracked);
    else
        forget(reconciler, tracked);
    if (pass.compare_again)
        return true;
    bool waiting = pass.finding == FINDING_GATE_BACK && pass.done == ACTION_NONE;
    if (pass.failed && (lease == NULL || lease_is_held(lease)) &&
        is_of_the_item(reconciler, pass.result))
        put_aside(reconciler, reconciler->compared_aside, sku);
    else if (pass.result == SYNC_READY)
        drop_aside(reconciler, reconciler->compared_aside, sku);
    if (pass.finding != FINDING_AGREE && !waiting)
        note_finding(reconciler, sku, &pass);
    if (pass.done != ACTION_NONE)
        announce_item_changed(reconciler->shard->announcements, sku, pass.item.epoch);
    return false;
}

/* A scan needs the lease; `scan` NULL: tracked items, which each node compares. */
static bool may_continue(reconciler_t *reconciler, const scan_t *scan, uint64_t deadline)
{
    return clock_mono_ms() <= deadline && !repair_queue_is_stopping(&reconciler->shard->repairs) &&
           ((scan == NULL && reconciler->lease.fence == 0) || keep_lease(reconciler));
}

/* An item that is set aside is left out until its wait is over. */
static bool compare_or_leave(reconciler_t *reconciler, const item_ref_t *ref)
{
    str_t sku = sku_str(&ref->sku);
    if (!aside_waits(reconciler->compared_aside, sku, clock_mono_ms()))
        return compare_one(reconciler, ref);
    tracked_t *tracked = find_tracked(reconciler, sku);
    if (tracked != NULL)
        keep(reconciler, tracked);
    return false;
}

static bool compare_first(reconciler_t *reconciler, scan_t *scan, uint64_t deadline)
{
    page_t *page = &reconciler->page;
    for (unsigned i = 0; i < page->count; ++i) {
        page->compare_again[i] = false;
        if (!may_continue(reconciler, scan, deadline)) {
            page->count = i;
            return false;
        }
        page->compare_again[i] = compare_or_leave(reconciler, &page->items[i]);
        if (scan != NULL)
            scan->after = page->items[i].sku;
    }
    return true;
}

/* The second comparison of a page's items, all after one pause. Items that are left when time is up
   are tracked: the next pass compares them. */
static bool compare_again(reconciler_t *reconciler, const scan_t *scan, uint64_t deadline)
{
    const page_t *page = &reconciler->page;
    bool waited = false;
    for (unsigned i = 0; i < page->count; ++i) {
        if (!page->compare_again[i])
            continue;
        if (!waited) {
            FAILPOINT("reconcile_waits");
            usleep(PASS_COMPARE_AGAIN_US);
        }
        waited = true;
        if (!may_continue(reconciler, scan, deadline))
            return false;
        compare_one(reconciler, &page->items[i]);
    }
    return true;
}

static scan_progress_t compare_page(reconciler_t *reconciler, scan_t *scan, uint64_t deadline)
{
    page_t *page = &reconciler->page;
    if (scan == NULL)
        take_page(reconciler);
    else if (!read_page(reconciler, scan))
        return SCAN_PAUSED;
    if (!compare_first(reconciler, scan, deadline) || !compare_again(reconciler, scan, deadline))
        return SCAN_PAUSED;
    if (scan != NULL && page->last)
        scan->after.length = 0;
    else if (scan != NULL)
        scan->after = page->end;
    return page->last ? SCAN_ENDED : SCAN_CONTINUES;
}

/* All items with a fallback, so that their gates admit again at once and not when it is their turn;
   and the next items of the round. */
static void compare_untracked(reconciler_t *reconciler)
{
    assert(reconciler->lease.fence != 0); /* one node scans a shard */
    uint64_t deadline = clock_mono_ms() + PASS_MS;
    while (compare_page(reconciler, &reconciler->fallbacks, deadline) == SCAN_CONTINUES)
        ;
    compare_page(reconciler, &reconciler->all, clock_mono_ms() + PASS_MS);
}

/* --- the thread --- */

static void pass_over_shard(reconciler_t *reconciler)
{
    repair_gates(reconciler);
    track_items_in_use(reconciler);
    bool holds = take_lease(reconciler);
    unsigned orphans = 0;
    forget_aside(reconciler);
    if (holds || reconciler->lease_locked) /* safe without the lease: it only saves work, and no
                                              node can hold it now */
        orphans = orphans_pass(reconciler->orphans, &reconciler->worker);
    if (reconciler->answered)
        compare_page(reconciler, NULL, clock_mono_ms() + PASS_MS);
    note_tracked(reconciler);
    if (reconciler->lease.fence == 0)
        return;
    compare_untracked(reconciler);
    METRIC_INC(reconciler_passes_total);
    pthread_mutex_lock(&reconciler->mutex);
    ++reconciler->report.passes;
    reconciler->report.orphans += orphans;
    reconciler->last_pass_ms = clock_mono_ms();
    pthread_mutex_unlock(&reconciler->mutex);
}

static void *reconciler_thread(void *arg)
{
    reconciler_t *reconciler = arg;
    uint32_t interval_ms = reconciler->shard->config->reconcile.pass_interval_ms;
    while (repair_queue_wait(&reconciler->shard->repairs,
                             orphans_are_left(reconciler->orphans) ? 0 : interval_ms))
        pass_over_shard(reconciler);
    worker_dispose(&reconciler->worker);
    return NULL;
}

void reconciler_report(reconciler_t *reconciler, reconciler_report_t *out)
{
    pthread_mutex_lock(&reconciler->mutex);
    *out = reconciler->report;
    out->last_pass_ms_ago = clock_mono_ms() - reconciler->last_pass_ms;
    pthread_mutex_unlock(&reconciler->mutex);
}

reconciler_t *reconciler_new(shard_t *shard)
{
    reconciler_t *reconciler = alloc_zero(1, sizeof(*reconciler));
    reconciler->shard = shard;
    reconciler->lease = (lease_t){.name = RECONCILER_LEASE, .holder = shard->incarnation};
    reconciler->all =
        (scan_t){.rows = "TRUE", .due = "strategy IN ('lua', 'watch')", .max = ROUND_ITEMS};
    reconciler->fallbacks = (scan_t){.rows = "gate_down = 1", .due = "TRUE", .max = PAGE};
    reconciler->orphans = orphans_new();
    reconciler->repairs_aside = aside_new(ASIDE_BASE_MS, ASIDE_CAP_MS);
    reconciler->compared_aside = aside_new(ASIDE_BASE_MS, ASIDE_CAP_MS);
    worker_init(&reconciler->worker, shard);
    pthread_mutex_init(&reconciler->mutex, NULL);
    return reconciler;
}

void reconciler_start(reconciler_t *reconciler)
{
    h2o_multithread_create_thread(&reconciler->thread, NULL, reconciler_thread, reconciler);
}

void reconciler_end(reconciler_t *reconciler)
{
    repair_queue_stop(&reconciler->shard->repairs);
}

void reconciler_stop(reconciler_t *reconciler)
{
    reconciler_end(reconciler);
    pthread_join(reconciler->thread, NULL);
}

void reconciler_free(reconciler_t *reconciler)
{
    orphans_free(reconciler->orphans);
    aside_free(reconciler->repairs_aside);
    aside_free(reconciler->compared_aside);
    while (reconciler->tracked != NULL)
        forget(reconciler, reconciler->tracked);
    pthread_mutex_destroy(&reconciler->mutex);
    free(reconciler);
}
