/*
 * The buyers of an item and their live units, as read from its orders: what the gate's table of
 * buyers is filled with (lua/holdfast.lua).
 *
 * Each function reads in one snapshot: the units, and the epoch and `released_total` of the item's
 * row, are of one moment. Blocks; for pool threads and background threads. The caller owns the
 * db_t, which has no transaction open, the sql_t and the page. Errors are those of db_query(),
 * already logged. A server that returns fewer orders than it counts is RESULT_AWAY: a table without
 * some of a buyer's units would sell the buyer more than the limit.
 */
#ifndef HOLDFAST_STORE_BUYERS_H
#define HOLDFAST_STORE_BUYERS_H

#include "sale/names.h"
#include "store/items.h"

/* Buyers that one call reads. The simulation has few buyers, and smaller pages. */
#ifndef BUYERS_PAGE
#define BUYERS_PAGE 2000
#endif

/* In the order of their names, bytewise. The strings are borrowed from the page. */
typedef struct {
    str_t buyers[BUYERS_PAGE];
    int64_t units[BUYERS_PAGE]; /* in live orders; 0: finished orders only, or none */
    size_t count;
    bool last;         /* there are no buyers behind these */
    uint64_t epoch;    /* of the item's row; 0: there is no row */
    uint64_t sequence; /* `released_total` of the row; 0: as when its epoch began */
    char bytes[BUYERS_PAGE * BUYER_BYTES_MAX];
} buyers_page_t;

/* The order of names in a page, for qsort() and bsearch() over str_t. Pure. */
int buyers_by_name(const void *a, const void *b);
/* Reads the first buyers behind the name `after` (none: from the beginning) who have an order that
   is not rejected. */
result_t buyers_read_page(db_t *db, sql_t *sql, const item_ref_t *item, const buyer_t *after,
                          buyers_page_t *out);
/* Reads these buyers, also those without an order. `names` has up to BUYERS_PAGE of them, each
   once, and is sorted by this call. */
result_t buyers_read_some(db_t *db, sql_t *sql, const item_ref_t *item, str_t *names, size_t count,
                          buyers_page_t *out);

#endif
