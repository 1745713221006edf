/*
 * The canary: a trial transaction that shows whether a shard takes orders.
 *
 * An error that ends the statement of an order may be about that order, or about the whole server
 * (read-only, full, locked, without a table or a privilege). The canary distinguishes the two: it
 * writes rows of legal values, with the same statements and into the same tables as an order, and
 * rolls them back. Then it commits a row of its own, because some faults show only at COMMIT.
 *
 * Its rows belong to no buyer: no legal sku begins like theirs. Blocks, on the caller's connection,
 * outside a transaction. For any thread that owns the db_t and the sql_t.
 */
#ifndef HOLDFAST_STORE_CANARY_H
#define HOLDFAST_STORE_CANARY_H

#include "store/db.h"

/*
 * RESULT_DONE: the shard takes orders. Any other result: it does not; db_error() has the server's
 * text. RESULT_RETRY with db_error_is_lock(): the canary's rows met a lock at both ends of the
 * indexes. On a shard with few items that may still be one item's lock on the gaps around it.
 */
result_t canary_run(db_t *db, sql_t *sql);
/* Does the shard take orders, except those that wait for such a lock? */
bool canary_passes_or_waits(db_t *db, sql_t *sql);

#endif
