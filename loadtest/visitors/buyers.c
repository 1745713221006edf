#include "buyers.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../volley/words.h"

#define EARLY_AGAIN_US 50000 /* after `sale_not_started` */
#define SEEN_AGAIN_US 500000 /* within so long those who see units again buy */
#define ATTEMPTS_MAX 4       /* purchases of one buyer */
#define REACTIONS_MAX 4      /* times the mean: the slowest */
#define JITTER 0.1

static const char *const ask_names[] = {"look", "buy", "wait", "confirm"};

static double chance(buyers_t *b)
{
    return random_next(&b->random);
}

static void plan(buyers_t *b, uint32_t buyer, ask_t ask, uint64_t due_us, unsigned tries,
                 unsigned repeats)
{
    record_offered(b->record, due_us);
    heap_push(&b->due, (attempt_t){.due_us = due_us,
                                   .buyer = buyer,
                                   .kind = (uint8_t)ask,
                                   .tries = (uint16_t)tries,
                                   .repeats = (uint16_t)repeats});
}

static void plan_purchase(buyers_t *b, uint32_t number, uint64_t due_us)
{
    buyer_t *buyer = &b->buyers[number];
    buyer->buys = true;
    ++buyer->attempts;
    plan(b, number, BUY, due_us, 0, buyer->is_bot ? b->habits.repeats : 0);
}

void buyers_begin(buyers_t *b, habits_t habits, record_t *record, uint64_t random)
{
    *b = (buyers_t){.habits = habits, .record = record, .random = random};
    b->buyers = calloc(habits.count, sizeof(*b->buyers));
    assert(b->buyers != NULL);
    record->buyers = habits.count;
    for (uint32_t i = 0; i < habits.count; ++i) {
        buyer_t *buyer = &b->buyers[i];
        buyer->is_bot = chance(b) < habits.bots;
        buyer->is_keyed = !buyer->is_bot || chance(b) < habits.keyed;
        buyer->is_conditional = chance(b) < habits.conditional;
        buyer->abandons = chance(b) < habits.abandon;
        double reaction = fmin(-log(1 - chance(b)), REACTIONS_MAX) * (double)habits.reaction_us;
        plan(b, i, LOOK, (uint64_t)(chance(b) * (double)habits.look_us), 0, 0);
        buyer->clicked_us = habits.opens_us + (buyer->is_bot ? 0 : (uint64_t)reaction);
        plan_purchase(b, i, buyer->clicked_us);
    }
}

/* --- requests --- */

static bool ask_look(buyers_t *b, const attempt_t *what, request_t *request)
{
    buyer_t *buyer = &b->buyers[what->buyer];
    if (buyer->stage != LOOKING || what->due_us >= b->habits.ends_us)
        return false;
    double step = (double)b->habits.look_us * (1 - JITTER + 2 * JITTER * chance(b));
    plan(b, what->buyer, LOOK, what->due_us + (uint64_t)step, 0, 0);
    snprintf(request->path, PATH_BYTES_MAX, "/v1/items/%s", b->habits.sku);
    if (buyer->is_conditional)
        memcpy(request->if_none_match, buyer->etag, sizeof(buyer->etag));
    return true;
}

static bool ask_buy(buyers_t *b, const attempt_t *what, request_t *request)
{
    buyer_t *buyer = &b->buyers[what->buyer];
    if (what->due_us >= b->habits.ends_us) {
        buyer->buys = false;
        return false;
    }
    if (what->repeats > 0) { /* they do not wait for the answer */
        ++b->record->repeats;
        plan(b, what->buyer, BUY, what->due_us + b->habits.gap_us, 0, what->repeats - 1u);
    }
    request->post = true;
    snprintf(request->path, PATH_BYTES_MAX, "/v1/orders");
    snprintf(request->content, sizeof(request->content),
             "{\"sku\":\"%s\",\"buyer_id\":\"d%08" PRIu32 "\",\"quantity\":1}", b->habits.sku,
             what->buyer);
    if (buyer->is_keyed)
        snprintf(request->key, WORD_BYTES_MAX, "k%08" PRIu32 "-%u", what->buyer, buyer->attempts);
    return true;
}

static bool ask_order(buyers_t *b, const attempt_t *what, request_t *request)
{
    const char *id = b->buyers[what->buyer].order_id;
    request->post = what->kind == CONFIRM;
    if (what->kind == CONFIRM)
        snprintf(request->path, PATH_BYTES_MAX, "/v1/orders/%s/confirm", id);
    else if (b->habits.wait_ms > 0)
        snprintf(request->path, PATH_BYTES_MAX, "/v1/orders/%s?wait_ms=%u", id, b->habits.wait_ms);
    else
        snprintf(request->path, PATH_BYTES_MAX, "/v1/orders/%s", id);
    return true;
}

bool buyers_ask(buyers_t *b, attempt_t what, request_t *request)
{
    request->buyer = what.buyer;
    request->kind = what.kind;
    request->tries = what.tries;
    request->due_us = what.due_us;
    switch ((ask_t)what.kind) {
    case LOOK:
        return ask_look(b, &what, request);
    case BUY:
        return ask_buy(b, &what, request);
    case WAIT:
    case CONFIRM:
        return ask_order(b, &what, request);
    }
    return false;
}

/* --- answers --- */

static void told(buyers_t *b, const char *word, uint32_t number)
{
    fprintf(b->habits.orders, "%s %s d%08" PRIu32 "\n", word, b->buyers[number].order_id, number);
}

/* How the first purchase of a buyer ended. */
static void hear(buyers_t *b, buyer_t *buyer, uint64_t now_us)
{
    if (buyer->heard)
        return;
    buyer->heard = true;
    b->last_heard_us = now_us;
    record_ended(b->record, "heard", buyer->clicked_us, NOT_SENT, now_us);
}

/* Again after a while that grows with each try, as the server says at least; the key stays. */
static void try_again(buyers_t *b, const request_t *request, uint64_t now_us)
{
    if (request->tries >= b->habits.retries_max) {
        ++b->record->gave_up;
        if (request->kind == BUY)
            b->buyers[request->buyer].buys = false;
        return;
    }
    ++b->record->retries;
    double wait = (double)b->habits.retry_us * (request->tries + 1.0);
    wait = fmax(wait, 1e6 * request->retry_after_s) * (0.75 + 0.5 * chance(b));
    plan(b, request->buyer, (ask_t)request->kind, now_us + (uint64_t)wait, request->tries + 1u, 0);
}

/* He has it for so long as it is held. */
static void hold(buyers_t *b, uint32_t number, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[number];
    hear(b, buyer, now_us);
    if (buyer->abandons && !buyer->is_again) {
        ++b->abandoned;
        buyer->stage = DONE;
        return;
    }
    plan(b, number, CONFIRM, now_us + (uint64_t)((double)b->habits.think_us * (0.5 + chance(b))), 0,
         0);
}

static void ordered(buyers_t *b, const request_t *request, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[request->buyer];
    char id[40];
    find_word(request->body, "\"order_id\"", id, sizeof(id));
    if (buyer->stage != LOOKING) { /* a repeat; its order is the same, or the audit finds two */
        char kept[40];
        memcpy(kept, buyer->order_id, sizeof(kept));
        memcpy(buyer->order_id, id, sizeof(id));
        told(b, request->status == 201 ? "201" : "202", request->buyer);
        memcpy(buyer->order_id, kept, sizeof(kept));
        return;
    }
    ++b->ordered;
    ++b->record->orders;
    buyer->stage = ORDERED;
    buyer->buys = false;
    memcpy(buyer->order_id, id, sizeof(id));
    told(b, request->status == 201 ? "201" : "202", request->buyer);
    if (request->status == 201)
        hold(b, request->buyer, now_us);
    else
        plan(b, request->buyer, WAIT, now_us, 0, 0);
}

static void bought(buyers_t *b, const request_t *request, const char *code, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[request->buyer];
    if (request->status == 201 || request->status == 202)
        ordered(b, request, now_us);
    else if (strcmp(code, "sold_out") == 0) {
        ++b->sold_out;
        buyer->buys = false;
        if (buyer->stage == LOOKING)
            hear(b, buyer, now_us);
    } else if (strcmp(code, "sale_not_started") == 0)
        plan(b, request->buyer, BUY, now_us + EARLY_AGAIN_US, request->tries, 0);
    else if (request->status >= 500 || request->status == 429)
        try_again(b, request, now_us);
    else
        buyer->buys = false;
}

static void looked(buyers_t *b, const request_t *request, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[request->buyer];
    char word[24];
    memcpy(buyer->etag, request->etag, sizeof(buyer->etag));
    if (request->status != 200)
        return;
    find_word(request->body, "\"available\"", word, sizeof(word));
    long available = atol(word);
    if (word[0] == '\0' || available < 0 || available > (long)b->habits.stock)
        ++b->looks_wrong;
    if (available > 0 && buyer->stage == LOOKING && !buyer->buys &&
        buyer->attempts < ATTEMPTS_MAX) {
        buyer->is_again = true;
        plan_purchase(b, request->buyer, now_us + (uint64_t)(SEEN_AGAIN_US * chance(b)));
    }
}

static void waited(buyers_t *b, const request_t *request, const char *state, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[request->buyer];
    if (request->status != 200)
        try_again(b, request, now_us);
    else if (strcmp(state, "reserved") == 0)
        plan(b, request->buyer, WAIT, now_us + (b->habits.wait_ms > 0 ? 0 : b->habits.poll_us), 0,
             0);
    else if (strcmp(state, "held") == 0) {
        told(b, "held", request->buyer);
        hold(b, request->buyer, now_us);
    } else {
        hear(b, buyer, now_us);
        buyer->stage = DONE;
    }
}

static void confirmed(buyers_t *b, const request_t *request, uint64_t now_us)
{
    buyer_t *buyer = &b->buyers[request->buyer];
    if (request->status == 200) {
        ++b->confirmed;
        told(b, "confirmed", request->buyer);
        buyer->stage = DONE;
    } else if (request->status == 409) {
        ++b->lapsed;
        told(b, "lapsed", request->buyer);
        buyer->stage = DONE;
    } else
        try_again(b, request, now_us);
}

void buyers_answered(buyers_t *b, request_t *request, bool whole, uint64_t now_us)
{
    char kind[KIND_BYTES_MAX], word[32] = "";
    const char *ask = ask_names[request->kind];
    if (!whole) {
        snprintf(kind, sizeof(kind), "%s: no answer", ask);
        record_ended(b->record, kind, request->due_us, request->sent_us, now_us);
        if (request->kind != LOOK)
            try_again(b, request, now_us);
        return;
    }
    ++b->record->answered;
    if (request->status >= 400)
        find_word(request->body, "\"code\"", word, sizeof(word));
    else if (request->kind == WAIT)
        find_word(request->body, "\"state\"", word, sizeof(word));
    snprintf(kind, sizeof(kind), "%s: %d%s%s%s", ask, request->status, word[0] ? " " : "", word,
             request->replayed ? " replayed" : "");
    record_ended(b->record, kind, request->due_us, request->sent_us, now_us);
    switch ((ask_t)request->kind) {
    case LOOK:
        looked(b, request, now_us);
        break;
    case BUY:
        bought(b, request, word, now_us);
        break;
    case WAIT:
        waited(b, request, word, now_us);
        break;
    case CONFIRM:
        confirmed(b, request, now_us);
        break;
    }
}

bool buyers_done(const buyers_t *b, uint64_t now_us)
{
    if (now_us < b->habits.ends_us)
        return false;
    for (unsigned i = 0; i < b->due.count; ++i)
        if (b->due.items[i].kind >= WAIT)
            return false;
    return true;
}
