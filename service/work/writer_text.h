/*
 * The statements of a batch's transaction: one INSERT for all its orders, one for the reminders of
 * held orders, one UPDATE for all its rows of `inventory`. Pure: they depend on the arguments
 * alone, which the caller owns. The writer's thread calls; nothing blocks or fails.
 */
#ifndef HOLDFAST_WORK_WRITER_TEXT_H
#define HOLDFAST_WORK_WRITER_TEXT_H

#include "store/rows.h"
#include "store/sql.h"
#include "work/writer.h"

struct hot_row;

/* The orders of one item and epoch in a batch; sorting puts them side by side. */
typedef struct {
    writer_order_t **orders;
    unsigned count;
    uint64_t units;      /* units of the orders intended live; 0: the item's row is not changed */
    uint64_t version;    /* that the row must have */
    struct hot_row *row; /* the copy that the writer keeps; NULL: none */
} writer_group_t;

/* Makes the INSERT, and gives each order the state and the times of its row. Leaves out columns
   that no order of the batch has a value for: they cost the server as much as others. The rows
   borrow from the orders. */
void writer_make_rows(rows_t *rows, writer_order_t **orders, unsigned count, uint64_t now_ms);

/* Adds `separator` and the reminders of the orders that begin as held; call it after
   writer_make_rows(). Returns false, and adds nothing, if there are none. */
bool writer_add_reminders(sql_t *sql, const char *separator, writer_order_t **orders,
                          unsigned count);

/* Adds the UPDATE of the hot rows, in the order of `groups`, each under its version, its epoch and
   `allocated + units <= total`. It changes as many rows as there are groups with units, unless some
   have moved. There is at least one such group. */
void writer_add_update(sql_t *sql, const writer_group_t *groups, unsigned count);

/* Number of groups with units. */
unsigned writer_groups_live(const writer_group_t *groups, unsigned count);

static inline bool writer_order_is_live(const writer_order_t *order)
{
    return order->order.state != ORDER_REJECTED;
}

#endif
