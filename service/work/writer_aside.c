#include "work/writer_aside.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/random.h"

/* First delay of an item. It is short, because an item whose lock ends should sell again soon; each
   try may wait for the lock. */
#define ITEM_RETRY_BASE_MS 64
#define ITEM_RETRY_CAP_MS 512
/* Orders of an item that has failed are tried in groups of at most this size, until some pass. */
#define ITEM_TRY_MAX 8
/* First delay of an order that is alone. It delays no other order. */
#define ORDER_RETRY_BASE_MS 128
#define ORDER_RETRY_CAP_MS 4096

struct writer_aside_item {
    UT_hash_handle hh;
    writer_order_t *head, **tail;
    unsigned count;
    unsigned trying; /* number of its orders that the side thread has */
    bool failed;     /* at least one of those was put back */
    bool waited;     /* a try waited for its lock */
    unsigned tries;
    uint64_t due_ms, since_ms;
    char *why;
    sku_t sku;
};

static writer_aside_item_t *find_item(const writer_aside_t *aside, str_t sku)
{
    writer_aside_item_t *item;
    HASH_FIND(hh, aside->items, sku.p, sku.n, item);
    return item;
}

static writer_aside_item_t *item_of(writer_aside_t *aside, str_t sku, uint64_t now_ms)
{
    writer_aside_item_t *item = find_item(aside, sku);
    if (item != NULL)
        return item;
    item = alloc_zero(1, sizeof(*item));
    item->tail = &item->head;
    /* the main thread has waited once already, so the side thread tries at once */
    item->since_ms = item->due_ms = now_ms;
    sku_set(&item->sku, sku);
    HASH_ADD(hh, aside->items, sku.bytes, item->sku.length, item);
    ++aside->items_count;
    return item;
}

static void append(writer_aside_item_t *item, writer_order_t *order)
{
    order->next = NULL;
    *item->tail = order;
    item->tail = &order->next;
    ++item->count;
}

static void put_with_item(writer_aside_t *aside, writer_order_t *order, uint64_t now_ms)
{
    writer_aside_item_t *item = item_of(aside, order_sku(&order->order), now_ms);
    append(item, order);
    item->failed = true;
    item->waited = item->waited || order->aside.waited;
    free(item->why);
    item->why = order->aside.why;
    order->aside.why = NULL;
}

void writer_aside_put(writer_aside_t *aside, writer_order_t *order, uint64_t now_ms)
{
    assert(order->aside.why != NULL);
    ++aside->orders_count;
    if (order->aside.with_item) {
        put_with_item(aside, order, now_ms);
        return;
    }
    if (order->aside.tries == 0)
        order->aside.since_ms = now_ms;
    order->aside.due_ms =
        now_ms + random_backoff(ORDER_RETRY_BASE_MS, ORDER_RETRY_CAP_MS, order->aside.tries++);
    order->next = aside->alone;
    aside->alone = order;
}

bool writer_aside_has_item(const writer_aside_t *aside, str_t sku)
{
    return aside->items != NULL && find_item(aside, sku) != NULL;
}

unsigned writer_aside_of_item(const writer_aside_t *aside, str_t sku)
{
    const writer_aside_item_t *item = find_item(aside, sku);
    assert(item != NULL);
    return item->count + item->trying;
}

void writer_aside_join(writer_aside_t *aside, writer_order_t *order)
{
    writer_aside_item_t *item = find_item(aside, order_sku(&order->order));
    assert(item != NULL);
    order->aside.with_item = true;
    append(item, order);
    ++aside->orders_count;
}

/* An item whose row was only found locked goes first: its lock may have ended since, while a try of
   the other may wait. */
static bool goes_before(const writer_aside_item_t *item, const writer_aside_item_t *other)
{
    return item->waited != other->waited ? other->waited : item->due_ms < other->due_ms;
}

static writer_aside_item_t *due_item(const writer_aside_t *aside, uint64_t now_ms)
{
    writer_aside_item_t *first = NULL, *item, *next;
    HASH_ITER(hh, aside->items, item, next)
    {
        if (item->trying == 0 && item->due_ms <= now_ms &&
            (first == NULL || goes_before(item, first)))
            first = item;
    }
    return first;
}

static unsigned take_of_item(writer_aside_item_t *item, writer_order_t **orders, unsigned max)
{
    unsigned count = 0;
    if (item->tries != 0 && max > ITEM_TRY_MAX)
        max = ITEM_TRY_MAX;
    item->failed = false;
    while (item->head != NULL && count < max) {
        orders[count++] = item->head;
        item->head = item->head->next;
    }
    if (item->head == NULL)
        item->tail = &item->head;
    item->count -= count;
    item->trying = count;
    return count;
}

static unsigned take_alone(writer_aside_t *aside, uint64_t now_ms, writer_order_t **orders,
                           unsigned max)
{
    unsigned count = 0;
    for (writer_order_t **at = &aside->alone; *at != NULL && count < max;) {
        writer_order_t *order = *at;
        if (order->aside.due_ms > now_ms) {
            at = &order->next;
            continue;
        }
        *at = order->next;
        free(order->aside.why);
        order->aside.why = NULL;
        orders[count++] = order;
    }
    return count;
}

unsigned writer_aside_take(writer_aside_t *aside, uint64_t now_ms, writer_order_t **orders,
                           unsigned max, writer_aside_item_t **item)
{
    unsigned count = take_alone(aside, now_ms, orders, max);
    *item = NULL;
    if (count == 0 && (*item = due_item(aside, now_ms)) != NULL)
        count = take_of_item(*item, orders, max);
    aside->orders_count -= count;
    return count;
}

static void forget_item(writer_aside_t *aside, writer_aside_item_t *item)
{
    HASH_DEL(aside->items, item);
    --aside->items_count;
    free(item->why);
    free(item);
}

void writer_aside_tried(writer_aside_t *aside, writer_aside_item_t *item, uint64_t now_ms)
{
    assert(item->trying != 0);
    item->trying = 0;
    if (item->count == 0) {
        forget_item(aside, item);
        return;
    }
    item->tries = item->failed ? item->tries + 1 : 0;
    item->due_ms = item->failed
                       ? now_ms + random_backoff(ITEM_RETRY_BASE_MS, ITEM_RETRY_CAP_MS, item->tries)
                       : now_ms;
}

uint64_t writer_aside_due_ms(const writer_aside_t *aside)
{
    uint64_t due_ms = UINT64_MAX;
    writer_aside_item_t *item, *next;
    HASH_ITER(hh, aside->items, item, next)
    {
        if (item->trying == 0 && item->due_ms < due_ms)
            due_ms = item->due_ms;
    }
    for (const writer_order_t *order = aside->alone; order != NULL; order = order->next)
        if (order->aside.due_ms < due_ms)
            due_ms = order->aside.due_ms;
    return due_ms;
}

void writer_aside_each(const writer_aside_t *aside, uint64_t now_ms, writer_aside_cb each,
                       void *context)
{
    writer_aside_item_t *item, *next;
    HASH_ITER(hh, aside->items, item, next)
    {
        each(context, &(writer_aside_view_t){.sku = sku_str(&item->sku),
                                             .orders = item->count + item->trying,
                                             .why = item->why,
                                             .age_ms = now_ms - item->since_ms});
    }
    for (const writer_order_t *order = aside->alone; order != NULL; order = order->next)
        each(context, &(writer_aside_view_t){.sku = order_sku(&order->order),
                                             .order_id = &order->order.id,
                                             .orders = 1,
                                             .why = order->aside.why,
                                             .age_ms = now_ms - order->aside.since_ms});
}

void writer_aside_dispose(writer_aside_t *aside)
{
    assert(aside->orders_count == 0 && aside->alone == NULL);
    writer_aside_item_t *item, *next;
    HASH_ITER(hh, aside->items, item, next)
    {
        forget_item(aside, item);
    }
}
