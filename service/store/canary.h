/*
 * The canary: does a shard take orders?
 *
 * An error that ends the statement of an order may be about that order, or about the whole server
 * (read-only, full, locked, without a table or a privilege). The canary tells the two apart: it
 * writes rows of legal values, with the same statements and into the same tables as an order, and
 * rolls them back; then it commits a row of its own, because some faults show only at COMMIT.
 *
 * Its rows belong to no buyer: no legal sku begins like theirs. Blocking, on the caller's
 * connection, outside a transaction.
 */
#ifndef HOLDFAST_STORE_CANARY_H
#define HOLDFAST_STORE_CANARY_H

#include "store/db.h"

/*
 * Done: the shard takes orders. Any other result: it does not; db_error() has the server's words.
 * Retry, with db_error_is_lock(): its rows met a lock, at both ends of the indexes. That may still
 * be one item's lock on the gaps around it, if the shard has few items.
 */
result_t canary_run(db_t *db, sql_t *sql);
/* Does the shard take orders, but for those that such a lock keeps waiting? */
bool canary_passes_or_waits(db_t *db, sql_t *sql);

#endif
