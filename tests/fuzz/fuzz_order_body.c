/* The body of a purchase: what is taken keeps the documented limits and survives a round trip. */
#include "fuzz/fuzz.h"
#include "fuzz/json_oracle.h"
#include "http/fast_order.h"

#define QUANTITY_MAX 1000

static void check_order(const order_body_t *order)
{
    EXPECT(is_sku(order->sku) && order->sku.n >= 1 && order->sku.n <= 64);
    EXPECT(is_buyer_id(order->buyer_id) && order->buyer_id.n >= 1 && order->buyer_id.n <= 128);
    EXPECT(fuzz_is_utf8(order->sku) && fuzz_is_utf8(order->buyer_id));
    EXPECT(!fuzz_has_control(order->sku) && !fuzz_has_control(order->buyer_id));
    EXPECT(order->quantity >= 1 && order->quantity <= QUANTITY_MAX);
}

static void check_refusal(const mistake_t *mistake)
{
    EXPECT(mistake->problem == PROBLEM_MALFORMED_JSON ||
           mistake->problem == PROBLEM_INVALID_REQUEST);
    EXPECT(mistake->detail[0] != '\0' && fuzz_is_utf8(str_of(mistake->detail)));
}

/* Written again by cJSON, it is the same order. */
static void check_round_trip(const cJSON *json, const order_body_t *order)
{
    mistake_t mistake;
    order_body_t again;
    char *text = cJSON_PrintUnformatted(json);
    EXPECT(text != NULL);
    cJSON *reparsed = body_parse(str_of(text), &mistake);
    EXPECT(reparsed != NULL);
    EXPECT(body_read_order(reparsed, QUANTITY_MAX, false, &again, &mistake));
    EXPECT(str_eq(again.sku, order->sku) && str_eq(again.buyer_id, order->buyer_id) &&
           again.quantity == order->quantity);
    cJSON_Delete(reparsed);
    free(text);
}

/* What is read in one pass is what the parser makes of it. */
static void check_plain(str_t body, bool taken, const order_body_t *order)
{
    order_body_t plain;
    if (!fast_order_read(body, QUANTITY_MAX, &plain))
        return;
    EXPECT(taken && str_eq(plain.sku, order->sku) && str_eq(plain.buyer_id, order->buyer_id) &&
           plain.quantity == order->quantity);
}

/* The same object as the body of a cancel. */
static void check_cancel(const cJSON *json)
{
    uint32_t units = 0;
    mistake_t mistake = {PROBLEM_NONE, ""};
    if (!body_read_cancel(json, &units, &mistake))
        check_refusal(&mistake);
    else
        EXPECT(cJSON_GetArraySize(json) == 0 ? units == 0 : units >= 1 && units <= 1000000);
    if (!body_read_nothing(json, &mistake))
        check_refusal(&mistake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mistake_t mistake;
    order_body_t order;
    cJSON *json = body_parse((str_t){(const char *)data, size}, &mistake);
    if (json == NULL) {
        EXPECT(mistake.problem == PROBLEM_MALFORMED_JSON);
        check_plain((str_t){(const char *)data, size}, false, NULL);
        return 0;
    }
    /* The same bytes: a document of RFC 8259 is UTF-8, and an object begins with a brace. */
    EXPECT(fuzz_is_utf8((str_t){(const char *)data, size}) && cJSON_IsObject(json));
    EXPECT(json_is_valid((str_t){(const char *)data, size}, 10000));
    bool taken = body_read_order(json, QUANTITY_MAX, false, &order, &mistake);
    check_plain((str_t){(const char *)data, size}, taken, &order);
    if (taken) {
        check_order(&order);
        check_round_trip(json, &order);
    } else {
        check_refusal(&mistake);
    }
    check_cancel(json);
    cJSON_Delete(json);
    return 0;
}
