/*
 * The reference of an item: its name, and where its row and its gate are. It is made once, where
 * the name is read, and passed on as a whole, so that the name is hashed once. A value that its
 * holder owns. Pure; any thread; nothing blocks or fails.
 */
#ifndef HOLDFAST_SALE_ITEM_REF_H
#define HOLDFAST_SALE_ITEM_REF_H

#include "sale/names.h"
#include "sale/shard_map.h"

/* The only part of an item: no item is split into several yet. It is the column `bucket`, and the
   end of the gate's keys. A statement about many items names it too, because it relies on one row
   for each name: that of this part. */
#define BUCKET_ONLY UINT64_C(0)

typedef struct {
    uint16_t slot; /* slot_of_sku() */
    uint16_t bucket;
    sku_t sku;
} item_ref_t;

static inline item_ref_t item_ref_of(str_t sku)
{
    return (item_ref_t){.slot = slot_of_sku(sku), .bucket = BUCKET_ONLY, .sku = sku_of(sku)};
}

#endif
