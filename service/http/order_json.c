#include "http/order_json.h"

#include <string.h>

#include "base/clock.h"

/* Only what a buyer has chosen can need it; most of that needs none. It is UTF-8 without control
   characters, which body_parse() has checked. */
static void put_escaped(char **at, str_t text)
{
    if (memchr(text.p, '"', text.n) == NULL && memchr(text.p, '\\', text.n) == NULL) {
        str_put(at, text);
        return;
    }
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            *(*at)++ = '\\';
        *(*at)++ = text.p[i];
    }
}

static void put_value(char **at, str_t name, str_t value, bool escaped)
{
    str_put(at, name);
    if (value.n == 0) {
        str_put(at, STR("null"));
        return;
    }
    *(*at)++ = '"';
    if (escaped)
        put_escaped(at, value);
    else
        str_put(at, value);
    *(*at)++ = '"';
}

static void put_plain(char **at, str_t name, str_t value)
{
    put_value(at, name, value, false);
}

static void put_id(char **at, str_t name, const order_id_t *id)
{
    char text[ORDER_ID_TEXT + 1];
    bool none = order_id_is_none(id);
    if (!none)
        order_id_format(text, id);
    put_plain(at, name, none ? STR_NONE : (str_t){text, ORDER_ID_TEXT});
}

static void put_time(char **at, str_t name, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms != 0)
        time_format_rfc3339(text, ms);
    put_plain(at, name, ms == 0 ? STR_NONE : str_of(text));
}

void order_json_put(char **at, const order_t *order)
{
    problem_t why = order->reject_code;
    put_id(at, STR("\"order_id\":"), &order->id);
    put_value(at, STR(",\"sku\":"), order_sku(order), true);
    put_value(at, STR(",\"buyer_id\":"), order_buyer(order), true);
    str_put(at, STR(",\"quantity\":"));
    if (order->quantity != 0)
        str_put_u64(at, order->quantity);
    else
        str_put(at, STR("null"));
    put_plain(at, STR(",\"state\":"), str_of(order_state_name(order->state)));
    put_time(at, STR(",\"created_at\":"), order->created_at_ms);
    put_time(at, STR(",\"expires_at\":"), order->expires_at_ms);
    put_plain(at, STR(",\"reject_code\":"),
              why == PROBLEM_NONE ? STR_NONE : str_of(problem_code(why)));
    put_id(at, STR(",\"original_order_id\":"), &order->original_id);
}
