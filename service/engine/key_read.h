/*
 * Two reads of MySQL for a purchase with a key: the order of its key, and the order that came first
 * with it. Each is a job of the shard's pool; it starts, and its callback runs, on the purchase's
 * loop. Neither function blocks. The purchase must stay as it is until the callback.
 */
#ifndef HOLDFAST_ENGINE_KEY_READ_H
#define HOLDFAST_ENGINE_KEY_READ_H

#include "engine/purchase.h"

/* Called once, later. `found` is borrowed until the callback returns. `found` NULL and `known`:
   there is no such order. `known` false: MySQL gave no answer. */
typedef void (*key_read_cb)(purchase_t *purchase, bool known, const order_t *found);

/* Reads the order of the purchase's key, without a lock. False: the pool takes no job, and `done`
   is not called. */
bool key_read_start(purchase_t *purchase, key_read_cb done);
/* Reads the order that came first: the one with the id purchase->first_id, or, if that is no id,
   the one with the key. A locking read: it also waits for a transaction that is about to commit the
   row. False: as above. */
bool key_read_first(purchase_t *purchase, key_read_cb done);

#endif
