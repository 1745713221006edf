/*
 * Sums of units by name, within a bound of memory. With it, one scan over all orders finds the
 * buyers and keys that have too many, and keeps no name.
 *
 * A name is known by 96 bits of its hash under a random seed. (Two names of ten million have the
 * same bits once in 10^15 runs; two order ids are as likely to be equal.)
 *
 * If there are more names than there is room for, the table covers a part of all hashes, and the
 * caller scans the orders again for the next part:
 *
 *     do
 *         for each order: sums_add()
 *     while (sums_next());
 *
 * Each name is then reported once, as by a single scan.
 *
 * Pure but for its seed; the caller owns the table, and one thread uses it. Does not block.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_SUMS_H
#define HOLDFAST_RECONCILE_AUDIT_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct {
    uint64_t hash; /* 0: the slot is free */
    uint32_t check;
} sum_name_t;

/* Sums do not grow beyond this, which is above every limit that an item can have, and past each. */
#define SUM_UNITS_MAX ((UINT32_C(1) << 30) - 1)

typedef struct {
    uint64_t hash;
    uint32_t check;
    uint32_t units : 30;
    uint32_t fresh : 1; /* some of its units were added as fresh */
    uint32_t past : 1;  /* the sum is past its bound */
} sum_t;

typedef struct {
    uint64_t seed;
    sum_t *slots;
    size_t count, used;   /* slots: a power of two */
    size_t count_max;     /* exceeded only if a quarter of all sums are past their bounds */
    uint64_t first, last; /* the hashes that this scan covers */
} sums_t;

/* At most `bytes` of memory; while the table grows, half as much again. */
void sums_init(sums_t *sums, size_t bytes);
void sums_free(sums_t *sums);
/* The name of a buyer of an item, and of one of the buyer's keys (`key` STR_NONE: of the buyer). */
sum_name_t sums_name(const sums_t *sums, str_t sku, str_t buyer, str_t key);

/* Has the memory of the sum fetched. Worth its while some sums ahead of sums_add(): a sum lies
   anywhere in the table, and the processor would wait for it. */
static inline void sums_prefetch(const sums_t *sums, sum_name_t name)
{
    __builtin_prefetch(&sums->slots[name.hash & (sums->count - 1)], 1);
}

/* What a call of sums_add() has brought about, each once for a name. */
#define SUM_PASSED 1U  /* the sum is past its bound */
#define SUM_SUSPECT 2U /* it is past its bound, and some of its units are fresh */

/* Adds to the sum of `name`, unless this scan does not cover it. Returns SUM_* flags. A name always
   comes with the same bound. */
unsigned sums_add(sums_t *sums, sum_name_t name, uint32_t units, uint32_t bound, bool fresh);
/* After a scan over all orders. True: another scan is needed, for hashes not covered so far. */
bool sums_next(sums_t *sums);

#endif
