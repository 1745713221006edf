#include "http/fast_order.h"

/* So many digits cannot overflow. */
#define DIGITS_MAX 9

typedef struct {
    const char *at, *end;
} cursor_t;

static void skip_space(cursor_t *c)
{
    while (c->at != c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r' || *c->at == '\n'))
        ++c->at;
}

/* Takes one punctuation mark, with the space around it. */
static bool take(cursor_t *c, char sign)
{
    skip_space(c);
    if (c->at == c->end || *c->at != sign)
        return false;
    ++c->at;
    skip_space(c);
    return true;
}

/* Takes a string of printable ASCII without escapes. */
static bool take_string(cursor_t *c, str_t *out)
{
    if (c->at == c->end || *c->at != '"')
        return false;
    const char *begin = ++c->at;
    while (c->at != c->end && *c->at >= 0x20 && *c->at < 0x7f && *c->at != '"' && *c->at != '\\')
        ++c->at;
    if (c->at == c->end || *c->at != '"')
        return false;
    *out = (str_t){begin, (size_t)(c->at++ - begin)};
    return true;
}

/* Takes a number of at least 1, without a sign, a fraction or an exponent. */
static bool take_number(cursor_t *c, uint32_t *out)
{
    const char *begin = c->at;
    *out = 0;
    while (c->at != c->end && *c->at >= '0' && *c->at <= '9' && c->at - begin < DIGITS_MAX)
        *out = *out * 10 + (uint32_t)(*c->at++ - '0');
    return c->at != begin && *begin != '0';
}

static bool take_member(cursor_t *c, order_body_t *out)
{
    str_t name;
    if (!take_string(c, &name) || !take(c, ':'))
        return false;
    if (str_eq(name, STR("sku")))
        return out->sku.p == NULL && take_string(c, &out->sku);
    if (str_eq(name, STR("buyer_id")))
        return out->buyer_id.p == NULL && take_string(c, &out->buyer_id);
    return str_eq(name, STR("quantity")) && out->quantity == 0 && take_number(c, &out->quantity);
}

bool fast_order_read(str_t body, uint32_t quantity_max, order_body_t *out)
{
    *out = (order_body_t){STR_NONE, STR_NONE, 0};
    if (body.n == 0) /* the pointer may then be NULL */
        return false;
    cursor_t c = {body.p, body.p + body.n};
    if (!take(&c, '{'))
        return false;
    for (int i = 0; i < 3; ++i)
        if ((i != 0 && !take(&c, ',')) || !take_member(&c, out))
            return false;
    return take(&c, '}') && c.at == c.end && is_sku(out->sku) && out->buyer_id.n >= 1 &&
           out->buyer_id.n <= BUYER_BYTES_MAX && out->quantity >= 1 &&
           out->quantity <= quantity_max;
}
