/*
 * One attempt to write a batch: a transaction of one text, then COMMIT. A large batch inserts its
 * orders in bulk, and the rest of it is a text of its own.
 *
 *   alone       versions from the copies of the rows; INSERTs and UPDATE in one text
 *   a miss      no row had its version: the INSERTs stay, the rows are locked and read again, and
 *               the UPDATE alone is repeated
 *   contended   other processes change the row: INSERTs, then the lock, then the UPDATE
 *   lock first  a read has changed the batch (stale orders, orders without room): what is written
 *               is decided under the lock, before the INSERTs
 *
 * Rows are locked in the order of their skus, and after the orders, as every transaction that moves
 * an order does.
 */
#include "work/writer_batch.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "metrics/metrics.h"
#include "store/orders.h"

/* After another transaction has changed a row, it is locked before its UPDATE for as many batches,
   counted from the last time that it was found changed. */
#define CONTENDED_BATCHES 32
/* The longest time for which a batch waits because others hold the locks. */
#define LOCK_WAIT_MAX_US 20000
/* At most this many rows are kept; beyond it all are dropped, which costs one read each. */
#define HOT_ROWS_MAX 65536
/* The shard's clock is read again after this time. */
#define CLOCK_AGE_MAX_MS 1000

struct hot_row {
    UT_hash_handle hh;
    uint64_t version, epoch;
    unsigned contended; /* batches for which the row is locked before its UPDATE */
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
    rows_free(&core->inserts);
}

static hot_row_t *find_row(writer_core_t *core, str_t sku)
{
    hot_row_t *row;
    HASH_FIND(hh, core->rows, sku.p, sku.n, row);
    return row;
}

static hot_row_t *remember_row(writer_core_t *core, const item_t *item)
{
    str_t sku = item_sku(item);
    hot_row_t *row = find_row(core, sku);
    if (row == NULL) {
        row = alloc_zero(1, sizeof(*row));
        row->sku = item->ref.sku;
        HASH_ADD(hh, core->rows, sku.bytes, row->sku.length, row);
    } else if (row->version != item->version) {
        row->contended = CONTENDED_BATCHES;
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

/* Reads the rows of the groups that have none yet, and locks them if `lock`. *changed: what was
   read has changed the batch, which must begin again. */
static result_t read_rows(writer_core_t *core, group_t *groups, unsigned groups_count,
                          item_lock_t lock, bool *changed)
{
    reading_t reading = {core, groups, groups_count, false};
    str_t *skus = alloc_zero(groups_count, sizeof(*skus));
    unsigned count = 0;
    for (unsigned i = 0; i < groups_count; ++i)
        if (groups[i].units != 0 && groups[i].row == NULL)
            skus[count++] = order_sku(&groups[i].orders[0]->order);
    result_t result = RESULT_DONE;
    if (count != 0)
        result = item_read_many(core->db, &core->sql, skus, count, lock, on_row, &reading);
    for (unsigned i = 0; i < groups_count && result == RESULT_DONE; ++i)
        if (groups[i].units != 0 && groups[i].row == NULL && writer_check_group(&groups[i], NULL))
            reading.changed = true;
    free(skus);
    *changed = reading.changed;
    return result;
}

/* Gives each group the copy of its row. Returns true if another process changes some of the rows:
   then all of them are locked before the UPDATE. */
static bool find_copies(writer_core_t *core, group_t *groups, unsigned count)
{
    bool contended = false;
    for (unsigned i = 0; i < count; ++i) {
        const writer_order_t *first = groups[i].orders[0];
        hot_row_t *row = find_row(core, order_sku(&first->order));
        bool known = row != NULL && row->epoch == first->epoch;
        groups[i].row = known ? row : NULL;
        groups[i].version = known ? row->version : 0;
        contended = contended || (known && groups[i].units != 0 && row->contended != 0);
    }
    return contended;
}

/* Locks and reads the rows of all groups, in the order of their skus. */
static result_t lock_rows(writer_core_t *core, group_t *groups, unsigned count, bool *changed)
{
    for (unsigned i = 0; i < count; ++i)
        groups[i].row = NULL;
    return read_rows(core, groups, count, ITEM_LOCK_WAIT, changed);
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
            order_sku(row), order_buyer(row), (uint64_t)row->quantity, order->admitted_epoch,
            &row->id);
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

static void committed(group_t *groups, unsigned groups_count, writer_order_t **orders,
                      unsigned count)
{
    for (unsigned i = 0; i < groups_count; ++i) {
        if (groups[i].units == 0)
            continue;
        /* The UPDATE raised it by one, under the row's lock: the next batch need not read it. */
        ++groups[i].row->version;
        groups[i].row->contended -= groups[i].row->contended != 0;
    }
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

/* What comes next in an attempt. */
typedef enum {
    STEP_LOCK,   /* the orders are inserted; no row of an item is changed or locked yet */
    STEP_COMMIT, /* every order is inserted and every row changed */
    STEP_AGAIN,  /* roll back, and begin again */
    STEP_SPLIT,
    STEP_FAILED
} step_t;

typedef struct {
    writer_core_t *core;
    writer_order_t **orders;
    unsigned count;
    group_t *groups;
    unsigned groups_count;
    bool changed;    /* rows that were read have changed the batch */
    result_t result; /* of STEP_FAILED */
} transaction_t;

static step_t failed(transaction_t *t, result_t result)
{
    t->result = result;
    return STEP_FAILED;
}

static unsigned rows_to_change(const transaction_t *t)
{
    return writer_groups_live(t->groups, t->groups_count);
}

static step_t resolve(transaction_t *t)
{
    unsigned hits;
    db_rollback(t->core->db);
    result_t result = resolve_duplicates(t->core, t->orders, t->count, &hits);
    if (result != RESULT_DONE)
        return failed(t, result);
    /* No hit: no row has them, so two orders of this batch share an id or a key. */
    return hits != 0 ? STEP_AGAIN : STEP_SPLIT;
}

/* Another transaction has changed some of the rows since they were read; which is not known. */
static step_t missed(transaction_t *t, uint64_t updated)
{
    METRIC_INC(writer_version_misses_total);
    for (unsigned i = 0; i < t->groups_count; ++i)
        if (t->groups[i].units != 0)
            t->groups[i].row->contended = CONTENDED_BATCHES;
    /* An UPDATE that changed some of the rows has locked those, so that the others cannot be locked
       in their order any more, and a second UPDATE would count units twice. */
    return updated == 0 ? STEP_LOCK : STEP_AGAIN;
}

static void add_update(transaction_t *t, const char *separator)
{
    for (unsigned i = 0; i < t->groups_count; ++i)
        assert(is_whole(&t->groups[i]));
    if (rows_to_change(t) == 0)
        return;
    sql_add(&t->core->sql, separator);
    writer_add_update(&t->core->sql, t->groups, t->groups_count);
}

static step_t next_of_written(transaction_t *t, bool update, uint64_t updated)
{
    if (!update)
        return STEP_LOCK;
    return updated == rows_to_change(t) ? STEP_COMMIT : missed(t, updated);
}

/* One text for all of it. Duplicates are resolved before the count of changed rows is used: the
   UPDATE counted their units too, so it may have failed for that alone. */
static step_t write_as_text(transaction_t *t, bool begin, bool update)
{
    writer_core_t *core = t->core;
    uint64_t affected[4] = {0, 0, 0, 0};
    sql_reset(&core->sql);
    sql_add(&core->sql, begin ? "START TRANSACTION; " : "DO 0; ");
    rows_add_insert(&core->sql, &core->inserts);
    bool reminders = writer_add_reminders(&core->sql, "; ", t->orders, t->count);
    if (update)
        add_update(t, "; ");
    result_t result = db_exec(core->db, &core->sql, affected, 4);
    if (result != RESULT_DONE)
        return failed(t, result);
    if (affected[1] != t->count)
        return resolve(t);
    return next_of_written(t, update, affected[reminders ? 3 : 2]);
}

/* The orders in bulk, then one text for the rest. */
static step_t write_in_bulk(transaction_t *t, bool begin, bool update)
{
    writer_core_t *core = t->core;
    uint64_t inserted = 0, affected[2] = {0, 0};
    result_t result = begin ? db_run(core->db, "START TRANSACTION") : RESULT_DONE;
    if (result == RESULT_DONE)
        result = db_insert_rows(core->db, &core->inserts, &inserted);
    if (result != RESULT_DONE)
        return failed(t, result);
    if (inserted != t->count)
        return resolve(t);
    METRIC_INC(writer_bulk_inserts_total);
    FAILPOINT("writer_inserted_in_bulk");
    sql_reset(&core->sql);
    bool reminders = writer_add_reminders(&core->sql, "", t->orders, t->count);
    if (update)
        add_update(t, reminders ? "; " : "");
    if (core->sql.n != 0)
        result = db_exec(core->db, &core->sql, affected, 2);
    return result != RESULT_DONE ? failed(t, result)
                                 : next_of_written(t, update, affected[reminders ? 1 : 0]);
}

/* Begins the transaction if `begin`, inserts the orders and the reminders of those that are held,
   and updates the rows if `update`. */
static step_t write_batch(transaction_t *t, bool begin, bool update)
{
    writer_core_t *core = t->core;
    unsigned bulk_min = core->config->mysql.writer_bulk_min;
    writer_make_rows(&core->inserts, t->orders, t->count, remote_clock_now_ms(core->clock));
    return bulk_min != 0 && t->count >= bulk_min && db_takes_rows(core->db)
               ? write_in_bulk(t, begin, update)
               : write_as_text(t, begin, update);
}

/* Half of the time that was waited in vain is waited before the next batch; if nothing was, the
   time becomes shorter by a quarter. */
static void note_lock_wait(writer_core_t *core, uint64_t waited_us)
{
    uint64_t us = core->lock_wait_us - core->lock_wait_us / 4 + waited_us / 2;
    core->lock_wait_us = us < LOCK_WAIT_MAX_US ? us : LOCK_WAIT_MAX_US;
}

uint64_t writer_lock_wait_us(const writer_core_t *core)
{
    return core->lock_wait_us;
}

/* After the INSERTs, which stay: locks the rows, then changes them under the versions that they
   have now. */
static step_t update_locked(transaction_t *t)
{
    writer_core_t *core = t->core;
    uint64_t updated = 0;
    FAILPOINT("writer_before_lock");
    uint64_t begun_us = clock_mono_us();
    result_t result = lock_rows(core, t->groups, t->groups_count, &t->changed);
    note_lock_wait(core, clock_mono_us() - begun_us);
    if (result != RESULT_DONE)
        return failed(t, result);
    if (t->changed)
        return STEP_AGAIN;
    FAILPOINT("writer_rows_locked");
    sql_reset(&core->sql);
    add_update(t, "");
    result = db_exec(core->db, &core->sql, &updated, 1);
    if (result != RESULT_DONE)
        return failed(t, result);
    if (updated == rows_to_change(t))
        return STEP_COMMIT;
    missed(t, updated);
    return STEP_AGAIN;
}

/* Before the INSERTs: locks the rows and decides on them which orders are written, and how. */
static step_t write_locked(transaction_t *t)
{
    writer_core_t *core = t->core;
    result_t result = db_run(core->db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = lock_rows(core, t->groups, t->groups_count, &t->changed);
    if (result != RESULT_DONE)
        return failed(t, result);
    t->count = writer_drop_marked(t->orders, t->count);
    if (t->count == 0)
        return STEP_AGAIN;
    t->groups_count = make_groups(t->orders, t->count, t->groups);
    find_copies(core, t->groups, t->groups_count);
    FAILPOINT("writer_rows_locked");
    step_t step = write_batch(t, false, true);
    return step == STEP_LOCK ? STEP_AGAIN : step;
}

static step_t write_unlocked(transaction_t *t)
{
    bool contended = find_copies(t->core, t->groups, t->groups_count);
    if (!contended) {
        result_t result =
            read_rows(t->core, t->groups, t->groups_count, ITEM_LOCK_NONE, &t->changed);
        if (result != RESULT_DONE)
            return failed(t, result);
    }
    if (t->changed)
        return STEP_AGAIN;
    FAILPOINT("writer_versions_found");
    step_t step = write_batch(t, true, !contended);
    if (step == STEP_COMMIT)
        note_lock_wait(t->core, 0);
    return step == STEP_LOCK ? update_locked(t) : step;
}

static step_t commit(transaction_t *t)
{
    t->core->locked = 0;
    FAILPOINT("writer_before_commit");
    result_t result = db_commit(t->core->db);
    if (result != RESULT_DONE)
        return failed(t, result);
    FAILPOINT("writer_after_commit");
    committed(t->groups, t->groups_count, t->orders, t->count);
    return STEP_COMMIT;
}

/* COMMIT is sent only if every order was inserted and every row changed. */
static step_t run(transaction_t *t)
{
    writer_core_t *core = t->core;
    if (HASH_COUNT(core->rows) > HOT_ROWS_MAX)
        forget_rows(core);
    db_drop_distrusted(core->db);
    result_t result = db_connect(core->db);
    if (result == RESULT_DONE)
        result = read_clock_if_old(core);
    if (result != RESULT_DONE)
        return failed(t, result);
    step_t step = core->lock_first ? write_locked(t) : write_unlocked(t);
    return step == STEP_COMMIT ? commit(t) : step;
}

static writer_attempt_t outcome_of(transaction_t *t, step_t step, writer_failure_kind_t *failure)
{
    switch (step) {
    case STEP_COMMIT:
        return ATTEMPT_COMMITTED;
    case STEP_SPLIT:
        return ATTEMPT_SPLIT;
    case STEP_FAILED:
        *failure = kind_of(t->core->db, t->result);
        db_rollback(t->core->db);
        return ATTEMPT_FAILED;
    default:
        db_rollback(t->core->db);
        return ATTEMPT_AGAIN;
    }
}

/* A refusal counts the units of the orders before it in the batch, in the row as it was read: it
   holds only while that row is locked. So what a read without a lock has changed is decided again,
   under the lock. */
writer_attempt_t writer_attempt(writer_core_t *core, writer_order_t **orders, unsigned count,
                                group_t *groups, writer_failure_kind_t *failure)
{
    transaction_t t = {.core = core, .orders = orders, .count = count, .groups = groups};
    t.groups_count = make_groups(orders, count, groups);
    writer_attempt_t outcome = outcome_of(&t, run(&t), failure);
    core->lock_first = outcome == ATTEMPT_AGAIN && t.changed;
    if (outcome != ATTEMPT_COMMITTED)
        writer_forget_refusals(orders, count);
    return outcome;
}
