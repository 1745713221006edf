/*
 * One page of the items of all shards, in the order of their names, out of what each shard has read
 * of it; and its cursor. Pure; any thread; nothing blocks.
 *
 * A shard may have stopped before the end of its items: because its part was full, or because it
 * had looked at many items that a filter does not let through. What lies behind that name is not
 * known, so the page ends there for all shards, and the cursor continues there.
 */
#ifndef HOLDFAST_ADMIN_PAGE_MERGE_H
#define HOLDFAST_ADMIN_PAGE_MERGE_H

#include "sale/names.h"

/* What a shard has read. */
typedef struct {
    const sku_t *skus; /* ascending */
    unsigned count;
    sku_t up_to; /* it has looked at all its items up to here; length 0: at all of them */
} page_part_t;

typedef struct {
    unsigned part, index; /* parts[part].skus[index] */
} page_pick_t;

/* Writes the items of the page into `picks`, which has room for `most`, and returns how many there
   are. `*next`: where the next page begins; its length is 0 if there is none. */
unsigned page_merge(const page_part_t *parts, unsigned parts_count, unsigned most,
                    page_pick_t *picks, sku_t *next);

/* The text of a cursor, with its NUL. */
#define PAGE_CURSOR_SIZE (2 * SKU_BYTES_MAX + 1)
void page_cursor_write(char *out, const sku_t *sku);
/* False: it is no cursor of page_cursor_write(). */
bool page_cursor_read(str_t text, sku_t *out);

#endif
