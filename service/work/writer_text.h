/*
 * The text of a batch's transaction: one INSERT for all its orders, one for the reminders of those
 * that are held, one UPDATE for all its rows of `inventory`. Pure: what it says depends on its
 * arguments alone.
 */
#ifndef HOLDFAST_WORK_WRITER_TEXT_H
#define HOLDFAST_WORK_WRITER_TEXT_H

#include "store/sql.h"
#include "work/writer.h"

struct hot_row;

/* Orders of one item and epoch within a batch; they stand side by side after sorting. */
typedef struct {
    writer_order_t **orders;
    unsigned count;
    uint64_t units;      /* of those intended live; 0: the item's row is left alone */
    uint64_t version;    /* that the row must have */
    struct hot_row *row; /* what is remembered of it; NULL: nothing */
} writer_group_t;

/* Gives each order the state and the times that its row will have. Columns that no order of the
   batch has anything to say of are left out: they cost the server as much as others. */
void writer_add_insert(sql_t *sql, writer_order_t **orders, unsigned count, uint64_t now_ms);

/* Reminders of those that are born held; after writer_add_insert(). False, and nothing added: none
 * is. */
bool writer_add_reminders(sql_t *sql, writer_order_t **orders, unsigned count);

/* The hot rows, in the order of `groups`, each under its version, its epoch and
   `allocated + units <= total`. Changes as many rows as there are groups with units, or some have
   moved. False, and nothing added: there are none. */
bool writer_add_update(sql_t *sql, const writer_group_t *groups, unsigned count);

/* Groups with units. */
unsigned writer_groups_live(const writer_group_t *groups, unsigned count);

static inline bool writer_order_is_live(const writer_order_t *order)
{
    return order->order.state != ORDER_REJECTED;
}

#endif
