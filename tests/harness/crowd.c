#include "crowd.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#define NODES_MAX 4
/* A service that is gone is tried again after so long. */
#define AWAY_MS 200
/* Above any answer deadline of a service. */
#define TIMEOUT_MS 15000
#define BURST_MS 20
/* Moves and repeats look at so many of the latest. */
#define RECENT 300

/* Percent of all requests. */
#define MOVES 20
#define REPEATS 10
/* Percent of purchases. */
#define KEYED 50

typedef enum { ASK_BUY, ASK_CONFIRM, ASK_CANCEL, ASK_EXTEND, ASK_GIVE_BACK } ask_t;

typedef struct {
    ask_t ask;
    unsigned node, wish, order;
    bool mute; /* Redis, when it was sent */
} sent_t;

typedef struct {
    UT_hash_handle hh;
    crowd_order_t order; /* by id */
} known_t;

struct crowd {
    crowd_plan_t plan;
    char *urls[NODES_MAX];
    char *skus[CROWD_SKUS_MAX];
    unsigned number; /* tells crowds apart */
    chance_t chance;
    long long away_until_ms[NODES_MAX];
    crowd_wish_t *wishes;
    unsigned wishes_count, wishes_room;
    sent_t *sent;
    unsigned sent_room;
    known_t **orders, *by_id;
    unsigned orders_count, orders_room;
    char body[512], path[128], key[64]; /* of the request that is being made */
    char *odd;
    atomic_uint received[CROWD_KINDS];
    atomic_bool stopping, redis_is_mute;
    bool joined;
    pthread_t thread;
};

/* --- memory --- */

static void *grown(void *array, unsigned *room, unsigned count, size_t size)
{
    if (count < *room)
        return array;
    *room = *room == 0 ? 1024 : *room * 2;
    array = realloc(array, *room * size);
    if (array == NULL)
        abort();
    return array;
}

static crowd_order_t *order_of(crowd_t *crowd, const char *id, unsigned wish)
{
    known_t *known;
    HASH_FIND_STR(crowd->by_id, id, known);
    if (known != NULL) {
        if (known->order.wish != wish)
            known->order.other_wish = wish;
        return &known->order;
    }
    if ((known = calloc(1, sizeof(*known))) == NULL)
        abort();
    snprintf(known->order.id, sizeof(known->order.id), "%s", id);
    known->order.wish = known->order.other_wish = wish;
    HASH_ADD_STR(crowd->by_id, order.id, known);
    crowd->orders =
        grown(crowd->orders, &crowd->orders_room, crowd->orders_count, sizeof(known_t *));
    crowd->orders[crowd->orders_count++] = known;
    return &known->order;
}

/* --- requests --- */

static unsigned choose_node(crowd_t *crowd)
{
    unsigned count = crowd->plan.nodes_count, first = chance_below(&crowd->chance, count);
    for (unsigned i = 0; i < count; ++i) {
        unsigned node = (first + i) % count;
        if (crowd->away_until_ms[node] <= test_clock_ms())
            return node;
    }
    return first;
}

/* One of the latest RECENT of `count`. */
static unsigned recent(crowd_t *crowd, unsigned count)
{
    return count - 1 - chance_below(&crowd->chance, count < RECENT ? count : RECENT);
}

static unsigned new_wish(crowd_t *crowd)
{
    crowd->wishes =
        grown(crowd->wishes, &crowd->wishes_room, crowd->wishes_count, sizeof(*crowd->wishes));
    crowd->wishes[crowd->wishes_count] = (crowd_wish_t){
        .item = chance_below(&crowd->chance, crowd->plan.skus_count),
        .buyer = chance_below(&crowd->chance, crowd->plan.buyers),
        .quantity = 1 + (int)chance_below(&crowd->chance, crowd->plan.quantity_max),
        .keyed = chance_percent(&crowd->chance, KEYED),
    };
    return crowd->wishes_count++;
}

static unsigned choose_wish(crowd_t *crowd)
{
    if (crowd->wishes_count != 0 && chance_percent(&crowd->chance, REPEATS)) {
        unsigned wish = recent(crowd, crowd->wishes_count);
        if (crowd->wishes[wish].keyed)
            return wish;
    }
    return new_wish(crowd);
}

static web_request_t purchase(crowd_t *crowd, const sent_t *sent)
{
    const crowd_wish_t *wish = &crowd->wishes[sent->wish];
    snprintf(crowd->body, sizeof(crowd->body),
             "{\"sku\":\"%s\",\"buyer_id\":\"c%u-%u\",\"quantity\":%d}", crowd->skus[wish->item],
             crowd->number, wish->buyer, wish->quantity);
    snprintf(crowd->key, sizeof(crowd->key), "c%u-%u", crowd->number, sent->wish);
    return (web_request_t){
        .path = "/v1/orders", .body = crowd->body, .key = wish->keyed ? crowd->key : NULL};
}

static web_request_t move(crowd_t *crowd, const sent_t *sent)
{
    static const char *const words[] = {[ASK_CONFIRM] = "confirm",
                                        [ASK_CANCEL] = "cancel",
                                        [ASK_EXTEND] = "extend",
                                        [ASK_GIVE_BACK] = "cancel"};
    crowd_order_t *order = &crowd->orders[sent->order]->order;
    bool part = sent->ask == ASK_GIVE_BACK;
    order->cancel_sent |= sent->ask == ASK_CANCEL;
    order->part_sent |= part;
    snprintf(crowd->path, sizeof(crowd->path), "/v1/orders/%s/%s", order->id, words[sent->ask]);
    return (web_request_t){.method = "POST",
                           .path = crowd->path,
                           .body = part ? "{\"quantity\":1}" : NULL,
                           .key = part ? "part" : NULL};
}

/* One unit of an order that has more; of the others, something else. */
static ask_t choose_move(crowd_t *crowd, unsigned order)
{
    ask_t ask = ASK_CONFIRM + chance_below(&crowd->chance, 4);
    bool single = crowd->wishes[crowd->orders[order]->order.wish].quantity == 1;
    return ask == ASK_GIVE_BACK && single ? ASK_EXTEND : ask;
}

static web_request_t next_request(void *context, unsigned i)
{
    crowd_t *crowd = context;
    sent_t sent = {
        .ask = ASK_BUY, .node = choose_node(crowd), .mute = atomic_load(&crowd->redis_is_mute)};
    if (!crowd->plan.keeps_all && crowd->orders_count != 0 &&
        chance_percent(&crowd->chance, MOVES)) {
        sent.order = recent(crowd, crowd->orders_count);
        sent.ask = choose_move(crowd, sent.order);
    } else {
        sent.wish = choose_wish(crowd);
    }
    crowd->sent = grown(crowd->sent, &crowd->sent_room, i, sizeof(*crowd->sent));
    crowd->sent[i] = sent;
    web_request_t request = sent.ask == ASK_BUY ? purchase(crowd, &sent) : move(crowd, &sent);
    request.base = crowd->urls[sent.node];
    request.sent_once = true;
    request.timeout_ms = TIMEOUT_MS;
    return request;
}

/* --- answers --- */

static void note_odd(crowd_t *crowd, const web_answer_t *answer)
{
    if (crowd->odd == NULL &&
        asprintf(&crowd->odd, "%ld: %.500s", answer->status, answer->body) < 0)
        abort();
}

/* Deadlines only move on: an answer that comes late takes nothing back. */
static void note_deadline(crowd_order_t *order, const web_answer_t *answer)
{
    const char *at = web_string(answer, "expires_at");
    if (at != NULL && strcmp(at, order->expires_at) > 0)
        snprintf(order->expires_at, sizeof(order->expires_at), "%s", at);
}

static crowd_kind_t take_order(crowd_t *crowd, const sent_t *sent, const web_answer_t *answer)
{
    crowd_order_t *order = order_of(crowd, sale_id(answer), sent->wish);
    crowd_wish_t *wish = &crowd->wishes[sent->wish];
    if (answer->status == 201)
        order->created = true;
    else
        order->pending = true;
    order->acknowledged |=
        answer->status == 202 && !sent->mute && !atomic_load(&crowd->redis_is_mute);
    wish->replayed += answer->replayed[0] != '\0';
    wish->named += answer->replayed[0] == '\0';
    note_deadline(order, answer);
    return answer->replayed[0] != '\0' ? CROWD_REPLAYED
           : answer->status == 201     ? CROWD_CREATED
                                       : CROWD_PENDING;
}

static crowd_kind_t take_refusal(crowd_t *crowd, unsigned wish, const web_answer_t *answer)
{
    if (sale_id(answer)[0] != '\0')
        order_of(crowd, sale_id(answer), wish)->refused = true;
    crowd_kind_t kind = web_has_code(answer, "sold_out")               ? CROWD_SOLD_OUT
                        : web_has_code(answer, "buyer_limit_exceeded") ? CROWD_LIMITED
                        : web_has_code(answer, "unavailable")          ? CROWD_UNAVAILABLE
                                                                       : CROWD_ODD;
    crowd->wishes[wish].unavailable +=
        kind == CROWD_UNAVAILABLE && sale_id(answer)[0] == '\0' && answer->location[0] == '\0';
    if (kind == CROWD_ODD || web_problem_fault(answer) != NULL) {
        kind = CROWD_ODD;
        note_odd(crowd, answer);
    }
    return kind;
}

static crowd_kind_t take_move(crowd_t *crowd, const sent_t *sent, const web_answer_t *answer)
{
    crowd_order_t *order = &crowd->orders[sent->order]->order;
    if (answer->status == 200) {
        order->confirmed |= sent->ask == ASK_CONFIRM;
        order->cancelled |= sent->ask == ASK_CANCEL;
        order->part_received |= sent->ask == ASK_GIVE_BACK;
        if (sent->ask == ASK_EXTEND)
            note_deadline(order, answer);
        return CROWD_MOVED;
    }
    if (answer->status == 409 && web_has_code(answer, "wrong_state"))
        return CROWD_MOVED; /* to nowhere */
    if (answer->status == 503)
        return CROWD_UNAVAILABLE;
    note_odd(crowd, answer);
    return CROWD_ODD;
}

static crowd_kind_t take(crowd_t *crowd, const sent_t *sent, const web_answer_t *answer)
{
    if (answer->refused) {
        crowd->away_until_ms[sent->node] = test_clock_ms() + AWAY_MS;
        return CROWD_AWAY;
    }
    if (answer->status == 0) {
        if (sent->ask == ASK_BUY)
            ++crowd->wishes[sent->wish].in_doubt;
        return CROWD_LOST;
    }
    if (sent->ask != ASK_BUY)
        return take_move(crowd, sent, answer);
    if ((answer->status == 201 || answer->status == 202) && sale_id(answer)[0] != '\0')
        return take_order(crowd, sent, answer);
    return take_refusal(crowd, sent->wish, answer);
}

static bool took_answer(void *context, unsigned i, const web_answer_t *answer)
{
    crowd_t *crowd = context;
    atomic_fetch_add(&crowd->received[take(crowd, &crowd->sent[i], answer)], 1);
    return !atomic_load(&crowd->stopping);
}

/* --- the thread --- */

static void *crowd_thread(void *context)
{
    crowd_t *crowd = context;
    unsigned burst = crowd->plan.per_second * BURST_MS / 1000;
    web_crowd(&(web_crowd_t){.connections = crowd->plan.connections,
                             .count = UINT32_MAX,
                             .burst = burst == 0 ? 1 : burst,
                             .burst_ms = BURST_MS,
                             .request = next_request,
                             .answered = took_answer,
                             .context = crowd});
    return NULL;
}

/* Not with test_text(): this is called while that memory is being freed. */
void crowd_stop(crowd_t *crowd)
{
    atomic_store(&crowd->stopping, true);
    if (!crowd->joined)
        pthread_join(crowd->thread, NULL);
    crowd->joined = true;
}

static void crowd_free(void *context)
{
    crowd_t *crowd = context;
    known_t *known, *next;
    crowd_stop(crowd);
    HASH_ITER(hh, crowd->by_id, known, next)
    {
        HASH_DEL(crowd->by_id, known);
        free(known);
    }
    for (unsigned i = 0; i < crowd->plan.nodes_count; ++i)
        free(crowd->urls[i]);
    for (unsigned i = 0; i < crowd->plan.skus_count; ++i)
        free(crowd->skus[i]);
    free(crowd->orders);
    free(crowd->wishes);
    free(crowd->sent);
    free(crowd->odd);
    free(crowd);
}

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value == 0 ? fallback : value;
}

crowd_t *crowd_start(const crowd_plan_t *plan)
{
    static unsigned crowds;
    crowd_t *crowd = calloc(1, sizeof(*crowd));
    if (crowd == NULL)
        abort();
    EXPECT(plan->nodes_count <= NODES_MAX && plan->skus_count <= CROWD_SKUS_MAX,
           "%u nodes, %u skus", plan->nodes_count, plan->skus_count);
    crowd->plan = *plan;
    crowd->plan.connections = or_default(plan->connections, 16);
    crowd->plan.per_second = or_default(plan->per_second, 250);
    crowd->plan.buyers = or_default(plan->buyers, 200);
    crowd->plan.quantity_max = or_default(plan->quantity_max, 3);
    crowd->number = ++crowds;
    crowd->chance = chance_of(test_text("crowd %u", crowd->number));
    for (unsigned i = 0; i < plan->nodes_count; ++i)
        crowd->urls[i] = strdup(plan->nodes[i]->url);
    for (unsigned i = 0; i < plan->skus_count; ++i)
        crowd->skus[i] = strdup(plan->skus[i]);
    if (pthread_create(&crowd->thread, NULL, crowd_thread, crowd) != 0)
        FAIL("no thread for a crowd");
    test_keep(crowd, crowd_free);
    return crowd;
}

void crowd_redis_is_mute(crowd_t *crowd, bool mute)
{
    atomic_store(&crowd->redis_is_mute, mute);
}

/* --- looking back --- */

unsigned crowd_received(const crowd_t *crowd, crowd_kind_t kind)
{
    return atomic_load(&crowd->received[kind]);
}

void crowd_await(const crowd_t *crowd, crowd_kind_t kind, unsigned more)
{
    unsigned wanted = crowd_received(crowd, kind) + more;
    long long end = test_clock_ms() + TEST_WAIT_MS;
    while (crowd_received(crowd, kind) < wanted) {
        EXPECT(test_clock_ms() < end, "no %u more answers of kind %d: %s", more, (int)kind,
               crowd_show(crowd));
        usleep(5000);
    }
}

unsigned crowd_wishes(const crowd_t *crowd)
{
    return crowd->wishes_count;
}

const crowd_wish_t *crowd_wish(const crowd_t *crowd, unsigned wish)
{
    return &crowd->wishes[wish];
}

unsigned crowd_orders(const crowd_t *crowd)
{
    return crowd->orders_count;
}

const crowd_order_t *crowd_order(const crowd_t *crowd, unsigned i)
{
    return &crowd->orders[i]->order;
}

const crowd_order_t *crowd_find(const crowd_t *crowd, const char *id)
{
    known_t *known;
    HASH_FIND_STR(crowd->by_id, id, known);
    return known == NULL ? NULL : &known->order;
}

const char *crowd_sku(const crowd_t *crowd, unsigned item)
{
    return crowd->skus[item];
}

unsigned crowd_skus(const crowd_t *crowd)
{
    return crowd->plan.skus_count;
}

bool crowd_redis_keeps_all(const crowd_t *crowd)
{
    return crowd->plan.redis_keeps_all;
}

/* "cCROWD-NUMBER", as buyers and keys are called. */
static bool owns(const crowd_t *crowd, const char *name, unsigned *number)
{
    unsigned of;
    return name != NULL && sscanf(name, "c%u-%u", &of, number) == 2 && of == crowd->number;
}

const char *crowd_buyer(const crowd_t *crowd, unsigned buyer)
{
    return test_text("c%u-%u", crowd->number, buyer);
}

bool crowd_owns_buyer(const crowd_t *crowd, const char *buyer_id, unsigned *buyer)
{
    return owns(crowd, buyer_id, buyer);
}

bool crowd_owns_key(const crowd_t *crowd, const char *key, unsigned *wish)
{
    return owns(crowd, key, wish) && *wish < crowd->wishes_count;
}

const char *crowd_url(const crowd_t *crowd, unsigned node)
{
    return node < crowd->plan.nodes_count ? crowd->urls[node] : NULL;
}

const char *crowd_odd(const crowd_t *crowd)
{
    return crowd->odd;
}

const char *crowd_show(const crowd_t *crowd)
{
    return test_text("201 %u, 202 %u, repeats %u, sold_out %u, limit %u, 503 %u, odd %u, no answer "
                     "%u, no connection %u, moves %u",
                     crowd_received(crowd, CROWD_CREATED), crowd_received(crowd, CROWD_PENDING),
                     crowd_received(crowd, CROWD_REPLAYED), crowd_received(crowd, CROWD_SOLD_OUT),
                     crowd_received(crowd, CROWD_LIMITED), crowd_received(crowd, CROWD_UNAVAILABLE),
                     crowd_received(crowd, CROWD_ODD), crowd_received(crowd, CROWD_LOST),
                     crowd_received(crowd, CROWD_AWAY), crowd_received(crowd, CROWD_MOVED));
}
