/*
 * The names of an item and of a buyer as values that own their bytes, for structs that live longer
 * than the text they were made from. Functions take a str_t, which borrows; sku_str() and
 * buyer_str() return one that borrows from the value. A name may contain any byte; length 0 means
 * no name. Pure; any thread; nothing blocks. A name that is too long fails an assert: the caller
 * checks it before.
 */
#ifndef HOLDFAST_SALE_NAMES_H
#define HOLDFAST_SALE_NAMES_H

#include <assert.h>

#include "base/str.h"

#define SKU_BYTES_MAX 64
#define BUYER_BYTES_MAX 128
#define KEY_BYTES_MAX 255 /* orders.idempotency_key */

typedef struct {
    uint8_t length;
    char bytes[SKU_BYTES_MAX];
} sku_t;

typedef struct {
    uint8_t length;
    char bytes[BUYER_BYTES_MAX];
} buyer_t;

/* Copies a name of at most SKU_BYTES_MAX bytes. */
static inline void sku_set(sku_t *out, str_t text)
{
    assert(text.n <= SKU_BYTES_MAX);
    out->length = (uint8_t)text.n;
    if (text.n != 0)
        memcpy(out->bytes, text.p, text.n);
}

static inline sku_t sku_of(str_t text)
{
    sku_t sku = {0};
    sku_set(&sku, text);
    return sku;
}

static inline str_t sku_str(const sku_t *sku)
{
    return (str_t){sku->bytes, sku->length};
}

/* Copies a name of at most BUYER_BYTES_MAX bytes. */
static inline void buyer_set(buyer_t *out, str_t text)
{
    assert(text.n <= BUYER_BYTES_MAX);
    out->length = (uint8_t)text.n;
    if (text.n != 0)
        memcpy(out->bytes, text.p, text.n);
}

static inline str_t buyer_str(const buyer_t *buyer)
{
    return (str_t){buyer->bytes, buyer->length};
}

#endif
