#include "http/body.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <unistr.h>

#include "base/clock.h"

#define LIMIT_MAX 1000000000
#define HOLD_SECONDS_MAX (366 * 86400)
/* The most bytes of an unknown name that a detail shows. */
#define NAME_SHOWN_MAX 40

__attribute__((format(printf, 3, 4))) static bool wrong(mistake_t *mistake, problem_t problem,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mistake->problem = problem;
    vsnprintf(mistake->detail, sizeof(mistake->detail), format, args);
    va_end(args);
    return false;
}

/* --- JSON that cJSON accepts and RFC 8259 does not --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(str_t s, size_t at)
{
    while (at < s.n && is_digit(s.p[at]))
        ++at;
    return at;
}

/* Returns the end of the number at `at` by the grammar of RFC 8259, or 0: it is no number. */
static size_t number_end(str_t s, size_t at)
{
    if (at < s.n && s.p[at] == '-')
        ++at;
    size_t digits = at;
    at = skip_digits(s, at);
    if (at == digits || (s.p[digits] == '0' && at != digits + 1))
        return 0;
    if (at < s.n && s.p[at] == '.') {
        size_t fraction = ++at;
        if ((at = skip_digits(s, at)) == fraction)
            return 0;
    }
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        ++at;
        if (at < s.n && (s.p[at] == '+' || s.p[at] == '-'))
            ++at;
        size_t exponent = at;
        if ((at = skip_digits(s, at)) == exponent)
            return 0;
    }
    return at;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns the end of the four digits of "\uXXXX" at `at`, or 0: there are not four, or they are an
   escaped NUL. cJSON reads a character that is no digit as 0. */
static size_t code_point_end(str_t s, size_t at)
{
    int all = 0;
    if (s.n - at < 4)
        return 0;
    for (size_t end = at + 4; at < end; ++at) {
        int value = hex_value(s.p[at]);
        if (value < 0)
            return 0;
        all |= value;
    }
    return all == 0 ? 0 : at;
}

/* Returns the end of the string at `at`, or 0: it has a control character, an escaped NUL or a
   broken code point. cJSON checks the other escapes. */
static size_t string_end(str_t s, size_t at)
{
    for (++at; at < s.n; ++at) {
        unsigned char c = (unsigned char)s.p[at];
        if (c == '"')
            return at + 1;
        if (c < 0x20)
            return 0;
        if (c == '\\' && ++at < s.n && s.p[at] == 'u') {
            if ((at = code_point_end(s, at + 1)) == 0)
                return 0;
            --at;
        }
    }
    return 0;
}

static bool is_strict_json(str_t s)
{
    for (size_t at = 0; at < s.n;) {
        unsigned char c = (unsigned char)s.p[at];
        if (c == '"')
            at = string_end(s, at);
        else if (c == '-' || is_digit((char)c))
            at = number_end(s, at);
        else if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c >= 0x7f)
            at = 0;
        else
            ++at;
        if (at == 0)
            return false;
    }
    return true;
}

static bool has_duplicate_names(const cJSON *object)
{
    for (const cJSON *a = object->child; a != NULL; a = a->next)
        for (const cJSON *b = a->next; b != NULL; b = b->next)
            if (strcmp(a->string, b->string) == 0)
                return true;
    return false;
}

static bool only_space(const char *from, const char *to)
{
    while (from < to && strchr(" \t\r\n", *from) != NULL && *from != '\0')
        ++from;
    return from == to;
}

/* Every accepted body is a flat object of a few members: so many names at most. */
#define MEMBERS_MAX 32

cJSON *body_parse(str_t body, mistake_t *mistake)
{
    const char *end = NULL;
    cJSON *json = NULL;
    mistake->problem = PROBLEM_NONE;
    if (body.n != 0 && u8_check((const uint8_t *)body.p, body.n) == NULL && is_strict_json(body))
        json = cJSON_ParseWithLengthOpts(body.p, body.n, &end, 0);
    if (json != NULL && cJSON_IsObject(json) && only_space(end, body.p + body.n) &&
        cJSON_GetArraySize(json) <= MEMBERS_MAX && !has_duplicate_names(json))
        return json;
    cJSON_Delete(json);
    wrong(mistake, PROBLEM_MALFORMED_JSON,
          "Send one JSON object in UTF-8, each name once, no NUL characters");
    return NULL;
}

/* --- members --- */

/* The length of a name as a detail shows it, cut between characters, because a detail is UTF-8. */
static int shown_length(const char *name)
{
    size_t n = strnlen(name, NAME_SHOWN_MAX + 1);
    if (n <= NAME_SHOWN_MAX)
        return (int)n;
    for (n = NAME_SHOWN_MAX; n != 0 && ((unsigned char)name[n] & 0xc0) == 0x80;)
        --n;
    return (int)n;
}

static bool only_known(const cJSON *json, const char *const *known, mistake_t *mistake)
{
    for (const cJSON *m = json->child; m != NULL; m = m->next) {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, m->string) != 0)
            ++k;
        if (*k == NULL)
            return wrong(mistake, PROBLEM_INVALID_REQUEST, "%.*s: there is no such member",
                         shown_length(m->string), m->string);
    }
    return true;
}

static str_t string_of(const cJSON *member)
{
    return cJSON_IsString(member) ? str_of(member->valuestring) : STR_NONE;
}

/* Reads a whole number within bounds. Doubles are exact up to 2^53, far above any bound here. */
static bool read_whole(const cJSON *member, const char *name, int64_t min, int64_t max,
                       int64_t *out, mistake_t *mistake)
{
    double v = member != NULL ? member->valuedouble : 0;
    if (!cJSON_IsNumber(member) || !isfinite(v) || v != floor(v) || v < (double)min ||
        v > (double)max)
        return wrong(mistake, PROBLEM_INVALID_REQUEST, "%s: give a whole number from %lld to %lld",
                     name, (long long)min, (long long)max);
    *out = (int64_t)v;
    return true;
}

bool is_sku(str_t text)
{
    if (text.n == 0 || text.n > SKU_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.n; ++i) {
        char c = text.p[i];
        bool alnum = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (i == 0 || c == '\0' || strchr("._:~-", c) == NULL))
            return false;
    }
    return true;
}

/* U+0000 to U+001F, U+007F, and U+0080 to U+009F, which are c2 80 to c2 9f in UTF-8. */
static bool is_control(const char *at, const char *end)
{
    unsigned char c = (unsigned char)*at;
    return c < 0x20 || c == 0x7f || (c == 0xc2 && end - at >= 2 && (unsigned char)at[1] < 0xa0);
}

bool is_plain_text(str_t text, size_t bytes_max)
{
    if (text.n == 0 || text.n > bytes_max || u8_check((const uint8_t *)text.p, text.n))
        return false;
    for (size_t i = 0; i < text.n; ++i)
        if (is_control(text.p + i, text.p + text.n))
            return false;
    return true;
}

bool is_buyer_id(str_t text)
{
    return is_plain_text(text, BUYER_BYTES_MAX);
}

bool is_idempotency_key(str_t text)
{
    if (text.n == 0 || text.n > KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.n; ++i)
        if (text.p[i] < 0x21 || text.p[i] > 0x7e)
            return false;
    return true;
}

/* --- headers --- */

/* Copies a quoted string without its quotes and escapes. `value` begins and ends with a quote. */
static bool unquote(str_t value, char *bytes, str_t *out)
{
    size_t n = 0, end = value.n - 1;
    for (size_t i = 1; i < end; ++i) {
        bool escaped = value.p[i] == '\\';
        if (escaped && ++i == end)
            return false;
        bool special = value.p[i] == '"' || value.p[i] == '\\';
        if (special != escaped || n == KEY_BYTES_MAX)
            return false;
        bytes[n++] = value.p[i];
    }
    *out = (str_t){bytes, n};
    return true;
}

bool idempotency_key_read(str_t value, char *bytes, str_t *key)
{
    *key = value;
    if (value.n != 0 && value.p[0] == '"') {
        if (value.n < 3 || value.p[value.n - 1] != '"')
            return false;
        *key = (str_t){value.p + 1, value.n - 2};
        if ((memchr(key->p, '\\', key->n) != NULL || memchr(key->p, '"', key->n) != NULL) &&
            !unquote(value, bytes, key))
            return false;
    }
    return is_idempotency_key(*key);
}

static bool is_token_char(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t skip_blanks(str_t s, size_t at)
{
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
        ++at;
    return at;
}

static size_t skip_token(str_t s, size_t at)
{
    while (at < s.n && is_token_char(s.p[at]))
        ++at;
    return at;
}

/* Returns the end of the quoted string at `at`, or 0: there is none. */
static size_t quoted_end(str_t s, size_t at)
{
    for (++at; at < s.n && s.p[at] != '"'; ++at)
        if (s.p[at] == '\\')
            ++at;
    return at < s.n ? at + 1 : 0;
}

/* Returns the end of `name=value` at `at`, or 0: there is none. */
static size_t parameter_end(str_t s, size_t at)
{
    size_t name = at;
    at = skip_token(s, at);
    if (at == name || at == s.n || s.p[at] != '=')
        return 0;
    size_t value = ++at;
    if (at < s.n && s.p[at] == '"')
        return quoted_end(s, at);
    at = skip_token(s, at);
    return at == value ? 0 : at;
}

bool is_media_type(str_t value, const char *type)
{
    size_t at = strlen(type);
    if (value.n < at || strncasecmp(value.p, type, at) != 0)
        return false;
    while ((at = skip_blanks(value, at)) < value.n) {
        if (value.p[at] != ';')
            return false;
        at = skip_blanks(value, at + 1);
        if (at < value.n && value.p[at] != ';' && (at = parameter_end(value, at)) == 0)
            return false;
    }
    return true;
}

/* --- bodies --- */

#define SKU_RULE "sku: give 1 to 64 letters, digits or . _ : ~ - beginning with a letter or digit"
#define BUYER_RULE "buyer_id: give 1 to 128 bytes of UTF-8 without control characters"

bool body_read_order(const cJSON *json, uint32_t quantity_max, bool known_buyer, order_body_t *out,
                     mistake_t *mistake)
{
    static const char *const known[] = {"sku", "buyer_id", "quantity", NULL};
    int64_t quantity;
    if (!only_known(json, known, mistake))
        return false;
    out->sku = string_of(cJSON_GetObjectItemCaseSensitive(json, "sku"));
    const cJSON *buyer = cJSON_GetObjectItemCaseSensitive(json, "buyer_id");
    out->buyer_id = string_of(buyer);
    if (!is_sku(out->sku))
        return wrong(mistake, PROBLEM_INVALID_REQUEST, SKU_RULE);
    if (!(known_buyer && buyer == NULL) && !is_buyer_id(out->buyer_id))
        return wrong(mistake, PROBLEM_INVALID_REQUEST, BUYER_RULE);
    if (!read_whole(cJSON_GetObjectItemCaseSensitive(json, "quantity"), "quantity", 1, quantity_max,
                    &quantity, mistake))
        return false;
    out->quantity = (uint32_t)quantity;
    return true;
}

/* No order has so many units. How many this order has is in its row, and whoever asks for more of
   it is told that. */
#define CANCEL_UNITS_MAX UINT32_MAX

bool body_read_cancel(const cJSON *json, uint32_t *units, mistake_t *mistake)
{
    static const char *const known[] = {"quantity", NULL};
    const cJSON *quantity = cJSON_GetObjectItemCaseSensitive(json, "quantity");
    double v = quantity != NULL ? quantity->valuedouble : 0;
    if (!only_known(json, known, mistake))
        return false;
    if (quantity != NULL && !(cJSON_IsNumber(quantity) && v == floor(v) && v >= 1))
        return wrong(mistake, PROBLEM_INVALID_REQUEST,
                     "quantity: give a whole number of at least 1, and at most what the order has");
    *units = v < CANCEL_UNITS_MAX ? (uint32_t)v : CANCEL_UNITS_MAX;
    return true;
}

bool body_read_nothing(const cJSON *json, mistake_t *mistake)
{
    static const char *const known[] = {NULL};
    return only_known(json, known, mistake);
}

static bool read_number_if_there(const cJSON *json, const char *name, int64_t max, bool *has,
                                 int64_t *out, mistake_t *mistake)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);
    *has = member != NULL;
    return !*has || read_whole(member, name, 0, max, out, mistake);
}

static bool read_time_if_there(const cJSON *json, const char *name, bool *has, uint64_t *out,
                               mistake_t *mistake)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);
    *has = member != NULL;
    if (!*has || cJSON_IsNull(member)) {
        *out = 0;
        return true;
    }
    str_t text = string_of(member);
    if (text.p == NULL || time_parse_rfc3339(text.p, text.n, out) != 0 || *out == 0)
        return wrong(mistake, PROBLEM_INVALID_REQUEST,
                     "%s: give null or a time like 2026-01-31T12:00:00Z", name);
    return true;
}

static bool read_word_if_there(const cJSON *json, const char *name, int (*parse)(str_t),
                               const char *words, bool *has, int *out, mistake_t *mistake)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, name);
    *has = member != NULL;
    if (!*has)
        return true;
    str_t text = string_of(member);
    *out = text.p == NULL ? -1 : parse(text);
    if (*out < 0)
        return wrong(mistake, PROBLEM_INVALID_REQUEST, "%s: give one of %s", name, words);
    return true;
}

static int parse_strategy(str_t text)
{
    return strategy_parse(text.p, text.n);
}

#define STRATEGY_WORDS "lua, watch, optimistic, serializable"

/* Units by which a PATCH raises or lowers `total`, instead of setting it. */
static bool read_delta(const cJSON *json, item_change_t *change, mistake_t *mistake)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(json, "total_delta");
    change->has_delta = member != NULL;
    if (member == NULL)
        return true;
    if (change->create || change->has_total)
        return wrong(mistake, PROBLEM_INVALID_REQUEST,
                     "total_delta: a PATCH may have it, without total");
    return read_whole(member, "total_delta", -ITEM_TOTAL_MAX, ITEM_TOTAL_MAX, &change->total_delta,
                      mistake);
}

static bool read_members(const cJSON *json, item_change_t *change, mistake_t *mistake)
{
    int64_t total = 0, limit = 0, hold = 0;
    int strategy = (int)change->terms.strategy, acknowledge = ACKNOWLEDGE_COMMITTED;
    bool ok =
        read_number_if_there(json, "total", ITEM_TOTAL_MAX, &change->has_total, &total, mistake) &&
        read_number_if_there(json, "per_buyer_limit", LIMIT_MAX, &change->has_limit, &limit,
                             mistake) &&
        read_number_if_there(json, "hold_seconds", HOLD_SECONDS_MAX, &change->has_hold, &hold,
                             mistake) &&
        read_time_if_there(json, "starts_at", &change->has_starts, &change->terms.starts_at_ms,
                           mistake) &&
        read_time_if_there(json, "ends_at", &change->has_ends, &change->terms.ends_at_ms,
                           mistake) &&
        read_word_if_there(json, "strategy", parse_strategy, STRATEGY_WORDS, &change->has_strategy,
                           &strategy, mistake) &&
        read_word_if_there(json, "acknowledge", acknowledge_parse, "committed, accepted",
                           &change->has_acknowledge, &acknowledge, mistake);
    change->terms.total = total;
    change->terms.per_buyer_limit = (uint32_t)limit;
    change->terms.hold_seconds = (uint32_t)hold;
    change->terms.strategy = (strategy_id_t)strategy;
    change->terms.acknowledge = (acknowledge_t)acknowledge;
    return ok;
}

bool body_read_change(const cJSON *json, strategy_id_t default_strategy, item_change_t *change,
                      mistake_t *mistake)
{
    static const char *const known[] = {"total",        "total_delta", "per_buyer_limit",
                                        "hold_seconds", "starts_at",   "ends_at",
                                        "strategy",     "acknowledge", NULL};
    bool create = change->create;
    *change = (item_change_t){.create = create, .terms = {.strategy = default_strategy}};
    if (!only_known(json, known, mistake) || !read_members(json, change, mistake) ||
        !read_delta(json, change, mistake))
        return false;
    if (!create)
        return true;
    if (!change->has_total)
        return wrong(mistake, PROBLEM_INVALID_REQUEST, "total: give the number of units on sale");
    change->has_limit = change->has_hold = change->has_starts = change->has_ends = true;
    change->has_strategy = change->has_acknowledge = true;
    return true;
}

bool body_read_strategy(const cJSON *json, strategy_id_t *out, mistake_t *mistake)
{
    static const char *const known[] = {"strategy", NULL};
    bool has;
    int strategy = -1;
    if (!only_known(json, known, mistake) ||
        !read_word_if_there(json, "strategy", parse_strategy, STRATEGY_WORDS, &has, &strategy,
                            mistake))
        return false;
    if (!has)
        return wrong(mistake, PROBLEM_INVALID_REQUEST, "strategy: give one of " STRATEGY_WORDS);
    *out = (strategy_id_t)strategy;
    return true;
}

/* --- paths --- */

bool percent_decode(str_t in, char *out, size_t *out_length)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; ++i) {
        if (in.p[i] != '%') {
            out[n++] = in.p[i];
            continue;
        }
        if (in.n - i < 3 || hex_value(in.p[i + 1]) < 0 || hex_value(in.p[i + 2]) < 0)
            return false;
        out[n++] = (char)(hex_value(in.p[i + 1]) * 16 + hex_value(in.p[i + 2]));
        i += 2;
    }
    *out_length = n;
    return true;
}
