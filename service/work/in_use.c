#include "work/in_use.h"

#include <stdlib.h>

#include "base/alloc.h"

void in_use_init(in_use_t *set)
{
    set->items = NULL;
    pthread_mutex_init(&set->mutex, NULL);
}

void in_use_dispose(in_use_t *set)
{
    used_item_t *item, *next;
    HASH_ITER(hh, set->items, item, next)
    {
        HASH_DEL(set->items, item);
        free(item);
    }
    pthread_mutex_destroy(&set->mutex);
}

void in_use_add(in_use_t *set, str_t sku)
{
    used_item_t *item;
    pthread_mutex_lock(&set->mutex);
    HASH_FIND(hh, set->items, sku.p, sku.n, item);
    if (item == NULL) {
        item = alloc_bytes(sizeof(*item));
        item->sku = sku_of(sku);
        HASH_ADD(hh, set->items, sku.bytes, item->sku.length, item);
    }
    pthread_mutex_unlock(&set->mutex);
}

used_item_t *in_use_take(in_use_t *set)
{
    pthread_mutex_lock(&set->mutex);
    used_item_t *all = set->items;
    set->items = NULL;
    pthread_mutex_unlock(&set->mutex);
    return all;
}
