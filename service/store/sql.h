/*
 * A builder of SQL text in which no value can become syntax.
 *
 * Bytes become hexadecimal literals (x'6f'), numbers digits, times quoted DATETIME(3), words of our
 * own enums quoted words of [a-z0-9_]. The format string is the only SQL, and is always a literal
 * of this program:
 *
 *   %s str_t (NULL when .p is NULL)      %u uint64_t      %d int64_t
 *   %o const order_id_t * (NULL if none) %t uint64_t ms since 1970 (NULL when 0)
 *   %w const char *, one of our words    (NULL when NULL) %% a percent sign
 *   %i const item_ref_t *: the condition "sku = ... AND bucket = ...", of the one row of an item
 *
 * The caller owns a `sql_t`; one thread at a time may use it. sql_reset() keeps its memory for the
 * next text, sql_free() frees it. Does not block.
 */
#ifndef HOLDFAST_STORE_SQL_H
#define HOLDFAST_STORE_SQL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "sale/item_ref.h"

typedef struct {
    char *p;
    size_t n, capacity;
} sql_t;

/*
 * An assignment for an UPDATE of inventory or orders whose affected rows are counted. The servers
 * count rows that changed. A row that matches and already has its new values is not counted, and
 * the caller would read that as a refusal by the guard. So such an UPDATE must change every row
 * that it matches. This assignment ensures that, since the time grows by at least a millisecond.
 * (CLIENT_FOUND_ROWS would count matched rows, but then it would also count a duplicate that an
 * INSERT ... ON DUPLICATE KEY UPDATE leaves unchanged, and the writer recognises duplicates by that
 * count.)
 */
#define SQL_UPDATED_AT_GROWS "updated_at = GREATEST(NOW(3), updated_at + INTERVAL 1000 MICROSECOND)"

/*
 * The table `inventory` in a statement that locks one of its rows by its key and names other
 * columns in its condition. An optimizer may find the row by its epoch instead (it does so in a
 * small table), and then locks the entry of that index and the row in the opposite order of a
 * statement that finds it by its key: a deadlock between two writers of one item.
 */
#define SQL_INVENTORY_BY_KEY "inventory FORCE INDEX (PRIMARY)"

void sql_reset(sql_t *sql);
void sql_free(sql_t *sql);
/* Appends. Out of memory ends the process: see base/alloc.h. */
void sql_add(sql_t *sql, const char *format, ...);

#endif
