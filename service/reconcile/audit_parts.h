/*
 * Types and helpers that the parts of an audit share; private to reconcile/audit*.c.
 *
 * An audit_t belongs to one shard and to one thread; all functions here block on servers or run on
 * that thread only. audit_store.c checks the shard's rows (A, C, D, E), with the help of
 * audit_scan.c, which reads all orders once, and audit_lookup.c, which reads what the scan has
 * left open. It leaves the items in `shard_items` for audit_gate.c (B).
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_PARTS_H
#define HOLDFAST_RECONCILE_AUDIT_PARTS_H

#include <cjson/cJSON.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "gate/gate_sync.h"
#include "reconcile/audit_pace.h"
#include "store/items.h"

typedef enum { AUDIT_A, AUDIT_B, AUDIT_C, AUDIT_D, AUDIT_E, AUDIT_INVARIANTS } audit_id_t;

typedef struct {
    int64_t checked;          /* items, or orders */
    int64_t violations_total; /* all; `violations` has only the first ones */
    cJSON *violations;
    char error[320]; /* not "": something could not be read */
} invariant_t;

typedef struct {
    item_t item;
    uint64_t limit_epoch;            /* that last lowered its limit; 0: none */
    int64_t live_orders, live_units; /* sums over its orders, of the same snapshot */
} audit_item_t;

typedef struct {
    order_id_t *ids;
    size_t count, capacity;
} audit_ids_t;

typedef struct {
    order_id_t id;
    uint64_t deadline_ms;
    bool reminded; /* a reminder that is not too late was found */
} audit_held_t;

/* What the scan leaves open until the connection is free: orders that are to be looked up. */
typedef struct {
    audit_ids_t buyers;   /* the buyer of each may be past a limit */
    audit_ids_t keys;     /* another order may have the key of each */
    audit_ids_t rejected; /* each may have lost its key to an order that is not there */
    audit_held_t *held;   /* by id */
    size_t held_count, held_capacity;
} audit_open_t;

/* The progress of one shard. The shard's thread writes it, except `stop`; any thread reads it. */
typedef struct {
    _Atomic(const char *) part; /* a literal */
    _Atomic int64_t done, of;   /* orders or items; `of` is an estimate, 0: not known */
    atomic_bool stop; /* set by the thread that runs the audit: end soon, with an error if the part
                         is not whole */
} audit_progress_t;

typedef struct {
    invariant_t invariants[AUDIT_INVARIANTS];
    int64_t items, orders, live_orders, live_units, unsettled;
    int64_t pending_rebuild, busy; /* of B */
    int64_t grandfathered;         /* of C */
    bool strays;                   /* there are live orders of items that have no row */
    bool limits_lowered;           /* of some item: its orders are compared by their epoch */
    bool reminders;                /* there are some */
    size_t sums_bytes;             /* memory for the sums of buyers and keys */
    audit_progress_t *progress;
    gate_sync_t *gate;
    sql_t sql; /* scratch */
    db_t *db;
    audit_item_t *shard_items; /* by sku and bucket */
    size_t shard_items_count, shard_items_capacity;
    audit_open_t open;
    audit_pace_t pace;
} audit_t;

/* Counts a violation of `id`. Takes ownership of `numbers`; drops them if the list is full. */
void audit_violation(audit_t *audit, audit_id_t id, cJSON *numbers);
/* Records that a part of `id` could not be read. Only the first error of an invariant is kept. */
void audit_cannot_read(audit_t *audit, audit_id_t id, const char *error);
/* For %s in a statement: any id that a row has, also that of zeros, for which %o writes NULL. */
static inline str_t audit_id_bytes(const order_id_t *id)
{
    return (str_t){(const char *)id->bytes, sizeof(id->bytes)};
}
/* Makes {"sku", "bucket"}; the caller owns it. */
cJSON *audit_numbers_of(str_t sku, uint64_t bucket);
/* Adds a text from a store as a member; \xNN replaces bytes that are not printable ASCII. */
void audit_add_text(cJSON *object, const char *name, str_t text);

void audit_add_id(cJSON *object, const char *name, order_id_t id);

void audit_begin_part(audit_t *audit, const char *part, int64_t of);

/* The item of an order, from shard_items; NULL: it has no row. */
audit_item_t *audit_find_item(audit_t *audit, str_t sku, unsigned bucket);
/* Reads all orders, in the order of their ids, and checks all of A but the rows, C, D and E.
   `orders` is an estimate of their number. */
result_t audit_scan(audit_t *audit, int64_t orders);
/* Looks up what the scan has left open, counts the violations, and empties the lists: those of ids,
   and the held orders, which are compared with all reminders. */
result_t audit_check_lists(audit_t *audit);
result_t audit_check_held(audit_t *audit);

/* Checks A, C, D and E on audit->db and fills shard_items. Blocks. False: MySQL was away or refused
   a statement, or the run was stopped. */
bool audit_store(audit_t *audit);
/* Checks B for shard_items. Blocks. Failures go to the invariant's `error`. */
void audit_gates(audit_t *audit);

#endif
