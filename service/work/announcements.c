#include "work/announcements.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdlib.h>

void announcements_init(announcements_t *announcements, unsigned loops_count)
{
    announcements->count = loops_count;
    announcements->listeners = alloc_zero(loops_count, sizeof(*announcements->listeners));
}

void announcements_dispose(announcements_t *announcements)
{
    free(announcements->listeners);
}

void announcements_listen(announcements_t *announcements, const announcement_listener_t *listener)
{
    assert(listener->loop->index < announcements->count);
    announcements->listeners[listener->loop->index] = *listener;
}

typedef struct {
    loop_message_t message;
    const announcement_listener_t *listener;
    uint64_t epoch;
    sku_t sku;
} item_change_message_t;

static void on_item_changed(loop_message_t *message)
{
    item_change_message_t *change = H2O_STRUCT_FROM_MEMBER(item_change_message_t, message, message);
    change->listener->item_changed(change->listener->context, sku_str(&change->sku), change->epoch);
    free(change);
}

void announce_item_changed(announcements_t *announcements, str_t sku, uint64_t epoch)
{
    for (unsigned i = 0; i < announcements->count; ++i) {
        item_change_message_t *change = alloc_zero(1, sizeof(*change));
        change->message.run = on_item_changed;
        change->listener = &announcements->listeners[i];
        change->epoch = epoch;
        sku_set(&change->sku, sku);
        loop_post(change->listener->loop, &change->message);
    }
}

typedef struct {
    loop_message_t message;
    const announcement_listener_t *listener;
    order_id_t id;
    gate_record_t record; /* points into bytes */
    char bytes[SKU_BYTES_MAX + BUYER_BYTES_MAX + KEY_BYTES_MAX];
} orphan_message_t;

static void on_order_orphaned(loop_message_t *message)
{
    orphan_message_t *orphan = H2O_STRUCT_FROM_MEMBER(orphan_message_t, message, message);
    orphan->listener->order_orphaned(orphan->listener->context, &orphan->id, &orphan->record);
    free(orphan);
}

void announce_order_orphaned(announcements_t *announcements, const order_id_t *id,
                             const gate_record_t *record)
{
    orphan_message_t *orphan = alloc_zero(1, sizeof(*orphan));
    char *at = orphan->bytes;
    orphan->message.run = on_order_orphaned;
    orphan->listener =
        &announcements->listeners[loop_of_slot(order_id_slot(id), announcements->count)];
    orphan->id = *id;
    orphan->record = *record;
    orphan->record.sku = str_put(&at, record->sku);
    orphan->record.buyer = str_put(&at, record->buyer);
    orphan->record.key = str_put(&at, record->key);
    loop_post(orphan->listener->loop, &orphan->message);
}
