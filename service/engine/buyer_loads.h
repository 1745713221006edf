/*
 * Buyers of an item whose units the gate needs for a verdict and does not have yet, because its
 * table of buyers is still loading: their units are read from MySQL and added to the table.
 *
 * One job of the shard's pool at a time loads all buyers of an item that were named meanwhile. The
 * purchases are not told: they try again with a backoff (engine/purchase_machine.h). So a job that
 * fails needs no report; the next attempt names its buyer again. On the loop of the item's owner;
 * nothing blocks. The item owns the list.
 */
#ifndef HOLDFAST_ENGINE_BUYER_LOADS_H
#define HOLDFAST_ENGINE_BUYER_LOADS_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct loop_item;
struct buyer_loads;

/* Has the buyer loaded into the gate of this epoch, unless that is under way. */
void buyer_loads_add(struct loop_item *item, uint64_t epoch, str_t buyer);
/* A job is under way: the item must stay. NULL: no. */
bool buyer_loads_are_under_way(const struct buyer_loads *loads);
/* Only if none is under way. NULL is allowed. */
void buyer_loads_free(struct buyer_loads *loads);

#endif
