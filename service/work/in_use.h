/*
 * The items of a shard for which this process has called a gate lately: the reconciler compares
 * these in its next pass, and does not look for them among all items.
 *
 * The shard owns the set, and the set owns its entries until they are taken. Any thread adds an
 * item; only the reconciler's thread takes them out. The mutex is held for a few instructions: no
 * function blocks. Nothing can fail.
 */
#ifndef HOLDFAST_WORK_IN_USE_H
#define HOLDFAST_WORK_IN_USE_H

#include <pthread.h>
#include <uthash.h>

#include "sale/names.h"

/* A loop adds an item again only after this time. */
#define IN_USE_AGAIN_MS 500

typedef struct {
    UT_hash_handle hh;
    sku_t sku;
} used_item_t;

typedef struct {
    pthread_mutex_t mutex;
    used_item_t *items; /* uthash by sku, in the order in which they were added */
} in_use_t;

void in_use_init(in_use_t *set);
/* Only when no thread uses it any more. */
void in_use_dispose(in_use_t *set);
/* Adds an item, if it is not in the set. Any thread. */
void in_use_add(in_use_t *set, str_t sku);
/* Takes all out, as a uthash by sku; the caller frees them. The reconciler's thread. */
used_item_t *in_use_take(in_use_t *set);

#endif
