/*
 * Announcements of any thread to the loops of this process: an item has changed, or an order is an
 * orphan.
 *
 * Each loop has one listener. All listeners are set before any thread announces, and stay until no
 * thread does any more; the node owns them. Any thread may announce; that copies its arguments,
 * never blocks for a server, and cannot fail. The functions of a listener run later, on its loop.
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
    /* The process that admitted this order is gone: the listener must see to it that the order
       ends. */
    void (*order_orphaned)(void *context, const order_id_t *id, const gate_record_t *record);
} announcement_listener_t;

typedef struct {
    announcement_listener_t *listeners; /* by the index of their loop */
    unsigned count;
} announcements_t;

void announcements_init(announcements_t *announcements, unsigned loops_count);
void announcements_dispose(announcements_t *announcements);
/* Sets the listener of listener->loop. Copies `listener`. */
void announcements_listen(announcements_t *announcements, const announcement_listener_t *listener);

/* To all loops. `epoch` is that of the row. */
void announce_item_changed(announcements_t *announcements, str_t sku, uint64_t epoch);
/* To the owner loop of the order's slot. */
void announce_order_orphaned(announcements_t *announcements, const order_id_t *id,
                             const gate_record_t *record);

#endif
