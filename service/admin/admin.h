/*
 * The admin listener: items, the toggle (a change of strategy of every item), status, audit,
 * metrics. Every call needs `Authorization: Bearer TOKEN`, with a token of the role that the call
 * demands (http/access.h).
 */
#ifndef HOLDFAST_ADMIN_ADMIN_H
#define HOLDFAST_ADMIN_ADMIN_H

#include "admin/item_count.h"
#include "http/route.h"
#include "reconcile/audit_runner.h"
#include "reconcile/durability.h"
#include "reconcile/reconciler.h"

/* The data that its handlers read and change. serve makes and owns it; it is complete before
   server_start(), and remains until server_end() has returned. Any thread may use each member. */
typedef struct {
    const char *incarnation; /* of this process */
    uint64_t started_ms;     /* monotonic: when this process began to serve */
    unsigned loops_count;
    item_count_t *item_counts;  /* one a shard */
    reconciler_t **reconcilers; /* one a shard */
    durability_watch_t *durability;
    audit_runner_t *audits;       /* NULL: there are no audits */
    atomic_int *default_strategy; /* a strategy_id_t: for items created without one */
} admin_t;

/* The routes for server_open(). */
routes_t admin_routes(admin_t *admin);

#endif
