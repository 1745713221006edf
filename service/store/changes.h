/*
 * The record of changes: rows of the table `changes`, one for each change of an item or of the
 * default strategy that somebody has asked for.
 *
 * The transaction that makes a change inserts its row, so there is a row exactly if there is the
 * change. A change that is tried again keeps its id: after a COMMIT whose answer was lost,
 * change_find() shows whether it was made, and a second row of the id cannot be inserted.
 *
 * Functions that take a db_t block; they are for pool threads and background threads. The caller
 * owns all arguments. Errors are those of db_query() and db_exec(), already logged.
 */
#ifndef HOLDFAST_STORE_CHANGES_H
#define HOLDFAST_STORE_CHANGES_H

#include "store/items.h"

#define WHO_BYTES_MAX 64
#define CHANGE_REQUEST_ID_MAX 64
#define REASON_BYTES_MAX 255

/* Who asks for a change, and why. */
typedef struct {
    order_id_t id; /* of the change; made like an order's. Filled in by whoever makes the change */
    char who[WHO_BYTES_MAX + 1]; /* the name of the token */
    char request_id[CHANGE_REQUEST_ID_MAX + 1];
    char reason[REASON_BYTES_MAX + 1]; /* "": none was given */
    /* The Idempotency-Key of a request that must not be carried out twice, and a digest of what it
       asks for. An item has one change of a key. */
    char key[KEY_BYTES_MAX + 1]; /* "": none */
    uint64_t digest;
} change_origin_t;

/* In the open transaction, after the item's row was changed: inserts the record. `before` NULL: the
   item was created; `after` NULL: it was deleted; else they differ. `epoch`: the new one, of a
   deletion the last. RESULT_RETRY also means that an earlier attempt of this change was
   committed, or another change with its key. */
result_t change_insert(db_t *db, sql_t *sql, const change_origin_t *origin, const item_ref_t *item,
                       uint64_t epoch, const item_terms_t *before, const item_terms_t *after);

/* The same for a change of the default strategy. `before` NULL: it was never set. */
result_t change_insert_default(db_t *db, sql_t *sql, const change_origin_t *origin,
                               const char *before, const char *after);

/* Whether this change was made. To be called after a read of the item's row: then what the row
   shows of this change is in the answer. *created: it has created the item. */
result_t change_find(db_t *db, sql_t *sql, const order_id_t *id, bool *found, bool *created);

/* Whether the item has a change with this key, and the digest of that request. */
result_t change_find_key(db_t *db, sql_t *sql, const item_ref_t *item, const char *key, bool *found,
                         uint64_t *digest);

/* What to list. */
typedef struct {
    order_id_t before; /* only older ones; ORDER_ID_NONE: all */
    uint64_t since_ms; /* only those that began then or later; 0: all */
    str_t sku, who;    /* only of these; STR_NONE: of any */
} change_query_t;

/* A row. Its strings are valid during the call that receives it. */
typedef struct {
    order_id_t id;
    uint64_t epoch; /* 0: of no item */
    str_t sku;      /* STR_NONE: of the default strategy */
    str_t who, request_id;
    str_t reason;        /* STR_NONE: none */
    str_t before, after; /* JSON objects; STR_NONE: the item was created, or deleted */
} change_row_t;

/* Calls `each` for at most `max` changes of this shard, newest first. */
result_t change_list(db_t *db, sql_t *sql, const change_query_t *query, unsigned max,
                     void (*each)(void *context, const change_row_t *row), void *context);

/* Deletes at most `max` of the changes that began before this time (ms since 1970), oldest first.
 */
result_t change_delete_old(db_t *db, sql_t *sql, uint64_t before_ms, unsigned max);

#endif
