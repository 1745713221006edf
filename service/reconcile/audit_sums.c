#include "reconcile/audit_sums.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/alloc.h"
#include "base/random.h"
#include "sale/names.h"

#define SLOTS_MIN 8

_Static_assert(sizeof(sum_t) == 16, "the memory of an audit is stated with this size");

void sums_init(sums_t *sums, size_t bytes)
{
    *sums = (sums_t){
        .seed = random_u64(), .count = SLOTS_MIN, .count_max = SLOTS_MIN, .last = UINT64_MAX};
    while (sums->count_max * 2 * sizeof(sum_t) <= bytes)
        sums->count_max *= 2;
    sums->slots = alloc_zero(sums->count, sizeof(sum_t));
}

void sums_free(sums_t *sums)
{
    free(sums->slots);
    *sums = (sums_t){0};
}

/* The lengths go first, so that different parts never make the same text. */
sum_name_t sums_name(const sums_t *sums, str_t sku, str_t buyer, str_t key)
{
    char text[3 + SKU_BYTES_MAX + BUYER_BYTES_MAX + KEY_BYTES_MAX], *at = text;
    assert(sku.n <= SKU_BYTES_MAX && buyer.n <= BUYER_BYTES_MAX && key.n <= KEY_BYTES_MAX);
    *at++ = (char)sku.n;
    *at++ = (char)buyer.n;
    *at++ = (char)(key.p != NULL);
    str_put(&at, sku);
    str_put(&at, buyer);
    str_put(&at, key);
    XXH128_hash_t hash = XXH3_128bits_withSeed(text, (size_t)(at - text), sums->seed);
    return (sum_name_t){.hash = hash.low64 + (hash.low64 == 0), .check = (uint32_t)hash.high64};
}

/* Returns the slot of `name`, or the free one where it belongs. One slot is always free. */
static sum_t *find(const sums_t *sums, sum_name_t name)
{
    size_t at = name.hash & (sums->count - 1);
    const sum_t *slots = sums->slots;
    while (slots[at].hash != 0 && (slots[at].hash != name.hash || slots[at].check != name.check))
        at = (at + 1) & (sums->count - 1);
    return &sums->slots[at];
}

static bool covers(const sums_t *sums, uint64_t hash)
{
    return hash >= sums->first && hash <= sums->last;
}

/* Moves the sums that are covered into a table of `count` slots. Those past their bounds stay while
   they are not covered yet, so that they are not reported again. Returns how many are past theirs.
 */
static size_t rebuild(sums_t *sums, size_t count)
{
    sums_t old = *sums;
    size_t past = 0;
    sums->slots = alloc_zero(count, sizeof(sum_t));
    sums->count = count;
    sums->used = 0;
    for (size_t i = 0; i < old.count; ++i) {
        const sum_t *sum = &old.slots[i];
        if (sum->hash == 0 || !(covers(sums, sum->hash) || (sum->past && sum->hash > sums->last)))
            continue;
        *find(sums, (sum_name_t){sum->hash, sum->check}) = *sum;
        ++sums->used;
        past += sum->past;
    }
    free(old.slots);
    return past;
}

static bool is_full(const sums_t *sums)
{
    return sums->used >= sums->count / 4 * 3;
}

/* Makes room for one more: in a larger table, or by covering half as many hashes. */
static void make_room(sums_t *sums)
{
    if (sums->count < sums->count_max) {
        rebuild(sums, sums->count * 2);
        return;
    }
    do {
        sums->last = sums->first + (sums->last - sums->first) / 2;
        size_t past = rebuild(sums, sums->count);
        if (past > sums->count / 4)
            rebuild(sums, sums->count * 2);
    } while (sums->used > sums->count / 2);
}

static unsigned add(sum_t *sum, uint32_t units, uint32_t bound, bool fresh)
{
    bool was_past = sum->past, was_suspect = sum->past && sum->fresh;
    sum->units = units < SUM_UNITS_MAX - sum->units ? sum->units + units : SUM_UNITS_MAX;
    sum->fresh = sum->fresh || fresh;
    sum->past = sum->past || sum->units > bound || sum->units == SUM_UNITS_MAX;
    return (sum->past && !was_past ? SUM_PASSED : 0) |
           (sum->past && sum->fresh && !was_suspect ? SUM_SUSPECT : 0);
}

unsigned sums_add(sums_t *sums, sum_name_t name, uint32_t units, uint32_t bound, bool fresh)
{
    if (!covers(sums, name.hash))
        return 0;
    sum_t *sum = find(sums, name);
    if (sum->hash == 0 && is_full(sums)) {
        make_room(sums);
        if (!covers(sums, name.hash))
            return 0;
        sum = find(sums, name);
    }
    if (sum->hash == 0) {
        *sum = (sum_t){.hash = name.hash, .check = name.check};
        ++sums->used;
    }
    return add(sum, units, bound, fresh);
}

bool sums_next(sums_t *sums)
{
    if (sums->last == UINT64_MAX)
        return false;
    sums->first = sums->last + 1;
    sums->last = UINT64_MAX;
    rebuild(sums, sums->count);
    return true;
}
