#include "http/order_json.h"

#include "base/clock.h"

/* Appends `text`, escaped. It is UTF-8 without control characters, which body_parse() has
   checked. */
static void put_escaped(char **at, str_t text)
{
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            *(*at)++ = '\\';
        *(*at)++ = text.p[i];
    }
}

static void put_string(char **at, str_t name, str_t value)
{
    str_put(at, name);
    if (value.n == 0) {
        str_put(at, STR("null"));
        return;
    }
    str_put(at, STR("\""));
    put_escaped(at, value);
    str_put(at, STR("\""));
}

static void put_id(char **at, str_t name, const order_id_t *id)
{
    char text[ORDER_ID_TEXT + 1];
    bool none = order_id_is_none(id);
    if (!none)
        order_id_format(text, id);
    put_string(at, name, none ? STR_NONE : (str_t){text, ORDER_ID_TEXT});
}

static void put_time(char **at, str_t name, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms != 0)
        time_format_rfc3339(text, ms);
    put_string(at, name, ms == 0 ? STR_NONE : str_of(text));
}

void order_json_put(char **at, const order_t *order)
{
    problem_t why = order->reject_code;
    put_id(at, STR("\"order_id\":"), &order->id);
    put_string(at, STR(",\"sku\":"), order_sku(order));
    put_string(at, STR(",\"buyer_id\":"), order_buyer(order));
    str_put(at, STR(",\"quantity\":"));
    if (order->quantity != 0)
        str_put_u64(at, order->quantity);
    else
        str_put(at, STR("null"));
    put_string(at, STR(",\"state\":"), str_of(order_state_name(order->state)));
    put_time(at, STR(",\"created_at\":"), order->created_at_ms);
    put_time(at, STR(",\"expires_at\":"), order->expires_at_ms);
    put_string(at, STR(",\"reject_code\":"),
               why == PROBLEM_NONE ? STR_NONE : str_of(problem_code(why)));
    put_id(at, STR(",\"original_order_id\":"), &order->original_id);
}
