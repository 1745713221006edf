#include "http/rate_limit.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/alloc.h"
#include "base/random.h"
#include "metrics/metrics.h"

#define NS_PER_S UINT64_C(1000000000)
/* The number of threads that can make entries at the same time. */
#define LOCKS 64
#define CACHE_LINE 64

/* tats[i] is the TAT of the key keys[i]; 0: the entry is free. Keys change under the set's lock
   only, and are 0 while their TAT is replaced. */
typedef struct {
    _Atomic uint64_t keys[RATE_WAYS];
    _Atomic uint64_t tats[RATE_WAYS];
} rate_set_t;
_Static_assert(sizeof(rate_set_t) % CACHE_LINE == 0, "sets share no cache line");

struct rate_table {
    rate_rule_t rule;
    uint32_t sets_count;
    rate_set_t *sets;
    pthread_mutex_t locks[LOCKS]; /* of set i: i % LOCKS */
    unsigned char secret[XXH3_SECRET_DEFAULT_SIZE];
};

/* --- the rule --- */

rate_rule_t rate_rule(uint32_t per_second, uint32_t burst)
{
    uint64_t interval_ns = (NS_PER_S + per_second - 1) / per_second;
    return (rate_rule_t){interval_ns, (burst - 1) * interval_ns};
}

bool rate_take(const rate_rule_t *rule, uint64_t now_ns, uint64_t *tat_ns)
{
    uint64_t from_ns = *tat_ns > now_ns ? *tat_ns : now_ns;
    if (from_ns - now_ns > rule->tolerance_ns)
        return false;
    *tat_ns = from_ns + rule->interval_ns;
    return true;
}

/* --- a table --- */

rate_table_t *rate_table_new(rate_rule_t rule, uint32_t entries_max)
{
    rate_table_t *table = alloc_zero(1, sizeof(*table));
    table->rule = rule;
    table->sets_count = (entries_max + RATE_WAYS - 1) / RATE_WAYS;
    table->sets = alloc_aligned(CACHE_LINE, table->sets_count * sizeof(rate_set_t));
    for (unsigned i = 0; i < LOCKS; ++i)
        pthread_mutex_init(&table->locks[i], NULL);
    random_bytes(table->secret, sizeof(table->secret));
    return table;
}

void rate_table_free(rate_table_t *table)
{
    if (table == NULL)
        return;
    for (unsigned i = 0; i < LOCKS; ++i)
        pthread_mutex_destroy(&table->locks[i]);
    free((void *)table->sets);
    free(table);
}

typedef enum { RATE_TAKEN, RATE_REFUSED, RATE_ABSENT } rate_verdict_t;

/* The key is read again after its TAT: a TAT that was stored for another key is visible only after
   this key was removed, so the key then differs. The exchange may still meet an entry that changed
   its key since, if the other key's TAT is the same to the nanosecond. Then the other key is
   charged, and this one has lost its entry anyway. */
static rate_verdict_t take_entry(rate_table_t *table, rate_set_t *set, unsigned i, uint64_t key,
                                 uint64_t now_ns)
{
    uint64_t tat_ns = atomic_load_explicit(&set->tats[i], memory_order_acquire);
    for (;;) {
        uint64_t next_ns = tat_ns;
        if (atomic_load_explicit(&set->keys[i], memory_order_relaxed) != key)
            return RATE_ABSENT;
        if (!rate_take(&table->rule, now_ns, &next_ns))
            return RATE_REFUSED;
        if (atomic_compare_exchange_weak_explicit(&set->tats[i], &tat_ns, next_ns,
                                                  memory_order_acq_rel, memory_order_acquire))
            return RATE_TAKEN;
    }
}

static rate_verdict_t take_known(rate_table_t *table, rate_set_t *set, uint64_t key,
                                 uint64_t now_ns)
{
    for (unsigned i = 0; i < RATE_WAYS; ++i)
        if (atomic_load_explicit(&set->keys[i], memory_order_acquire) == key)
            return take_entry(table, set, i, key, now_ns);
    return RATE_ABSENT;
}

/* Makes an entry, with one request charged. Call under the set's lock. The key is 0 while the TAT
   changes, so that no reader charges the old key with the new TAT. */
static void make_entry(rate_table_t *table, rate_set_t *set, uint64_t key, uint64_t now_ns)
{
    unsigned victim = 0;
    uint64_t least_ns = UINT64_MAX, tat_ns = 0;
    for (unsigned i = 0; i < RATE_WAYS; ++i) {
        uint64_t its_ns = atomic_load_explicit(&set->tats[i], memory_order_relaxed);
        if (its_ns < least_ns) {
            victim = i;
            least_ns = its_ns;
        }
    }
    if (least_ns > now_ns)
        METRIC_INC(rate_limit_forgotten_total);
    rate_take(&table->rule, now_ns, &tat_ns);
    atomic_store_explicit(&set->keys[victim], 0, memory_order_relaxed);
    atomic_store_explicit(&set->tats[victim], tat_ns, memory_order_release);
    atomic_store_explicit(&set->keys[victim], key, memory_order_release);
}

static rate_verdict_t take_locked(rate_table_t *table, uint32_t at, uint64_t key, uint64_t now_ns)
{
    pthread_mutex_t *lock = &table->locks[at % LOCKS];
    pthread_mutex_lock(lock);
    rate_verdict_t verdict = take_known(table, &table->sets[at], key, now_ns);
    if (verdict == RATE_ABSENT)
        make_entry(table, &table->sets[at], key, now_ns);
    pthread_mutex_unlock(lock);
    return verdict;
}

bool rate_table_take(rate_table_t *table, str_t name, uint64_t now_ns)
{
    uint64_t hash = XXH3_64bits_withSecret(name.p, name.n, table->secret, sizeof(table->secret));
    uint64_t key = hash == 0 ? 1 : hash;
    /* The high word of a product: distributed as evenly as a remainder, without a division. */
    uint32_t at = (uint32_t)(((hash >> 32) * table->sets_count) >> 32);
    rate_verdict_t verdict = take_known(table, &table->sets[at], key, now_ns);
    if (verdict == RATE_ABSENT)
        verdict = take_locked(table, at, key, now_ns);
    return verdict != RATE_REFUSED;
}

/* --- what the process limits --- */

rate_limits_t *rate_limits_new(const config_t *config)
{
    uint32_t buyers = config->limits.buyer_per_second;
    uint32_t addresses = config->limits.address_per_second;
    uint32_t entries_max = config->limits.entries_max;
    if (buyers == 0 && addresses == 0)
        return NULL;
    rate_limits_t *limits = alloc_zero(1, sizeof(*limits));
    if (buyers != 0)
        limits->buyers = rate_table_new(rate_rule(buyers, config->limits.buyer_burst), entries_max);
    if (addresses != 0)
        limits->addresses =
            rate_table_new(rate_rule(addresses, config->limits.address_burst), entries_max);
    return limits;
}

void rate_limits_free(rate_limits_t *limits)
{
    if (limits == NULL)
        return;
    rate_table_free(limits->buyers);
    rate_table_free(limits->addresses);
    free(limits);
}

bool rate_limits_take_buyer(rate_limits_t *limits, str_t buyer, uint64_t now_ns)
{
    if (limits->buyers == NULL || rate_table_take(limits->buyers, buyer, now_ns))
        return true;
    METRIC_INC(rate_limited_by_buyer_total);
    return false;
}

str_t rate_address_key(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return (str_t){(const char *)&v4->sin_addr, sizeof(v4->sin_addr)};
    }
    if (address->sa_family != AF_INET6)
        return STR_NONE;
    const char *bytes = (const char *)&((const struct sockaddr_in6 *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)bytes))
        return (str_t){bytes + 12, 4};
    return (str_t){bytes, 8};
}

bool rate_limits_take_address(rate_limits_t *limits, const struct sockaddr *address,
                              uint64_t now_ns)
{
    if (limits->addresses == NULL)
        return true;
    str_t key = rate_address_key(address);
    if (key.n == 0 || rate_table_take(limits->addresses, key, now_ns))
        return true;
    METRIC_INC(rate_limited_by_address_total);
    return false;
}
