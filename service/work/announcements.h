/*
 * What the threads of this process tell its loops: an item has changed, an order has no owner.
 *
 * Each loop has one listener. All are there before any thread announces, and stay until no thread
 * does any more. Announcing is for any thread and never blocks; a listener's functions run on its
 * loop, later.
 */
#ifndef HOLDFAST_WORK_ANNOUNCEMENTS_H
#define HOLDFAST_WORK_ANNOUNCEMENTS_H

#include "gate/gate.h"
#include "loop/loop.h"

typedef struct {
    loop_t *loop;
    void *context;
    /* The item's row has changed, or units came back; `epoch` is the row's. */
    void (*item_changed)(void *context, str_t sku, uint64_t epoch);
    /* The process that admitted this order is gone: see to it that the order ends. */
    void (*order_orphaned)(void *context, const order_id_t *id, const gate_record_t *record);
} announcement_listener_t;

typedef struct {
    announcement_listener_t *listeners; /* by the index of their loop */
    unsigned count;
} announcements_t;

void announcements_init(announcements_t *announcements, unsigned loops_count);
void announcements_dispose(announcements_t *announcements);
/* The listener of listener->loop. */
void announcements_listen(announcements_t *announcements, const announcement_listener_t *listener);

/* To all loops. */
void announce_item_changed(announcements_t *announcements, str_t sku, uint64_t epoch);
/* To the loop that has the items of the order's slot. */
void announce_order_orphaned(announcements_t *announcements, const order_id_t *id,
                             const gate_record_t *record);

#endif
