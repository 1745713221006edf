#include "admin/order_rows.h"

#include <strings.h>

#include "base/clock.h"
#include "http/order_json.h"

static const struct {
    const char *name, *type;
} formats[] = {
    [ORDERS_JSON] = {"json", "application/json"},
    [ORDERS_NDJSON] = {"ndjson", "application/x-ndjson"},
    [ORDERS_CSV] = {"csv", "text/csv; charset=utf-8; header=present"},
};
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

bool orders_format_parse(str_t name, orders_format_t *out)
{
    for (unsigned i = 0; i < FORMATS; ++i)
        if (str_eq(name, str_of(formats[i].name))) {
            *out = (orders_format_t)i;
            return true;
        }
    return false;
}

const char *orders_format_type(orders_format_t format)
{
    return formats[format].type;
}

/* --- Accept (RFC 9110, 12.5.1) --- */

static str_t trimmed(str_t text)
{
    while (text.n != 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
        text = (str_t){text.p + 1, text.n - 1};
    while (text.n != 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        --text.n;
    return text;
}

/* Takes what stands before the first `separator` off the front of `rest`. */
static str_t take_before(str_t *rest, char separator)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, separator, rest->n);
    str_t taken = {rest->p, end == NULL ? rest->n : (size_t)(end - rest->p)};
    size_t skip = end == NULL ? rest->n : taken.n + 1;
    *rest = (str_t){rest->p + skip, rest->n - skip};
    return trimmed(taken);
}

static bool is_word(str_t text, const char *word)
{
    return text.n == strlen(word) && strncasecmp(text.p, word, text.n) == 0;
}

/* -1: none of them. */
static int format_of_range(str_t range)
{
    static const struct {
        const char *range;
        orders_format_t format;
    } ranges[] = {
        {"application/json", ORDERS_JSON}, {"application/x-ndjson", ORDERS_NDJSON},
        {"text/csv", ORDERS_CSV},          {"*/*", ORDERS_JSON},
        {"application/*", ORDERS_JSON},    {"text/*", ORDERS_CSV},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); ++i)
        if (is_word(range, ranges[i].range))
            return (int)ranges[i].format;
    return -1;
}

/* A weight in thousandths, of the parameters of a range: 1000 without one. */
static unsigned weight_of(str_t parameters)
{
    while (parameters.n != 0) {
        str_t value = take_before(&parameters, ';'), name = take_before(&value, '=');
        if (!is_word(name, "q"))
            continue;
        unsigned weight = 0, unit = 1000;
        for (size_t i = 0; i < value.n && unit != 0; ++i)
            if (value.p[i] >= '0' && value.p[i] <= '9') {
                weight += unit * (unsigned)(value.p[i] - '0');
                unit /= 10;
            }
        return weight;
    }
    return 1000;
}

orders_format_t orders_format_accepted(str_t accept)
{
    orders_format_t best = ORDERS_JSON;
    unsigned best_weight = 0;
    while (accept.n != 0) {
        str_t element = take_before(&accept, ',');
        int format = format_of_range(take_before(&element, ';'));
        unsigned weight = weight_of(element);
        if (format >= 0 && weight > best_weight) {
            best = (orders_format_t)format;
            best_weight = weight;
        }
    }
    return best;
}

/* --- CSV --- */

str_t orders_csv_head(void)
{
    return STR("order_id,sku,buyer_id,quantity,state,created_at,expires_at,reject_code,"
               "original_order_id\r\n");
}

/* Spreadsheets begin a formula at one of these; some skip white space before it. */
static bool is_risky(char first)
{
    return memchr("=+-@'\t\r\n", first, 8) != NULL;
}

void csv_field_put(char **at, str_t value)
{
    bool quoted = false;
    for (size_t i = 0; i < value.n; ++i)
        quoted = quoted || memchr("\",\r\n", value.p[i], 4) != NULL;
    if (quoted)
        *(*at)++ = '"';
    if (value.n != 0 && is_risky(value.p[0]))
        *(*at)++ = '\'';
    for (size_t i = 0; i < value.n; ++i) {
        if (value.p[i] == '"')
            *(*at)++ = '"';
        *(*at)++ = value.p[i];
    }
    if (quoted)
        *(*at)++ = '"';
}

static void put_id(char **at, const order_id_t *id)
{
    char text[ORDER_ID_TEXT + 1];
    if (order_id_is_none(id))
        return;
    order_id_format(text, id);
    str_put(at, (str_t){text, ORDER_ID_TEXT});
}

static void put_time(char **at, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms == 0)
        return;
    time_format_rfc3339(text, ms);
    str_put(at, str_of(text));
}

static void put_csv(char **at, const order_t *order)
{
    problem_t why = order->reject_code;
    put_id(at, &order->id);
    *(*at)++ = ',';
    csv_field_put(at, order_sku(order));
    *(*at)++ = ',';
    csv_field_put(at, order_buyer(order));
    *(*at)++ = ',';
    if (order->quantity != 0)
        str_put_u64(at, order->quantity);
    *(*at)++ = ',';
    str_put(at, str_of(order_state_name(order->state)));
    *(*at)++ = ',';
    put_time(at, order->created_at_ms);
    *(*at)++ = ',';
    put_time(at, order->expires_at_ms);
    *(*at)++ = ',';
    if (why != PROBLEM_NONE)
        str_put(at, str_of(problem_code(why)));
    *(*at)++ = ',';
    put_id(at, &order->original_id);
    str_put(at, STR("\r\n"));
}

void order_row_put(char **at, orders_format_t format, const order_t *order)
{
    _Static_assert(ORDER_ROW_MAX >= ORDER_JSON_MAX + 4, "a line of NDJSON");
    if (format == ORDERS_CSV) {
        put_csv(at, order);
        return;
    }
    str_put(at, STR("{"));
    order_json_put(at, order);
    str_put(at, STR("}\n"));
}
