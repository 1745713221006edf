/* A sale in a few words: items, purchases, a rush of buyers, and what must be true after it. */
#ifndef HOLDFAST_HARNESS_SALE_H
#define HOLDFAST_HARNESS_SALE_H

#include "harness/redis_view.h"
#include "harness/rows.h"
#include "harness/stack.h"
#include "harness/web.h"

#define SALE_ID_SIZE 37

/* A sku that no other test has: `name` is to tell it apart for people. */
const char *sale_sku(const char *name);
/* "2026-01-31T12:00:00Z", so many seconds from now. */
const char *sale_time(int seconds_from_now);
/* Of a time as the API writes it; ms since 1970. Fails if it is not RFC 3339 in UTC. */
long long sale_parse_time(const char *text);
long long sale_now_ms(void); /* since 1970 */

/* --- admin --- */
#define ADMIN(stack_, ...) WEB(.base = (stack_)->admin_url, .token = (stack_)->token, __VA_ARGS__)
/* PUT; `terms` are the inside of the braces, and the format of what follows them. Fails if it is
   not taken. Returns a new sku. */
const char *sale_item(const test_stack_t *stack, const char *name, const char *terms, ...)
    __attribute__((format(printf, 3, 4)));
web_answer_t sale_patch(const test_stack_t *stack, const char *sku, const char *terms, ...)
    __attribute__((format(printf, 3, 4)));

/* GET /v1/audit until it speaks of a run that began after this call; fails if none ends for long.
 */
web_answer_t sale_audit(const test_stack_t *stack);

/* --- buyers --- */
/* `key` NULL: none. */
web_answer_t sale_buy(const test_stack_t *stack, const char *sku, const char *buyer, int quantity,
                      const char *key);
/* Likewise, as a request for a crowd. */
web_request_t sale_request(const test_stack_t *stack, const char *sku, const char *buyer,
                           int quantity, const char *key);
/* A purchase that succeeds however slow the machine is: one that is answered 503 without an order
   is sent again, an order that is answered 202 is waited for. Fails if it is refused, or does not
   end live. Returns the id of the order. */
const char *sale_order(const test_stack_t *stack, const char *sku, const char *buyer, int quantity,
                       const char *key);
web_answer_t sale_get(const test_stack_t *stack, const char *order_id);
/* `move`: "confirm", "cancel", "extend". */
web_answer_t sale_move(const test_stack_t *stack, const char *order_id, const char *move);
/* GET of the item: some 100 ms old, so wait for it. */
long long sale_available(const test_stack_t *stack, const char *sku);
/* The member, or "": for comparing. */
const char *sale_state(const web_answer_t *answer);
const char *sale_id(const web_answer_t *answer);

/* lua and watch. The others need a crowd that sends no faster than it is answered: on a slow
   machine few buyers at a time are all that they can serve within an answer's deadline. */
bool sale_uses_gate(const char *strategy);
#define SALE_FEW 6

/* --- a rush --- */
typedef struct {
    const test_stack_t *stack;
    const test_stack_t *other; /* not NULL: every second buyer goes there */
    const char *sku;
    unsigned buyers, connections;
    unsigned burst, burst_ms; /* see web.h */
    int quantity;             /* 0: 1 */
    const char *key;          /* all send this one, as the same buyer */
    bool until_sold_out;      /* nobody starts after a sold_out */
    /* After each answer, with the number of orders so far; or NULL. */
    void (*after)(void *context, unsigned answers, unsigned created);
    void *context;
} sale_rush_t;

typedef struct {
    unsigned answers, created, pending, replayed;   /* 201 and 202; replayed ones are in neither */
    unsigned sold_out, limited, unavailable, other; /* refusals */
    unsigned refused_connections, unanswered;
    double slowest_s;
    char (*ids)[SALE_ID_SIZE]; /* of `created`, then of `pending` from pending_ids on */
    char (*pending_ids)[SALE_ID_SIZE];
    char last_id[SALE_ID_SIZE]; /* of any order that was named */
    bool one_id;                /* every order that was named is the same */
    char *odd;                  /* the first answer that fits nothing, or NULL */
} sale_tally_t;

sale_tally_t sale_rush(const sale_rush_t *rush);
/* Then waits for orders that a slow machine has answered 202: `created` are all that are live in
   the end, `other` those that are not, `pending` none. */
sale_tally_t sale_rush_to_the_end(const sale_rush_t *rush);
const char *sale_show(const sale_tally_t *tally);

/* --- what must be true --- */
long long sale_live_orders(const test_stack_t *stack, const char *sku);
long long sale_live_units(const test_stack_t *stack, const char *sku);
long long sale_allocated(const test_stack_t *stack, const char *sku);
/* Rows and totals of the item agree, nothing is oversold, no buyer is past the limit of `limit` (0:
   none), no key has two orders. */
#define EXPECT_SOUND(stack_, sku_, limit_)                                                         \
    sale_expect_sound(__FILE__, __LINE__, stack_, sku_, limit_)
void sale_expect_sound(const char *file, int line, const test_stack_t *stack, const char *sku,
                       int limit);
/* What a rush was told is true, and no answer is odd: each 201 is live, and of the 202s as many as
   there are live orders besides; the item is sound, and its gate agrees. */
#define EXPECT_TOLD_TRUE(stack_, sku_, tally_)                                                     \
    sale_expect_told_true(__FILE__, __LINE__, stack_, sku_, tally_)
void sale_expect_told_true(const char *file, int line, const test_stack_t *stack, const char *sku,
                           const sale_tally_t *tally);
/* How many of these orders are live in MySQL. */
long long sale_count_live(const test_stack_t *stack, char (*ids)[SALE_ID_SIZE], unsigned count);
/* Gives all holds of the item this deadline (ms since 1970), past the service: however long it took
   to buy them, they run out together. */
void sale_set_deadlines(const test_stack_t *stack, const char *sku, long long ms);
/* Waits until every order that was answered 202 has ended in MySQL; returns how many are live. */
unsigned sale_settle_pending(const test_stack_t *stack, const sale_tally_t *tally);

#endif
