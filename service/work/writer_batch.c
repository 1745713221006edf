#include "work/writer_batch.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "metrics/metrics.h"
#include "store/orders.h"

/* After this many version misses in a row the row is locked before it is read. */
#define MISSES_BEFORE_LOCK 3
/* At most this many rows are kept; beyond it all are dropped, which costs one read each. */
#define HOT_ROWS_MAX 65536
/* The shard's clock is read again after this time. */
#define CLOCK_AGE_MAX_MS 1000

struct hot_row {
    UT_hash_handle hh;
    uint64_t version, epoch;
    sku_t sku;
};

typedef writer_group_t group_t;

void writer_core_init(writer_core_t *core, const config_t *config, unsigned shard,
                      remote_clock_t *clock, bool is_side)
{
    memset(core, 0, sizeof(*core));
    pthread_mutex_init(&core->away_mutex, NULL);
    core->is_side = is_side;
    core->failing = aside_new(WRITER_FAILING_MS, WRITER_FAILING_MS);
    core->config = config;
    core->clock = clock;
    core->db = db_new(config, shard_primary(&config->shards[shard]));
}

static void forget_rows(writer_core_t *core)
{
    hot_row_t *row, *next;
    HASH_ITER(hh, core->rows, row, next)
    {
        HASH_DEL(core->rows, row);
        free(row);
    }
}

void writer_core_dispose(writer_core_t *core)
{
    pthread_mutex_destroy(&core->away_mutex);
    forget_rows(core);
    aside_free(core->failing);
    db_free(core->db);
    sql_free(&core->sql);
}

static hot_row_t *find_row(writer_core_t *core, str_t sku)
{
    hot_row_t *row;
    HASH_FIND(hh, core->rows, sku.p, sku.n, row);
    return row;
}

static void forget_row(writer_core_t *core, str_t sku)
{
    hot_row_t *row = find_row(core, sku);
    if (row == NULL)
        return;
    HASH_DEL(core->rows, row);
    free(row);
}

static hot_row_t *remember_row(writer_core_t *core, const item_t *item)
{
    str_t sku = item_sku(item);
    hot_row_t *row = find_row(core, sku);
    if (row == NULL) {
        row = alloc_zero(1, sizeof(*row));
        row->sku = item->ref.sku;
        HASH_ADD(hh, core->rows, sku.bytes, row->sku.length, row);
    }
    row->version = item->version;
    row->epoch = item->epoch;
    return row;
}

/* --- groups --- */

static int by_item_epoch_arrival(const void *a, const void *b)
{
    const writer_order_t *x = *(writer_order_t *const *)a, *y = *(writer_order_t *const *)b;
    int order = str_compare(order_sku(&x->order), order_sku(&y->order));
    if (order == 0)
        order = (x->epoch > y->epoch) - (x->epoch < y->epoch);
    return order != 0 ? order : (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

static unsigned make_groups(writer_order_t **orders, unsigned count, group_t *groups)
{
    unsigned groups_count = 0;
    qsort(orders, count, sizeof(*orders), by_item_epoch_arrival);
    for (unsigned i = 0; i < count; ++i) {
        group_t *group = groups_count == 0 ? NULL : &groups[groups_count - 1];
        if (group == NULL || orders[i]->epoch != group->orders[0]->epoch ||
            !str_eq(order_sku(&orders[i]->order), order_sku(&group->orders[0]->order))) {
            group = &groups[groups_count++];
            *group = (group_t){.orders = &orders[i]};
        }
        ++group->count;
        if (writer_order_is_live(orders[i]))
            group->units += orders[i]->order.quantity;
    }
    return groups_count;
}

/* The part of the batch that a read of its rows needs. */
typedef struct {
    writer_core_t *core;
    group_t *groups;
    unsigned count;
    bool changed;
} reading_t;

static bool is_of_sku(const group_t *group, str_t sku)
{
    return group->units != 0 && str_eq(order_sku(&group->orders[0]->order), sku);
}

/* A group that is stale has no live order left; its units are counted anew when the batch begins
   again. */
static void on_row(void *context, const item_t *item)
{
    reading_t *reading = context;
    for (unsigned i = 0; i < reading->count; ++i) {
        group_t *group = &reading->groups[i];
        if (!is_of_sku(group, item_sku(item)))
            continue;
        if (writer_check_group(group, item))
            reading->changed = true;
        group->row = remember_row(reading->core, item);
        group->version = item->version;
    }
}

/* Reads the rows of all groups that have no copy. */
static result_t read_rows(reading_t *reading, str_t *skus, bool lock)
{
    writer_core_t *core = reading->core;
    unsigned count = 0;
    for (unsigned i = 0; i < reading->count; ++i)
        if (reading->groups[i].units != 0 && reading->groups[i].row == NULL)
            skus[count++] = order_sku(&reading->groups[i].orders[0]->order);
    if (count == 0)
        return RESULT_DONE;
    result_t result = item_read_many(core->db, &core->sql, skus, count,
                                     lock ? ITEM_LOCK_WAIT : ITEM_LOCK_NONE, on_row, reading);
    for (unsigned i = 0; i < reading->count && result == RESULT_DONE; ++i) {
        group_t *group = &reading->groups[i];
        if (group->units != 0 && group->row == NULL && writer_check_group(group, NULL))
            reading->changed = true;
    }
    return result;
}

/* Finds the version of each hot row: from the copy, or by a read (all rows are locked after
   misses). */
static result_t find_versions(writer_core_t *core, group_t *groups, unsigned count, bool lock,
                              bool *changed)
{
    reading_t reading = {core, groups, count, false};
    for (unsigned i = 0; i < count; ++i) {
        const writer_order_t *first = groups[i].orders[0];
        hot_row_t *row = find_row(core, order_sku(&first->order));
        bool known = !lock && row != NULL && row->epoch == first->epoch;
        groups[i].row = known ? row : NULL;
        groups[i].version = known ? row->version : 0;
    }
    str_t *skus = alloc_zero(count, sizeof(*skus));
    result_t result = read_rows(&reading, skus, lock);
    free(skus);
    *changed = reading.changed;
    return result;
}

/* --- duplicates --- */

result_t writer_reject(writer_core_t *core, writer_order_t *order)
{
    order_t row;
    result_t result =
        order_decide_rejected(core->db, &core->sql, &order->order.id, PROBLEM_UNAVAILABLE, &row);
    if (result != RESULT_DONE) {
        db_rollback(core->db);
        return result;
    }
    METRIC_INC(orders_rejected_total);
    writer_take_row(order, &row);
    return RESULT_DONE;
}

static result_t find_by_id(writer_core_t *core, writer_order_t **orders, unsigned count,
                           unsigned *hits)
{
    sql_reset(&core->sql);
    sql_add(&core->sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE order_id IN (");
    for (unsigned i = 0; i < count; ++i)
        sql_add(&core->sql, i == 0 ? "%o" : ", %o", &orders[i]->order.id);
    sql_add(&core->sql, ") FOR UPDATE");
    result_t result = db_query(core->db, &core->sql);
    while (result == RESULT_DONE && db_next(core->db)) {
        order_t row;
        order_of_row(core->db, &row);
        for (unsigned i = 0; i < count; ++i)
            if (order_id_eq(&orders[i]->order.id, &row.id)) {
                writer_take_row(orders[i], &row);
                ++*hits;
            }
    }
    return result;
}

static result_t find_by_key(writer_core_t *core, writer_order_t *order, unsigned *hits)
{
    bool found;
    order_t first;
    result_t result =
        order_read_by_key(core->db, &core->sql, order_sku(&order->order),
                          order_buyer(&order->order), order->key, true, &first, &found);
    if (result == RESULT_DONE && found && !order_id_eq(&first.id, &order->order.id)) {
        writer_lose_key(order, &first);
        ++*hits;
    }
    return result;
}

/* Fills in the names in a row that was decided without the order's owner: only the owner has
   them. */
static result_t fill_in_names(writer_core_t *core, writer_order_t *order)
{
    const order_t *row = &order->order;
    sql_reset(&core->sql);
    sql_add(&core->sql,
            "UPDATE orders SET sku = %s, buyer_id = %s, quantity = %u, epoch = %u, "
            "updated_at = NOW(3) WHERE order_id = %o AND sku IS NULL AND state = 'rejected'",
            order_sku(row), order_buyer(row), (uint64_t)row->quantity, order->epoch, &row->id);
    result_t result = db_exec(core->db, &core->sql, NULL, 0);
    if (result == RESULT_DONE)
        order->nameless = false;
    return result;
}

/* Some row existed already. If it has the order's id, it is the result. If it has the order's key,
   the order has lost the key. */
static result_t resolve_duplicates(writer_core_t *core, writer_order_t **orders, unsigned count,
                                   unsigned *hits)
{
    *hits = 0;
    result_t result = find_by_id(core, orders, count, hits);
    for (unsigned i = 0; i < count && result == RESULT_DONE; ++i) {
        if (orders[i]->arrival != UINT_MAX && orders[i]->key.p != NULL)
            result = find_by_key(core, orders[i], hits);
        else if (orders[i]->nameless)
            result = fill_in_names(core, orders[i]);
    }
    return result;
}

/* --- one attempt --- */

static result_t read_clock_if_old(writer_core_t *core)
{
    uint64_t sent = clock_mono_ms(), now_ms = 0;
    if (core->clock_read_ms != 0 && sent - core->clock_read_ms < CLOCK_AGE_MAX_MS)
        return RESULT_DONE;
    result_t result = shard_clock_read(core->db, &now_ms);
    if (result == RESULT_DONE) {
        remote_clock_observe(core->clock, sent, now_ms);
        core->clock_read_ms = sent;
    }
    return result;
}

/* Some row has changed since it was read, and the error does not name it: the copies of all are
   dropped. */
static void forget_rows_of(writer_core_t *core, group_t *groups, unsigned count)
{
    METRIC_INC(writer_version_misses_total);
    for (unsigned i = 0; i < count; ++i) {
        forget_row(core, order_sku(&groups[i].orders[0]->order));
        groups[i].row = NULL;
    }
}

/* The kind of the failure; call it before the connection is used again. */
static writer_failure_kind_t kind_of(const db_t *db, result_t result)
{
    switch (result) {
    case RESULT_RETRY:
        return db_error_is_lock(db) ? FAILURE_LOCK : FAILURE_CONFLICT;
    case RESULT_UNKNOWN:
        return FAILURE_LOST;
    case RESULT_REFUSED:
        return db_error_is_duplicate(db) ? FAILURE_OTHER : FAILURE_OF_VALUES;
    default:
        return FAILURE_OTHER;
    }
}

static writer_attempt_t fail(writer_core_t *core, result_t result, writer_failure_kind_t *out)
{
    *out = kind_of(core->db, result);
    db_rollback(core->db);
    return ATTEMPT_FAILED;
}

static writer_attempt_t again(writer_core_t *core)
{
    db_rollback(core->db);
    return ATTEMPT_AGAIN;
}

static void committed(group_t *groups, unsigned groups_count, writer_order_t **orders,
                      unsigned count)
{
    for (unsigned i = 0; i < groups_count; ++i)
        if (groups[i].units != 0)
            /* The UPDATE raised it by one, under the row's lock: the next batch need not read
               it. */
            ++groups[i].row->version;
    for (unsigned i = 0; i < count; ++i) {
        assert(!orders[i]->drift || !writer_order_is_live(orders[i])); /* it found no room */
        if (writer_order_is_live(orders[i]))
            METRIC_INC(orders_committed_total);
        else
            METRIC_INC(orders_rejected_total);
        if (orders[i]->drift)
            METRIC_INC(gate_drift_total);
        writer_mark(orders[i], WRITER_ROW, true);
    }
    METRIC_INC(writer_commits_total);
}

/* Invariant: the row's total grows by the units of the orders that this transaction inserts live,
   and by no others, and only under a version that was read. */
static bool is_whole(const group_t *group)
{
    uint64_t units = 0;
    for (unsigned i = 0; i < group->count; ++i)
        if (writer_order_is_live(group->orders[i]))
            units += group->orders[i]->order.quantity;
    return group->units == units && (units == 0 || group->row != NULL);
}

/* Numbers of rows that the two important statements have changed. */
typedef struct {
    uint64_t inserted, updated;
} changed_rows_t;

/* One text: begin, INSERT of the orders, one of reminders if any are held, UPDATE. If the rows are
   locked already, the transaction is open, and a START would commit it. */
static result_t run_statements(writer_core_t *core, writer_order_t **orders, unsigned count,
                               group_t *groups, unsigned groups_count, bool open,
                               changed_rows_t *out)
{
    uint64_t affected[4] = {0, 0, 0, 0};
    for (unsigned i = 0; i < groups_count; ++i)
        assert(is_whole(&groups[i]));
    sql_reset(&core->sql);
    sql_add(&core->sql, open ? "DO 0; " : "START TRANSACTION; ");
    writer_add_insert(&core->sql, orders, count, remote_clock_now_ms(core->clock));
    bool reminders = writer_add_reminders(&core->sql, orders, count);
    writer_add_update(&core->sql, groups, groups_count);
    result_t result = db_exec(core->db, &core->sql, affected, 4);
    *out = (changed_rows_t){affected[1], affected[reminders ? 3 : 2]};
    return result;
}

/* COMMIT is sent only if every order was inserted and every hot row changed. Duplicates are
   resolved before the count of changed rows is used: the UPDATE counted their units too, so it may
   have failed for that alone. *changed: the rows that were just read have changed the batch. */
static writer_attempt_t attempt(writer_core_t *core, writer_order_t **orders, unsigned count,
                                group_t *groups, writer_failure_kind_t *failure, bool *changed)
{
    changed_rows_t rows;
    bool lock = core->misses >= MISSES_BEFORE_LOCK;
    if (HASH_COUNT(core->rows) > HOT_ROWS_MAX)
        forget_rows(core);
    unsigned groups_count = make_groups(orders, count, groups), hits;
    db_drop_distrusted(core->db);
    result_t result = db_connect(core->db);
    if (result == RESULT_DONE)
        result = read_clock_if_old(core);
    if (result == RESULT_DONE && lock)
        result = db_run(core->db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = find_versions(core, groups, groups_count, lock, changed);
    if (result != RESULT_DONE)
        return fail(core, result, failure);
    if (*changed)
        return again(core);
    FAILPOINT("writer_versions_found");
    result = run_statements(core, orders, count, groups, groups_count, lock, &rows);
    if (result != RESULT_DONE)
        return fail(core, result, failure);
    if (rows.inserted != count) {
        db_rollback(core->db);
        result = resolve_duplicates(core, orders, count, &hits);
        if (result != RESULT_DONE)
            return fail(core, result, failure);
        /* No hit: no row has them, so two orders of this batch share an id or a key. */
        return hits != 0 ? ATTEMPT_AGAIN : ATTEMPT_SPLIT;
    }
    if (rows.updated != writer_groups_live(groups, groups_count)) {
        forget_rows_of(core, groups, groups_count);
        /* After MISSES_BEFORE_LOCK misses in a row the next attempt locks the rows before it reads
           them, so that other writers cannot win for ever. */
        ++core->misses;
        return again(core);
    }
    core->misses = 0;
    core->locked = 0;
    FAILPOINT("writer_before_commit");
    result = db_commit(core->db);
    if (result != RESULT_DONE)
        return fail(core, result, failure);
    FAILPOINT("writer_after_commit");
    committed(groups, groups_count, orders, count);
    return ATTEMPT_COMMITTED;
}

/* A refusal counts the units of the orders before it in the batch. It holds for the attempt after
   the read, which writes them with it under the version that was read, and for no other. */
writer_attempt_t writer_attempt(writer_core_t *core, writer_order_t **orders, unsigned count,
                                group_t *groups, writer_failure_kind_t *failure)
{
    bool changed = false;
    writer_attempt_t outcome = attempt(core, orders, count, groups, failure, &changed);
    bool read_anew = outcome == ATTEMPT_AGAIN && changed;
    if (outcome != ATTEMPT_COMMITTED && !read_anew)
        writer_forget_refusals(orders, count);
    return outcome;
}
