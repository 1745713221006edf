/*
 * How often one buyer, and one client address, may ask for a purchase: off unless limits.* says so.
 *
 * The rule is the GCRA of ITU-T Recommendation I.371 (traffic control in B-ISDN) in its virtual
 * scheduling form, which decides as a token bucket does and keeps one number for each key, the
 * theoretical arrival time (TAT): when the bucket will be full again. A request conforms if it does
 * not come earlier than TAT minus the tolerance; only then TAT moves, by one interval. So a refusal
 * writes nothing, and who is refused and asks again does not wait longer for it.
 *
 * One table for the process, not one for each loop: the kernel deals connections out to the loops
 * (SO_REUSEPORT), so a table for each would let one buyer have as many buckets as there are loops,
 * by opening connections. Another process has tables of its own: a limit is per process.
 *
 * Memory is bounded, whatever strangers send. A table is an array of sets of RATE_WAYS entries; the
 * key's hash says which set. A key without an entry takes the one of its set that is closest to
 * full recovery (the smallest TAT). Mostly that one has recovered, and forgetting it changes
 * nothing. If none has, the one that owes least is forgotten: its key starts afresh, with a whole
 * burst, and rate_limit_forgotten_total counts it. So a table that is too small for its crowd
 * errs on the side of buyers, and forgets those who ask most at last: against a key that owes a
 * whole burst no crowd of keys that ask once does anything. Keys are told apart by their 64-bit
 * hash alone, XXH3 with a secret that is drawn at random for each table: who does not know it
 * cannot choose a name that falls into another one's set or entry.
 *
 * Any thread. A request whose key has an entry takes no lock: it is refused by two loads and
 * admitted by one compare-exchange of the TAT. A key without an entry is always admitted, and its
 * entry is made under a lock of its set (LOCKS share all sets), so that it gets one only. While an
 * entry lives, its key never has more than the rule allows, by however many threads.
 */
#ifndef HOLDFAST_HTTP_RATE_LIMIT_H
#define HOLDFAST_HTTP_RATE_LIMIT_H

#include <sys/socket.h>

#include "base/str.h"
#include "config/config.h"

/* --- the rule; pure --- */

typedef struct {
    uint64_t interval_ns;  /* between two requests, for ever: T of I.371 */
    uint64_t tolerance_ns; /* how much earlier than that one may come: tau */
} rate_rule_t;

/* `burst` requests at once after a rest, then `per_second` of them; both at least 1 and at most
   1,000,000. The interval is rounded up to whole nanoseconds: the rate is met to within a
   thousandth, and never exceeded. No one who is refused has to wait for more than a second. */
rate_rule_t rate_rule(uint32_t per_second, uint32_t burst);
/* Does a request at `now_ns` conform? Then `*tat_ns` is moved, else it stays. A TAT of 0 is that of
   a key that never asked. `now_ns` is monotonic and below 2^63; it may step back by what threads
   differ in. */
bool rate_take(const rate_rule_t *rule, uint64_t now_ns, uint64_t *tat_ns);

/* --- a table of keys --- */

#define RATE_WAYS 8

typedef struct rate_table rate_table_t;

/* Has room for `entries_max` keys, rounded up to whole sets, in 16 bytes each, all taken now. */
rate_table_t *rate_table_new(rate_rule_t rule, uint32_t entries_max);
/* When no thread uses it any more. NULL is fine. */
void rate_table_free(rate_table_t *table);
bool rate_table_take(rate_table_t *table, str_t key, uint64_t now_ns);

/* --- what the process limits --- */

typedef struct rate_limits {
    rate_table_t *buyers, *addresses; /* NULL: not limited */
} rate_limits_t;

/* NULL if the configuration limits nothing: then each question is one branch, and no call. */
rate_limits_t *rate_limits_new(const config_t *config);
void rate_limits_free(rate_limits_t *limits);
/* May this buyer ask now? Counts it if not. */
bool rate_limits_take_buyer(rate_limits_t *limits, str_t buyer, uint64_t now_ns);
/* May whoever is at this address? The whole of an IPv4 address, also of one that is mapped into
   IPv6 (RFC 4291, 2.5.5.2: a listener on [::] shows them so), but the first 64 bits of an IPv6
   address: the rest is the interface's (RFC 4291, 2.5.1), of which one machine may use as many as
   it likes and new ones all the time (RFC 8981). Addresses of another kind are not limited. */
bool rate_limits_take_address(rate_limits_t *limits, const struct sockaddr *address,
                              uint64_t now_ns);

/* The part of an address that is a key, borrowed from it; STR_NONE for one of another kind. */
str_t rate_address_key(const struct sockaddr *address);

#endif
