/*
 * The look at an item's epoch before a refusal of a purchase with a key is told.
 *
 * A COMMIT is fenced by its epoch, a gate's refusal by nothing: while a rebuild has raised the
 * epoch and not swapped the gate yet, or on a connection that a failover has left on the old Redis,
 * a gate of an epoch that is over says "sold out" to a repeat of an order of which it has never
 * heard. So MySQL is asked whether the epoch still rules, after the gate has answered: then every
 * order that was acknowledged before the repeat came was admitted under that epoch or an earlier
 * one, and its buyer would have been seen.
 *
 * One look is under way for an item, and some milliseconds lie between two; all refusals that come
 * meanwhile share the next one. So a refusal with a key costs a share of one read of one row, and a
 * refusal without a key nothing.
 *
 * On the home loop of the item; the read itself is a job of the shard's pool.
 */
#ifndef HOLDFAST_ENGINE_EPOCH_CHECK_H
#define HOLDFAST_ENGINE_EPOCH_CHECK_H

struct purchase;

/* Ends in purchase_epoch_checked(): later, or in here if the pool takes no job. */
void epoch_check_join(struct purchase *purchase);

#endif
