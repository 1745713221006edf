#include "work/writer_decide.h"

#include <assert.h>
#include <limits.h>

/* After this many conflicts in a row the cause is not chance any more. */
#define CONFLICTS_MAX 48
#define LOSSES_MAX 4
/* After this many lock waits without a COMMIT between, the whole shard may be locked. */
#define LOCKED_MAX 3

/* --- orders, on rows --- */

void writer_mark(writer_order_t *order, writer_result_t result, bool inserted)
{
    assert(order->arrival != UINT_MAX); /* an order has one result */
    order->result = result;
    order->inserted = inserted;
    order->arrival = UINT_MAX; /* it has its result and leaves */
}

unsigned writer_drop_marked(writer_order_t **orders, unsigned count)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; ++i) {
        writer_order_t *order = orders[i];
        if (order->arrival == UINT_MAX)
            continue;
        orders[i] = orders[kept];
        orders[kept++] = order;
    }
    return kept;
}

static void intend_rejected(writer_order_t *order, problem_t why)
{
    order->order.state = ORDER_REJECTED;
    order->order.reject_code = why;
}

bool writer_check_group(writer_group_t *group, const item_t *item)
{
    if (item == NULL || item->epoch != group->orders[0]->epoch) {
        for (unsigned i = 0; i < group->count; ++i)
            if (writer_order_is_live(group->orders[i]))
                writer_mark(group->orders[i], WRITER_STALE, false);
        return true;
    }
    bool changed = false;
    int64_t left = item->terms.total - item_allocated(item);
    for (unsigned i = 0; i < group->count; ++i) {
        writer_order_t *order = group->orders[i];
        if (!writer_order_is_live(order))
            continue;
        if ((int64_t)order->order.quantity <= left) {
            left -= order->order.quantity;
            continue;
        }
        intend_rejected(order, PROBLEM_SOLD_OUT);
        order->drift = true;
        changed = true;
    }
    return changed;
}

void writer_take_row(writer_order_t *order, const order_t *row)
{
    order_t known = order->order;
    assert(order_id_eq(&row->id, &known.id));
    order->order = *row;
    if (row->sku.length == 0) {
        order->order.sku = known.sku;
        order->order.buyer = known.buyer;
        order->order.quantity = known.quantity;
        order->nameless = true;
    }
    order->drift = false; /* its units are counted in the row already */
    writer_mark(order, WRITER_ROW, false);
}

void writer_lose_key(writer_order_t *order, const order_t *first)
{
    assert(!order_id_eq(&first->id, &order->order.id));
    order->first = *first;
    order->has_first = true;
    order->order.original_id = first->id;
    order->key = STR_NONE;
    order->drift = false; /* it needs no room */
    intend_rejected(order, PROBLEM_DUPLICATE_REQUEST);
}

void writer_forget_refusals(writer_order_t **orders, unsigned count)
{
    for (unsigned i = 0; i < count; ++i) {
        if (!orders[i]->drift)
            continue;
        orders[i]->order.state = ORDER_CONFIRMED;
        orders[i]->order.reject_code = PROBLEM_NONE;
        orders[i]->drift = false;
    }
}

/* --- a batch, after a failure --- */

bool writer_failure_is_wait(const writer_failure_t *f)
{
    return f->kind == FAILURE_LOCK || (f->kind == FAILURE_CONFLICT && f->repeats >= CONFLICTS_MAX);
}

static writer_next_t after_wait(const writer_failure_t *f)
{
    if (!f->is_side && f->lock_waits >= LOCKED_MAX) {
        if (f->canary == CANARY_NOT_ASKED)
            return NEXT_CANARY;
        if (f->canary == CANARY_FAILED)
            return NEXT_AWAY;
    }
    return f->is_one_item ? NEXT_ASIDE : NEXT_ITEMS;
}

/* The order is rejected only after the error, a canary that passes, the same error again, and a
   canary that passes again. A fault of the whole shard that ends before the first canary, or begins
   after it, looks like a fault of the order. */
static writer_next_t after_error(const writer_failure_t *f)
{
    if (f->canary == CANARY_NOT_ASKED)
        return NEXT_CANARY;
    if (f->canary == CANARY_FAILED)
        return NEXT_AWAY;
    if (f->orders > 1)
        return NEXT_HALVES;
    if (f->kind != FAILURE_OF_VALUES || f->is_aside)
        return NEXT_ASIDE;
    return f->repeats == 0 ? NEXT_SAME : NEXT_REJECT;
}

writer_next_t writer_next(const writer_failure_t *f)
{
    assert(f->orders != 0 && (f->orders > 1 || f->is_one_item));
    if (writer_failure_is_wait(f))
        return after_wait(f);
    if (f->kind == FAILURE_CONFLICT || (f->kind == FAILURE_LOST && f->repeats < LOSSES_MAX))
        return NEXT_SAME;
    return after_error(f);
}
