/*
 * A builder of SQL text in which no value can become syntax.
 *
 * Bytes go in as hexadecimal literals (x'6f'), numbers as digits, times as quoted DATETIME(3),
 * words of our own enums as quoted words of [a-z0-9_]. The format string is the only SQL and
 * is always a literal of this program:
 *
 *   %s str_t (NULL when .p is NULL)      %u uint64_t      %d int64_t
 *   %o const order_id_t * (NULL if none) %t uint64_t ms since 1970 (NULL when 0)
 *   %w const char *, one of our words    (NULL when NULL) %% a percent sign
 *
 * A `sql_t` belongs to one thread and is reused: sql_reset() keeps its memory.
 */
#ifndef HOLDFAST_STORE_SQL_H
#define HOLDFAST_STORE_SQL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

typedef struct {
    char *p;
    size_t n, capacity;
} sql_t;

/*
 * An assignment for an UPDATE of inventory or orders whose affected rows are counted. The servers
 * count rows that changed: a row that matches and is set to the values that it has counts as none,
 * which reads as "the guard refused". So such an UPDATE must change every row that it matches.
 * This one does, since the time goes up by at least a millisecond. (CLIENT_FOUND_ROWS would count
 * matched rows, but then a duplicate that an INSERT ... ON DUPLICATE KEY UPDATE leaves as it is
 * counts as a row too, and the writer tells duplicates by that count.)
 */
#define SQL_UPDATED_AT_GROWS "updated_at = GREATEST(NOW(3), updated_at + INTERVAL 1000 MICROSECOND)"

void sql_reset(sql_t *sql);
void sql_free(sql_t *sql);
/* Appends. Out of memory ends the process, as everywhere in Holdfast. */
void sql_add(sql_t *sql, const char *format, ...);

#endif
