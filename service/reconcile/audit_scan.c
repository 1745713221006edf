#include "base/failpoint.h"
#include "reconcile/audit_parts.h"
#include "reconcile/audit_sums.h"
#include "sale/order.h"

#include <stdlib.h>

/*
 * The scan over all orders. It reads them in the order of their ids, which is that of the rows on
 * disk, and adds up here rather than in a GROUP BY, for which the server would copy each row into a
 * temporary table. So an order costs about 1 us of the server and half of that here.
 *
 * It reads in chunks. A chunk bounds the memory for its rows and the duration of a statement; a
 * stop is noticed between two. An invariant that joins two rows does not depend on chunks: sums
 * live as long as the scan, and what must be looked up is looked up in the whole snapshot.
 */
#define CHUNK_ORDERS 10000
/* Held orders that are compared with all reminders at once: 32 bytes each. */
#define HELD_MAX 1000000

enum { ID, SKU, BUCKET, BUYER, QUANTITY, STATE, KEY, COLUMNS_OF_ALL };

/* Units to be added to the sum of a name. */
typedef struct {
    sum_name_t name;
    uint32_t units, bound;
    order_id_t order;
    bool is_key, fresh;
} addition_t;

typedef struct {
    audit_t *audit;
    sums_t sums;
    addition_t *additions; /* of this chunk; room for two an order */
    size_t additions_count;
    bool first;         /* of several scans: all but the sums is checked in the first */
    audit_item_t *item; /* of the last order that had one */
    order_id_t last;    /* order that was read, if any was */
    int64_t done;       /* orders of this scan */
    uint64_t chunk, held_max;
    /* Each column costs the server some 50 ns an order, so these are read only if they matter. */
    unsigned deadline_column, epoch_column; /* 0: not read */
} scan_t;

/* Bounds that a test makes small. */
static uint64_t bound_of(unsigned failpoint, uint64_t usual)
{
    return failpoint != 0 ? failpoint : usual;
}

/* --- one order --- */

static bool is_live(order_state_t state)
{
    return state == ORDER_HELD || state == ORDER_CONFIRMED;
}

/* The next order is often of the same item. */
static audit_item_t *find_item(scan_t *scan, str_t sku, unsigned bucket)
{
    audit_item_t *at = scan->item;
    if (at != NULL && at->item.ref.bucket == bucket && str_eq(item_sku(&at->item), sku))
        return at;
    at = sku.p == NULL ? NULL : audit_find_item(scan->audit, sku, bucket);
    scan->item = at != NULL ? at : scan->item;
    return at;
}

static void keep_id(audit_ids_t *list, const order_id_t *id)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity * 2 + 64;
        list->ids = alloc_resize(list->ids, list->capacity, sizeof(*list->ids));
    }
    list->ids[list->count++] = *id;
}

static void keep_held(audit_open_t *open, const order_id_t *id, uint64_t deadline_ms)
{
    if (open->held_count == open->held_capacity) {
        open->held_capacity = open->held_capacity * 2 + 64;
        open->held = alloc_resize(open->held, open->held_capacity, sizeof(*open->held));
    }
    open->held[open->held_count++] = (audit_held_t){.id = *id, .deadline_ms = deadline_ms};
}

/* Is the limit one for this order? Orders that were admitted before it was lowered stay, and so do
   those that the rebuild carried over. Their epoch says so. That of an order whose service died
   does not if its record was carried; but an epoch is the shard's clock in ms when it began (or a
   little above), so it can be compared with the time in the order's id. */
static bool limit_holds_for(const scan_t *scan, const audit_item_t *at, const order_id_t *id)
{
    return at->limit_epoch == 0 ||
           (db_u64(scan->audit->db, scan->epoch_column) >= at->limit_epoch &&
            order_id_time_ms(id) >= at->limit_epoch);
}

static void add_to_buyer(scan_t *scan, const audit_item_t *at, const order_id_t *id)
{
    const db_t *db = scan->audit->db;
    scan->additions[scan->additions_count++] = (addition_t){
        .name = sums_name(&scan->sums, db_bytes(db, SKU), db_bytes(db, BUYER), STR_NONE),
        .units = (uint32_t)db_u64(db, QUANTITY),
        .bound = at->item.terms.per_buyer_limit,
        .order = *id,
        .fresh = limit_holds_for(scan, at, id)};
}

static void add_to_key(scan_t *scan, const order_id_t *id)
{
    const db_t *db = scan->audit->db;
    scan->additions[scan->additions_count++] = (addition_t){
        .name = sums_name(&scan->sums, db_bytes(db, SKU), db_bytes(db, BUYER), db_bytes(db, KEY)),
        .units = 1,
        .bound = 1,
        .order = *id,
        .is_key = true,
        .fresh = true};
}

static void note_live(audit_t *audit, audit_item_t *at, uint32_t quantity)
{
    ++audit->live_orders;
    audit->live_units += quantity;
    if (at == NULL) {
        audit->strays = true;
        return;
    }
    ++at->live_orders;
    at->live_units += quantity;
}

/* What is checked of each order once, however many scans there are. */
static void note_once(const scan_t *scan, audit_item_t *at, order_state_t state,
                      const order_id_t *id)
{
    audit_t *audit = scan->audit;
    const db_t *db = audit->db;
    unsigned deadline = scan->deadline_column;
    ++audit->orders;
    if (is_live(state))
        note_live(audit, at, (uint32_t)db_u64(db, QUANTITY));
    audit->invariants[AUDIT_D].checked += !db_is_null(db, KEY);
    if (state == ORDER_REJECTED)
        keep_id(&audit->open.rejected, id);
    if (state == ORDER_HELD) {
        ++audit->invariants[AUDIT_E].checked;
        keep_held(&audit->open, id, deadline == 0 ? 0 : db_time_ms(db, deadline));
    }
}

static void note_order(scan_t *scan)
{
    audit_t *audit = scan->audit;
    const db_t *db = audit->db;
    order_id_t id = db_order_id(db, ID);
    order_state_t state = order_state_of_name(db_bytes(db, STATE));
    unsigned bucket = (unsigned)db_u64(db, BUCKET);
    audit_item_t *at = find_item(scan, db_bytes(db, SKU), bucket);
    if (scan->first)
        note_once(scan, at, state, &id);
    if (bucket != BUCKET_ONLY) /* a limit is that of all parts of an item */
        at = find_item(scan, db_bytes(db, SKU), BUCKET_ONLY);
    if (is_live(state) && at != NULL && at->item.terms.per_buyer_limit != 0)
        add_to_buyer(scan, at, &id);
    if (!db_is_null(db, KEY))
        add_to_key(scan, &id);
    scan->last = id;
    ++scan->done;
}

/* --- a chunk of orders --- */

static void add_one(scan_t *scan, const addition_t *addition)
{
    audit_t *audit = scan->audit;
    unsigned found =
        sums_add(&scan->sums, addition->name, addition->units, addition->bound, addition->fresh);
    if (addition->is_key) {
        if (found & SUM_SUSPECT)
            keep_id(&audit->open.keys, &addition->order);
        return;
    }
    /* Each buyer past a limit counts as grandfathered, unless one of the orders disproves it. */
    audit->grandfathered += (found & SUM_PASSED) != 0;
    if (found & SUM_SUSPECT) {
        --audit->grandfathered;
        keep_id(&audit->open.buyers, &addition->order);
    }
}

#define PREFETCHED 16

static void add_up(scan_t *scan)
{
    for (size_t i = 0; i < scan->additions_count; ++i) {
        if (i + PREFETCHED < scan->additions_count)
            sums_prefetch(&scan->sums, scan->additions[i + PREFETCHED].name);
        add_one(scan, &scan->additions[i]);
    }
    scan->additions_count = 0;
}

static result_t read_chunk(scan_t *scan, uint64_t *count)
{
    db_t *db = scan->audit->db;
    sql_t *sql = &scan->audit->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT order_id, sku, bucket, buyer_id, quantity, state, idempotency_key");
    if (scan->deadline_column != 0)
        sql_add(sql, ", expires_at");
    if (scan->epoch_column != 0)
        sql_add(sql, ", epoch");
    sql_add(sql, " FROM orders FORCE INDEX (PRIMARY) ");
    if (scan->done != 0)
        sql_add(sql, "WHERE order_id > %s ", audit_id_bytes(&scan->last));
    sql_add(sql, "ORDER BY order_id LIMIT %u", scan->chunk);
    result_t result = db_query(db, sql);
    for (*count = 0; result == RESULT_DONE && db_next(db); ++*count)
        note_order(scan);
    add_up(scan);
    return result;
}

/* --- all orders --- */

/* Closes what the chunk has left open. */
static result_t check_open(scan_t *scan, bool end)
{
    audit_t *audit = scan->audit;
    result_t result = audit_check_lists(audit);
    if (result == RESULT_DONE && (end || audit->open.held_count >= scan->held_max))
        result = audit_check_held(audit);
    return result;
}

static result_t scan_once(scan_t *scan)
{
    audit_t *audit = scan->audit;
    uint64_t count = scan->chunk;
    result_t result = RESULT_DONE;
    scan->done = 0;
    audit_pace_begin(&audit->pace);
    while (result == RESULT_DONE && count == scan->chunk && !atomic_load(&audit->progress->stop)) {
        if ((result = read_chunk(scan, &count)) == RESULT_DONE)
            result = check_open(scan, count != scan->chunk);
        atomic_store(&audit->progress->done, scan->done);
        if (result == RESULT_DONE && count == scan->chunk)
            result = audit_pace(&audit->pace, audit->db, &audit->sql, count);
    }
    scan->first = false;
    return result;
}

result_t audit_scan(audit_t *audit, int64_t orders)
{
    scan_t scan = {.audit = audit,
                   .first = true,
                   .chunk = bound_of(FAILPOINT_NUMBER("audit_chunk"), CHUNK_ORDERS),
                   .held_max = bound_of(FAILPOINT_NUMBER("audit_held"), HELD_MAX)};
    unsigned columns = COLUMNS_OF_ALL;
    /* Without any reminder, each held order lacks one, whatever its deadline. */
    scan.deadline_column = audit->reminders ? columns++ : 0;
    scan.epoch_column = audit->limits_lowered ? columns : 0;
    sums_init(&scan.sums, bound_of(FAILPOINT_NUMBER("audit_sums"), audit->sums_bytes));
    scan.additions = alloc_zero(scan.chunk * 2, sizeof(*scan.additions));
    audit_begin_part(audit, "orders", orders);
    result_t result = scan_once(&scan);
    while (result == RESULT_DONE && sums_next(&scan.sums)) {
        FAILPOINT("audit_scans_again");
        audit_begin_part(audit, "limits and keys", audit->orders);
        result = scan_once(&scan);
    }
    free(scan.additions);
    sums_free(&scan.sums);
    return result;
}
