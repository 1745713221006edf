/*
 * Tries a batch until every order of it has a result. writer_next() (work/writer_decide.h) decides
 * what an error means and what is tried next:
 *
 *   failure of an attempt        next
 *   conflict                     the same again; often in a row: as a lock wait
 *   lock wait                    set aside each item whose row is locked; if none is, try each item
 *                                apart; one item alone: set it aside
 *   lost connection              the same again; often in a row: as any other error
 *   any other error              try the canary. It fails: the shard is away, wait and try again.
 *                                It passes: halves. One order alone: reject it if the error is
 *                                about its values, twice, with a canary after each; else set it
 *                                aside.
 *                                Some orders of an item in a row: set the item aside
 */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "store/canary.h"
#include "store/orders.h"
#include "work/writer_batch.h"

/* An item is set aside when this many of its orders met an error alone and none was committed
   between. The count ends when the item has met no error for WRITER_FAILING_MS. Each order that is
   tried apart costs the other orders of the shard some milliseconds. */
#define FAILING_ORDERS 3
/* How often, and at what interval, it is read which rows are locked. */
#define FREE_TRIES 8
#define FREE_PAUSE_US 10000
/* The result of a canary is used for this long, so that a batch that is halved tries it once. */
#define CANARY_AGE_MAX_MS 500

/* --- is the fault the shard's? --- */

static void came_back(writer_core_t *core)
{
    if (atomic_exchange(&core->away_since_ms, 0) != 0)
        LOG_INFO("the shard takes orders again");
}

static void went_away(writer_core_t *core)
{
    core->canary_ms = 0;
    uint64_t takes = 0;
    pthread_mutex_lock(&core->away_mutex);
    snprintf(core->away_why, sizeof(core->away_why), "%s", db_error(core->db));
    pthread_mutex_unlock(&core->away_mutex);
    if (atomic_compare_exchange_strong(&core->away_since_ms, &takes, clock_mono_ms()))
        LOG_WARN("the shard takes no orders; what is queued waits",
                 LOG_STR("error", db_error(core->db)));
}

static bool shard_takes_orders(writer_core_t *core)
{
    uint64_t now_ms = clock_mono_ms();
    if (core->canary_ms != 0 && now_ms - core->canary_ms < CANARY_AGE_MAX_MS)
        return true;
    if (canary_run(core->db, &core->sql) != RESULT_DONE)
        return false;
    core->canary_ms = clock_mono_ms();
    came_back(core);
    return true;
}

bool writer_probe(writer_core_t *core)
{
    core->canary_ms = 0;
    if (shard_takes_orders(core))
        return true;
    went_away(core);
    return false;
}

/* --- is the fault the item's? --- */

static void note_failing(writer_core_t *core, str_t sku)
{
    uint64_t now_ms = clock_mono_ms();
    if (!aside_waits(core->failing, sku, now_ms))
        aside_drop(core->failing, sku); /* its earlier errors were too long ago to count */
    aside_put(core->failing, sku, NULL, 0, now_ms);
}

static bool is_failing(const writer_core_t *core, str_t sku)
{
    return aside_failures(core->failing, sku) >= FAILING_ORDERS &&
           aside_waits(core->failing, sku, clock_mono_ms());
}

/* Orders of these items were committed: their counts of errors end. */
static void note_committed(writer_core_t *core, writer_order_t *const *orders, unsigned count)
{
    for (unsigned i = 0; aside_count(core->failing) != 0 && i < count; ++i)
        aside_drop(core->failing, order_sku(&orders[i]->order));
}

/* --- what next? --- */

static bool is_one_item(writer_order_t *const *orders, unsigned count)
{
    str_t sku = order_sku(&orders[0]->order);
    for (unsigned i = 1; i < count; ++i)
        if (!str_eq(order_sku(&orders[i]->order), sku))
            return false;
    return true;
}

static void count_failure(writer_failure_kind_t kind)
{
    if (kind == FAILURE_CONFLICT || kind == FAILURE_LOCK)
        METRIC_INC(writer_conflicts_total);
    else if (kind == FAILURE_LOST)
        METRIC_INC(writer_lost_total);
}

/* For a single order the canary must be tried after its failure: an older result does not count. */
static writer_next_t ask_canary(writer_core_t *core, writer_failure_t *failure)
{
    if (failure->kind == FAILURE_OF_VALUES && failure->orders == 1)
        core->canary_ms = 0;
    failure->canary = shard_takes_orders(core) ? CANARY_PASSED : CANARY_FAILED;
    if (failure->canary == CANARY_PASSED && !writer_failure_is_wait(failure))
        METRIC_INC(writer_errors_total);
    return writer_next(failure);
}

static writer_next_t after_failure(writer_core_t *core, writer_failure_kind_t kind,
                                   writer_order_t *const *orders, unsigned count, unsigned repeats)
{
    writer_failure_t failure = {.kind = kind,
                                .orders = count,
                                .repeats = repeats,
                                .is_one_item = is_one_item(orders, count),
                                .is_aside = orders[0]->aside.with_item,
                                .is_side = core->is_side};
    count_failure(failure.kind);
    if (!core->is_side && writer_failure_is_wait(&failure))
        failure.lock_waits = ++core->locked;
    writer_next_t next = writer_next(&failure);
    return next == NEXT_CANARY ? ask_canary(core, &failure) : next;
}

/* --- carrying it out --- */

static void apply(writer_core_t *core, writer_order_t **orders, unsigned count);

/* Returns where the orders of the item that begins at `from` end. An attempt has sorted them by
   item. */
static unsigned end_of_item(writer_order_t *const *orders, unsigned from, unsigned count)
{
    unsigned to = from + 1;
    while (to < count && str_eq(order_sku(&orders[from]->order), order_sku(&orders[to]->order)))
        ++to;
    return to;
}

static void apply_halves(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    METRIC_INC(writer_bisections_total);
    apply(core, orders, count / 2);
    apply(core, orders + count / 2, count - count / 2);
}

static void set_aside(writer_order_t *order, const char *why)
{
    free(order->aside.why);
    order->aside.why = alloc_text(why);
    writer_mark(order, WRITER_ASIDE, false);
}

/* A side core meets the same orders again and again: only the first time is logged. */
static void note_aside(const writer_core_t *core, const writer_order_t *first, unsigned count,
                       bool with_item, const char *why)
{
    char id[ORDER_ID_TEXT + 1];
    if (core->is_side)
        return;
    METRIC_ADD(writer_set_aside_total, count);
    order_id_format(id, &first->order.id);
    LOG_WARN(with_item ? "an item's orders cannot be written now; they are set aside"
                       : "an order meets an error alone; it is set aside",
             LOG_BYTES("sku", order_sku(&first->order)), LOG_STR("order_id", id),
             LOG_INT("orders", count), LOG_STR("error", why));
}

static void set_all_aside(writer_core_t *core, writer_order_t **orders, unsigned count,
                          bool with_item, const char *why)
{
    note_aside(core, orders[0], count, with_item, why);
    for (unsigned i = 0; i < count; ++i) {
        orders[i]->aside.with_item = orders[i]->aside.waited = with_item;
        set_aside(orders[i], why);
    }
}

/* Sets aside each item of the batch that has met too many errors. True: there was one. */
static bool set_failing_aside(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    bool any = false;
    for (unsigned from = 0, to; aside_count(core->failing) != 0 && from < count; from = to) {
        to = end_of_item(orders, from, count);
        bool alone = core->is_side && !orders[from]->aside.with_item;
        if (alone || !is_failing(core, order_sku(&orders[from]->order)))
            continue; /* orders that are set aside alone prove nothing about their item */
        set_all_aside(core, orders + from, to - from, true, db_error(core->db));
        any = true;
    }
    return any;
}

/* The items of a batch whose row no other transaction has locked. */
typedef struct {
    writer_order_t *const *orders; /* the first of each item */
    bool *is_free;
    unsigned count;
} free_rows_t;

static void on_free_row(void *context, const item_t *item)
{
    free_rows_t *rows = context;
    for (unsigned i = 0; i < rows->count; ++i)
        if (str_eq(order_sku(&rows->orders[i]->order), item_sku(item)))
            rows->is_free[i] = true;
}

static bool all_are_free(const free_rows_t *rows)
{
    for (unsigned i = 0; i < rows->count; ++i)
        if (!rows->is_free[i])
            return false;
    return true;
}

/* A row is free if it is not locked at one of several moments: writers of other nodes lock it for a
   moment each. */
static result_t find_free_rows(writer_core_t *core, free_rows_t *rows)
{
    result_t result = RESULT_DONE;
    str_t *skus = alloc_zero(rows->count, sizeof(*skus));
    for (unsigned i = 0; i < rows->count; ++i)
        skus[i] = order_sku(&rows->orders[i]->order);
    for (unsigned tries = 0; tries < FREE_TRIES && !all_are_free(rows); ++tries) {
        if (tries != 0)
            usleep(FREE_PAUSE_US);
        if ((result = db_run(core->db, "START TRANSACTION")) == RESULT_DONE)
            result = item_read_many(core->db, &core->sql, skus, rows->count, ITEM_LOCK_SKIP,
                                    on_free_row, rows);
        db_rollback(core->db);
        if (result != RESULT_DONE)
            break;
    }
    free(skus);
    return result;
}

static void set_seen_locked_aside(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    set_all_aside(core, orders, count, true, "the item's row is locked");
    for (unsigned i = 0; i < count; ++i)
        orders[i]->aside.waited = false;
}

/* Sets aside each item of the batch whose row is locked now, without waiting for it. True: there
   was one. */
static bool set_locked_aside(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    bool any = false;
    unsigned items = 0;
    writer_order_t **firsts = alloc_zero(count, sizeof(*firsts));
    bool *is_free = alloc_zero(count, sizeof(*is_free));
    for (unsigned at = 0; at < count; at = end_of_item(orders, at, count))
        firsts[items++] = orders[at];
    free_rows_t rows = {firsts, is_free, items};
    bool known = find_free_rows(core, &rows) == RESULT_DONE;
    for (unsigned i = 0, at = 0; known && i < items; ++i) {
        unsigned to = end_of_item(orders, at, count);
        if (!is_free[i])
            set_seen_locked_aside(core, orders + at, to - at);
        any = any || !is_free[i];
        at = to;
    }
    free(firsts);
    free(is_free);
    return any;
}

/* The lock is not on a row of `inventory`: tries each item apart. */
static void apply_items(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    METRIC_INC(writer_bisections_total);
    for (unsigned from = 0, to; from < count; from = to) {
        to = end_of_item(orders, from, count);
        apply(core, orders + from, to - from);
    }
}

/* A side core does not wait: its orders are set aside again. */
static void wait_for_shard(writer_core_t *core, writer_order_t **orders, unsigned count,
                           unsigned tries)
{
    if (!core->is_side) {
        went_away(core);
        usleep(random_backoff(10000, 250000, tries));
        return;
    }
    for (unsigned i = 0; i < count; ++i)
        set_aside(orders[i], db_error(core->db));
}

/* MySQL refuses the values of this row and takes others. The order can only be written as rejected,
   unless a row of it exists. */
static void reject(writer_core_t *core, writer_order_t *order)
{
    char id[ORDER_ID_TEXT + 1], error[256];
    snprintf(error, sizeof(error), "%s", db_error(core->db));
    order_id_format(id, &order->order.id);
    if (writer_reject(core, order) != RESULT_DONE) {
        set_all_aside(core, &order, 1, false, error);
        return;
    }
    LOG_ERROR("MySQL refuses the values of an order; it is rejected", LOG_STR("order_id", id),
              LOG_BYTES("sku", order_sku(&order->order)), LOG_STR("error", error));
}

/* Returns false if the batch is not tried again as it is. */
static bool go_on(writer_core_t *core, writer_next_t next, writer_order_t **orders, unsigned count,
                  unsigned tries, writer_failure_kind_t failure)
{
    switch (next) {
    case NEXT_SAME:
        usleep(failure == FAILURE_LOST ? random_backoff(10000, 250000, tries)
                                       : random_backoff(500, 20000, tries));
        return true;
    case NEXT_AWAY:
        wait_for_shard(core, orders, count, tries);
        return true;
    case NEXT_ITEMS:
        if (set_locked_aside(core, orders, count))
            return true;
        apply_items(core, orders, count);
        return false;
    case NEXT_HALVES:
        if (set_failing_aside(core, orders, count))
            return true;
        apply_halves(core, orders, count);
        return false;
    case NEXT_REJECT:
        /* If this is one of several orders of the item in a row, the fault may be the item's: then
           the item is set aside and this order is not rejected. */
        note_failing(core, order_sku(&orders[0]->order));
        if (!set_failing_aside(core, orders, count))
            reject(core, orders[0]);
        return true;
    default:
        if (failure == FAILURE_CONFLICT || failure == FAILURE_LOCK) {
            set_all_aside(core, orders, count, true, db_error(core->db));
            return true;
        }
        note_failing(core, order_sku(&orders[0]->order));
        if (!set_failing_aside(core, orders, count))
            set_all_aside(core, orders, count, false, db_error(core->db));
        return true;
    }
}

static void apply(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    writer_group_t *groups = alloc_zero(count + 1, sizeof(*groups));
    bool more = true;
    unsigned tries = 0;
    writer_failure_kind_t before = FAILURE_NONE;
    while (more && (count = writer_drop_marked(orders, count)) != 0) {
        writer_failure_kind_t failure = FAILURE_NONE;
        writer_attempt_t outcome = writer_attempt(core, orders, count, groups, &failure);
        if (outcome == ATTEMPT_COMMITTED || outcome == ATTEMPT_AGAIN) {
            if (outcome == ATTEMPT_COMMITTED) {
                note_committed(core, orders, count);
                came_back(core);
            }
            continue;
        }
        if (outcome == ATTEMPT_SPLIT)
            failure = FAILURE_CONFLICT;
        /* Orders that the attempt found in MySQL before it failed are decided. */
        if ((count = writer_drop_marked(orders, count)) == 0)
            break;
        tries = failure == before ? tries + 1 : 0;
        before = failure;
        writer_next_t next = outcome == ATTEMPT_SPLIT && count > 1
                                 ? NEXT_HALVES
                                 : after_failure(core, failure, orders, count, tries);
        if (next == NEXT_AWAY && failure == FAILURE_OF_VALUES)
            before = FAILURE_NONE; /* the canary did not pass */
        more = go_on(core, next, orders, count, tries, failure);
    }
    free(groups);
}

void writer_apply(writer_core_t *core, writer_order_t **orders, unsigned count)
{
    /* apply() sorts and shrinks its array; the caller's must stay as it is. */
    writer_order_t **work = alloc_zero(count, sizeof(*work));
    for (unsigned i = 0; i < count; ++i) {
        work[i] = orders[i];
        work[i]->arrival = i;
    }
    apply(core, work, count);
    for (unsigned i = 0; i < count; ++i)
        assert(orders[i]->arrival == UINT_MAX); /* each has a result */
    free(work);
}
