#include "work/writer_text.h"

#include <assert.h>

#include "store/expiry.h"

/* The columns that the rows of a batch need besides those that all have. */
typedef struct {
    bool held, digested, rejected;
} shape_t;

static shape_t shape_of(writer_order_t **orders, unsigned count)
{
    shape_t shape = {false, false, false};
    for (unsigned i = 0; i < count; ++i) {
        bool rejected = !writer_order_is_live(orders[i]);
        shape.rejected = shape.rejected || rejected;
        shape.held = shape.held || orders[i]->hold_seconds != 0;
        /* The digest distinguishes a repeat from another request: for an order with a key, and for
           an order that lost its key when it was rejected. */
        shape.digested = shape.digested || rejected || orders[i]->key.p != NULL;
    }
    return shape;
}

static void add_order(rows_t *rows, writer_order_t *o, const shape_t *shape, uint64_t now_ms)
{
    order_t *order = &o->order;
    bool live = writer_order_is_live(o), held = live && o->hold_seconds != 0;
    if (live)
        order->state = held ? ORDER_HELD : ORDER_CONFIRMED;
    order->created_at_ms = now_ms;
    order->expires_at_ms = held ? now_ms + (uint64_t)o->hold_seconds * 1000 : 0;
    rows_add_order_id(rows, &order->id);
    rows_add_bytes(rows, order_sku(order));
    rows_add_bytes(rows, order_buyer(order));
    rows_add_u64(rows, order->quantity);
    rows_add_word(rows, order_state_name(order->state));
    rows_add_u64(rows, o->admitted_epoch);
    rows_add_time(rows, now_ms);
    rows_add_time(rows, now_ms);
    if (shape->held)
        rows_add_time(rows, order->expires_at_ms);
    if (shape->digested) {
        rows_add_bytes(rows, o->key);
        rows_add_u64(rows, order->digest);
    }
    if (shape->rejected) {
        rows_add_word(rows, live ? NULL : problem_code(order->reject_code));
        rows_add_order_id(rows, &order->original_id);
    }
}

static void add_columns(rows_t *rows, const shape_t *shape)
{
    rows_column(rows, "order_id", ROWS_BYTES);
    rows_column(rows, "sku", ROWS_BYTES);
    rows_column(rows, "buyer_id", ROWS_BYTES);
    rows_column(rows, "quantity", ROWS_U64);
    rows_column(rows, "state", ROWS_WORD);
    rows_column(rows, "epoch", ROWS_U64);
    rows_column(rows, "created_at", ROWS_TIME);
    rows_column(rows, "updated_at", ROWS_TIME);
    if (shape->held)
        rows_column(rows, "expires_at", ROWS_TIME);
    if (shape->digested) {
        rows_column(rows, "idempotency_key", ROWS_BYTES);
        rows_column(rows, "request_digest", ROWS_U64);
    }
    if (shape->rejected) {
        rows_column(rows, "reject_code", ROWS_WORD);
        rows_column(rows, "original_order_id", ROWS_BYTES);
    }
}

void writer_make_rows(rows_t *rows, writer_order_t **orders, unsigned count, uint64_t now_ms)
{
    shape_t shape = shape_of(orders, count);
    /* A duplicate changes nothing, and the count of rows shows it; any other error is still an
       error. */
    rows_begin(rows, "orders", " ON DUPLICATE KEY UPDATE order_id = orders.order_id", count);
    add_columns(rows, &shape);
    for (unsigned i = 0; i < count; ++i)
        add_order(rows, orders[i], &shape, now_ms);
}

bool writer_add_reminders(sql_t *sql, const char *separator, writer_order_t **orders,
                          unsigned count)
{
    unsigned held = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (orders[i]->order.state != ORDER_HELD)
            continue;
        sql_add(sql, held == 0 ? separator : "");
        reminder_add(sql, held++, &orders[i]->order);
    }
    if (held != 0)
        reminder_end(sql);
    return held != 0;
}

static void add_update_of_one(sql_t *sql, const writer_group_t *group)
{
    const writer_order_t *first = group->orders[0];
    sql_add(sql,
            "UPDATE " SQL_INVENTORY_BY_KEY
            " SET allocated_total = allocated_total + %u, version = version + 1, "
            "updated_at = NOW(3) WHERE sku = %s AND bucket = %u AND version = %u AND epoch = %u "
            "AND allocated_total - released_total + %u <= total",
            group->units, order_sku(&first->order), BUCKET_ONLY, group->version, first->epoch,
            group->units);
}

/* A statement costs the server many times as much before it changes a row as a further row does:
   hence one statement for all. The join follows the order of `intended`, so rows are locked in the
   order of `groups`. */
static void add_update_of_many(sql_t *sql, const writer_group_t *groups, unsigned count)
{
    bool any = false;
    sql_add(sql, "UPDATE (");
    for (unsigned i = 0; i < count; ++i) {
        const writer_group_t *group = &groups[i];
        if (group->units == 0)
            continue;
        sql_add(sql,
                any ? " UNION ALL SELECT %s,%u,%u,%u"
                    : "SELECT %s AS sku, %u AS units, %u AS version, %u AS epoch",
                order_sku(&group->orders[0]->order), group->units, group->version,
                group->orders[0]->epoch);
        any = true;
    }
    sql_add(sql,
            ") AS intended STRAIGHT_JOIN " SQL_INVENTORY_BY_KEY " "
            "SET inventory.allocated_total = inventory.allocated_total + intended.units, "
            "inventory.version = inventory.version + 1, inventory.updated_at = NOW(3) "
            "WHERE inventory.sku = intended.sku AND inventory.bucket = %u "
            "AND inventory.version = intended.version AND inventory.epoch = intended.epoch "
            "AND inventory.allocated_total - inventory.released_total + intended.units "
            "<= inventory.total",
            BUCKET_ONLY);
}

unsigned writer_groups_live(const writer_group_t *groups, unsigned count)
{
    unsigned live = 0;
    for (unsigned i = 0; i < count; ++i)
        live += groups[i].units != 0;
    return live;
}

void writer_add_update(sql_t *sql, const writer_group_t *groups, unsigned count)
{
    unsigned live = writer_groups_live(groups, count);
    assert(live != 0);
    if (live > 1) {
        add_update_of_many(sql, groups, count);
        return;
    }
    while (groups->units == 0)
        ++groups;
    add_update_of_one(sql, groups);
}
