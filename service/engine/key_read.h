/*
 * Two reads of MySQL on behalf of a purchase with a key: has the key an order already, and which
 * order came first with it? Jobs of the shard's pool; started and ended on the purchase's loop. The
 * purchase stays as it is until then.
 */
#ifndef HOLDFAST_ENGINE_KEY_READ_H
#define HOLDFAST_ENGINE_KEY_READ_H

#include "engine/purchase.h"

/* Called once, later. `found` is borrowed until it returns; NULL: there is none, or (`known` false)
   MySQL does not say. */
typedef void (*key_read_cb)(purchase_t *purchase, bool known, const order_t *found);

/* The order of its key: a plain read. False: the pool takes no job. */
bool key_read_start(purchase_t *purchase, key_read_cb done);
/* The order that came first: that of purchase->first_id, or, where it is none, that of its key. A
   locking read: it also waits for a transaction that is about to commit the row. */
bool key_read_first(purchase_t *purchase, key_read_cb done);

#endif
