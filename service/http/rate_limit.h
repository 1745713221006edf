/*
 * Limits how often one buyer, and one client address, may request a purchase. Off unless limits.*
 * are set.
 *
 * The rule is the GCRA of ITU-T Recommendation I.371 (traffic control in B-ISDN) in its virtual
 * scheduling form. It decides as a token bucket does, and keeps one number for each key, the
 * theoretical arrival time (TAT): when the bucket will be full again. A request conforms if it does
 * not come earlier than TAT minus the tolerance; only then TAT moves, by one interval. So a refusal
 * writes nothing, and a client that repeats a refused request does not wait longer for it.
 *
 * There is one table for the process, not one for each loop: the kernel distributes connections
 * over the loops (SO_REUSEPORT), so with a table for each loop a buyer could get as many buckets as
 * there are loops, by opening connections. Another process has its own tables: a limit is per
 * process.
 *
 * Memory is bounded, whatever keys clients send. A table is an array of sets of RATE_WAYS entries;
 * the key's hash selects the set. A key without an entry takes the one of its set that is closest
 * to full recovery (the smallest TAT). In most cases that one has recovered, and its loss changes
 * nothing. If none has, the one that owes least is lost: its key starts again with a whole burst,
 * and rate_limit_forgotten_total counts it. So a table that is too small for its number of keys
 * errs on the side of buyers, and loses the keys with the most requests last: keys with one request
 * each cannot displace a key that owes a whole burst. Keys are distinguished by their 64-bit hash
 * alone, XXH3 with a random secret for each table: without the secret a client cannot choose a name
 * that falls into another key's set or entry.
 *
 * Any thread; the owner makes and frees a table while no other thread uses it. A request whose key
 * has an entry takes no lock: it is refused by two loads and admitted by one compare-exchange of
 * the TAT. A key without an entry is always admitted; its entry is made under a lock of its set
 * (LOCKS locks serve all sets), so that it gets one only. While an entry lives, its key never has
 * more requests than the rule allows, on however many threads. No function fails.
 */
#ifndef HOLDFAST_HTTP_RATE_LIMIT_H
#define HOLDFAST_HTTP_RATE_LIMIT_H

#include <sys/socket.h>

#include "base/str.h"
#include "config/config.h"

/* --- the rule; pure --- */

typedef struct {
    uint64_t interval_ns;  /* between two requests in the long run: T of I.371 */
    uint64_t tolerance_ns; /* how much earlier a request may come: tau of I.371 */
} rate_rule_t;

/* The rule for `burst` requests at once after a rest, then `per_second` of them; both at least 1
   and at most 1,000,000. The interval is rounded up to whole nanoseconds: the rate is never
   exceeded, and met to within a thousandth. A refused client never has to wait for more than 1
   s. */
rate_rule_t rate_rule(uint32_t per_second, uint32_t burst);
/* Whether a request at `now_ns` conforms. If it does, `*tat_ns` moves; otherwise it stays. A TAT of
   0 is that of a new key. `now_ns` is monotonic and below 2^63; it may step back by the difference
   between threads. */
bool rate_take(const rate_rule_t *rule, uint64_t now_ns, uint64_t *tat_ns);

/* --- a table of keys --- */

#define RATE_WAYS 8

typedef struct rate_table rate_table_t;

/* Makes a table with room for `entries_max` keys, rounded up to whole sets. Each takes 16 bytes,
   allocated now. */
rate_table_t *rate_table_new(rate_rule_t rule, uint32_t entries_max);
/* Call when no thread uses the table any more. NULL is permitted. */
void rate_table_free(rate_table_t *table);
/* Whether the key may make a request now; if so, it is charged. */
bool rate_table_take(rate_table_t *table, str_t key, uint64_t now_ns);

/* --- what the process limits --- */

typedef struct rate_limits {
    rate_table_t *buyers, *addresses; /* NULL: not limited */
} rate_limits_t;

/* NULL if the configuration sets no limits: then each check is one branch, without a call. */
rate_limits_t *rate_limits_new(const config_t *config);
void rate_limits_free(rate_limits_t *limits);
/* Whether the buyer may make a request now. A refusal is counted. */
bool rate_limits_take_buyer(rate_limits_t *limits, str_t buyer, uint64_t now_ns);
/* Whether the client address may make a request now. An IPv4 address counts as a whole, also if it
   is mapped into IPv6 (RFC 4291, 2.5.5.2: a listener on [::] shows it so). Of an IPv6 address the
   first 64 bits count: the rest is the interface's (RFC 4291, 2.5.1), of which one machine may use
   any number and change them often (RFC 8981). Addresses of another kind are not limited. */
bool rate_limits_take_address(rate_limits_t *limits, const struct sockaddr *address,
                              uint64_t now_ns);

/* The part of an address that is its key, borrowed from it; STR_NONE for an address of another
   kind. */
str_t rate_address_key(const struct sockaddr *address);

#endif
