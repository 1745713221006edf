/*
 * The check of an item's epoch, before the refusal of a purchase with a key is sent.
 *
 * A COMMIT is fenced by its epoch; the refusal of a gate is not. A gate of an old epoch can refuse
 * a repeat as "sold out" although MySQL has the order of its key. That happens after a rebuild has
 * raised the epoch and before it has swapped the gate, and on a connection that a failover has left
 * on the old Redis. So MySQL is read after the gate has answered: is the gate's epoch still the
 * item's? If it is, every order that was acknowledged before the repeat arrived was admitted under
 * that epoch or an earlier one, and the gate would have reported its buyer as seen.
 *
 * One read is under way for an item, and two reads begin at least 1 ms apart; all refusals of that
 * time share the next read. So a refusal with a key costs a share of one read of one row, and a
 * refusal without a key costs nothing.
 *
 * Runs on the thread of the item's owner loop and does not block: the read is a job of the shard's
 * pool. If the read fails, the verdict is EPOCH_UNKNOWN.
 */
#ifndef HOLDFAST_ENGINE_EPOCH_CHECK_H
#define HOLDFAST_ENGINE_EPOCH_CHECK_H

struct purchase;

/* Calls purchase_epoch_checked() once: later, or inside this call if the pool takes no job. */
void epoch_check_join(struct purchase *purchase);

#endif
