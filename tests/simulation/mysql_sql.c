#include "mysql_sql.h"

#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "mysql_table.h"

/* --- values --- */

bool value_eq(const value_t *a, const value_t *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == VALUE_BYTES)
        return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
    return a->kind == VALUE_NULL || a->i == b->i;
}

int value_compare(const value_t *a, const value_t *b)
{
    if (a->kind != b->kind)
        return (a->kind != VALUE_NULL) - (b->kind != VALUE_NULL);
    if (a->kind == VALUE_BYTES) {
        int order = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);
        return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
    }
    return a->kind == VALUE_NULL ? 0 : (a->i > b->i) - (a->i < b->i);
}

str_t value_text(const value_t *value, char scratch[32])
{
    if (value->kind == VALUE_NULL)
        return STR_NONE;
    if (value->kind == VALUE_BYTES)
        return (str_t){value->p, value->n};
    return (str_t){scratch, (size_t)snprintf(scratch, 32, "%lld", (long long)value->i)};
}

/* --- words --- */

static struct {
    char *names[WORDS_MAX];
    uint8_t lengths[WORDS_MAX];
    uint16_t slots[2048]; /* by hash */
    unsigned count;
} words;

static unsigned word_number(const char *p, size_t n)
{
    unsigned hash = (unsigned)n;
    for (size_t i = 0; i < n; ++i)
        hash = hash * 31 + (unsigned char)p[i];
    unsigned slot = hash * 2654435761u >> 21;
    for (; words.slots[slot] != 0; slot = (slot + 1) & 2047) {
        unsigned word = words.slots[slot];
        if (words.lengths[word] == n && memcmp(words.names[word], p, n) == 0)
            return word;
    }
    if (++words.count == WORDS_MAX || n > UINT8_MAX)
        world_unknown("many different words", p, n);
    words.slots[slot] = (uint16_t)words.count;
    words.names[words.count] = strndup(p, n);
    words.lengths[words.count] = (uint8_t)n;
    return words.count;
}

void sql_words_init(void)
{
#define X(word_) word_number(#word_, sizeof(#word_) - 1);
    SQL_WORDS(X)
#undef X
}

const char *sql_word_name(unsigned word)
{
    return words.names[word];
}

/* --- tokens --- */

void sql_unknown(const sql_text_t *text, unsigned at, const char *what)
{
    size_t from = text->tokens[at].at;
    printf("%s, here: %.*s\n", what, (int)(text->n - from), text->text + from);
    world_unknown("SQL", text->text, text->n);
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

static void *take_memory(size_t n, bool lasting)
{
    void *memory = lasting ? malloc(n) : world_alloc(n);
    if (memory == NULL)
        abort();
    return memory;
}

static const char *read_quoted(const char *at, const char *end, token_t *token, bool hex,
                               bool lasting)
{
    const char *close = memchr(at, '\'', (size_t)(end - at));
    if (close == NULL)
        world_unknown("open quotation", at, (size_t)(end - at));
    size_t n = (size_t)(close - at);
    token->kind = TOKEN_VALUE;
    token->value = (value_t){.kind = VALUE_BYTES, .n = (uint32_t)n, .p = at};
    char *to = take_memory(n + 1, lasting);
    if (!hex) {
        memcpy(to, at, n);
    } else {
        token->value.n = (uint32_t)n / 2;
        for (size_t i = 0; i < n / 2; ++i)
            to[i] = (char)(hex_digit(at[2 * i]) << 4 | hex_digit(at[2 * i + 1]));
    }
    token->value.p = to;
    return close + 1;
}

static const char *read_token(const char *at, const char *end, token_t *token, bool lasting)
{
    const char *from = at;
    if (*at == '\'')
        return read_quoted(at + 1, end, token, false, lasting);
    if (*at == 'x' && at + 1 < end && at[1] == '\'')
        return read_quoted(at + 2, end, token, true, lasting);
    if (*at >= '0' && *at <= '9') {
        token->kind = TOKEN_VALUE;
        token->value = VALUE_OF_INT(0);
        for (; at < end && *at >= '0' && *at <= '9'; ++at)
            token->value.i = token->value.i * 10 + (*at - '0');
        return at;
    }
    if (is_word_char(*at)) {
        while (at < end && is_word_char(*at))
            ++at;
        token->kind = TOKEN_WORD;
        token->word = word_number(from, (size_t)(at - from));
        return at;
    }
    token->kind = TOKEN_SIGN;
    token->word = (unsigned char)*at;
    if (at + 1 < end && (*at == '<' || *at == '>' || *at == '!') &&
        (at[1] == '=' || at[1] == '>')) {
        token->word = SIGN2(at[0], at[1]);
        return at + 2;
    }
    return at + 1;
}

sql_text_t sql_read(const char *p, size_t n, bool lasting)
{
    unsigned capacity = (unsigned)n / 3 + 16;
    sql_text_t text = {p, n, take_memory(capacity * sizeof(token_t), lasting), 0};
    const char *at = p, *end = p + n;
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\n'))
            ++at;
        if (at + 1 < end && at[0] == '-' && at[1] == '-') {
            while (at < end && *at != '\n')
                ++at;
            continue;
        }
        if (text.count + 1 >= capacity) {
            token_t *more = take_memory(capacity * 2 * sizeof(token_t), lasting);
            memcpy(more, text.tokens, text.count * sizeof(token_t));
            text.tokens = more;
            capacity *= 2;
        }
        token_t *token = &text.tokens[text.count++];
        *token = (token_t){.kind = TOKEN_END, .at = (uint32_t)(at - p)};
        if (at == end)
            return text;
        at = read_token(at, end, token, lasting);
    }
}

/* Statements without a time or an id are the same in every history. What is met a second time
   before another takes its place is kept for good. */
#define KEPT_SLOTS 4096
static struct {
    uint64_t hash; /* of the last that came here, or of the one that stays */
    sql_text_t text;
} kept[KEPT_SLOTS];

sql_text_t sql_read_again(const char *p, size_t n)
{
    uint64_t hash = XXH3_64bits(p, n);
    unsigned slot = (unsigned)(hash % KEPT_SLOTS);
    sql_text_t *text = &kept[slot].text;
    if (text->n == n && memcmp(text->text, p, n) == 0)
        return *text;
    if (text->n != 0)
        return sql_read(p, n, false);
    if (kept[slot].hash != hash) {
        kept[slot].hash = hash;
        return sql_read(p, n, false);
    }
    char *copy = take_memory(n, true);
    memcpy(copy, p, n);
    return *text = sql_read(copy, n, true);
}

/* --- expressions --- */

bool sql_is_true(const value_t *value)
{
    return value->kind == VALUE_INT && value->i != 0;
}

static const value_t null_value = {.kind = VALUE_NULL};

static void expect(const scope_t *scope, unsigned *at, unsigned sign)
{
    if (!sql_sign(scope->text, *at, sign))
        sql_unknown(scope->text, *at, "another sign is expected");
    ++*at;
}

static value_t column(const scope_t *scope, unsigned table_word, unsigned word, unsigned at)
{
    for (const scope_t *s = scope; s != NULL; s = s->outer) {
        if (s->table == NULL || (table_word != WORD_NONE && s->table->name != table_word))
            continue;
        int i = s->table->column_of_word[word];
        if (i >= 0)
            return s->row[i];
    }
    sql_unknown(scope->text, at, "no such column");
}

static value_t aggregate(const scope_t *scope, unsigned *at, word_t which)
{
    scope_t each = *scope;
    value_t out = null_value;
    unsigned from = *at + 2, behind = from;
    if (scope->group == NULL)
        sql_unknown(scope->text, *at, "an aggregate without a group");
    if (sql_sign(scope->text, from, '*')) {
        out = VALUE_OF_INT(scope->group_count);
        *at = from + 2;
        return out;
    }
    for (unsigned i = 0; i < scope->group_count; ++i) {
        each.row = scope->group[i];
        behind = from;
        value_t value = sql_value(&each, &behind);
        if (value.kind == VALUE_NULL)
            continue;
        if (which == WORD_COUNT)
            out = VALUE_OF_INT((out.kind == VALUE_NULL ? 0 : out.i) + 1);
        else if (out.kind == VALUE_NULL)
            out = value;
        else if (which == WORD_SUM)
            out.i += value.i;
        else if ((value_compare(&value, &out) > 0) == (which == WORD_MAX))
            out = value;
    }
    if (which == WORD_COUNT && out.kind == VALUE_NULL)
        out = VALUE_OF_INT(0);
    *at = sql_skip(scope->text, from);
    expect(scope, at, ')');
    return out;
}

/* GREATEST, LEAST, COALESCE, IF: values between brackets. */
static value_t of_many(const scope_t *scope, unsigned *at, word_t which)
{
    value_t values[8];
    unsigned count = 0;
    *at += 2;
    for (;;) {
        values[count++] = sql_value(scope, at);
        if (!sql_sign(scope->text, *at, ',') || count == 8)
            break;
        ++*at;
    }
    expect(scope, at, ')');
    if (which == WORD_IF)
        return sql_is_true(&values[0]) ? values[1] : values[2];
    value_t out = values[0];
    for (unsigned i = 1; i < count; ++i) {
        if (which == WORD_COALESCE) {
            if (out.kind == VALUE_NULL)
                out = values[i];
        } else if (out.kind == VALUE_NULL || values[i].kind == VALUE_NULL) {
            out = null_value;
        } else if ((value_compare(&values[i], &out) > 0) == (which == WORD_GREATEST)) {
            out = values[i];
        }
    }
    return out;
}

static value_t of_case(const scope_t *scope, unsigned *at)
{
    value_t out = null_value;
    bool taken = false;
    for (++*at; sql_word(scope->text, *at, WORD_WHEN);) {
        ++*at;
        value_t condition = sql_value(scope, at);
        ++*at; /* THEN */
        value_t value = sql_value(scope, at);
        if (!taken && sql_is_true(&condition)) {
            out = value;
            taken = true;
        }
    }
    if (sql_word(scope->text, *at, WORD_ELSE)) {
        ++*at;
        value_t value = sql_value(scope, at);
        if (!taken)
            out = value;
    }
    ++*at; /* END */
    return out;
}

static value_t function(const scope_t *scope, unsigned *at)
{
    word_t word = (word_t)scope->text->tokens[*at].word;
    value_t value;
    switch (word) {
    case WORD_NOW:
        *at += 4; /* NOW ( 3 ) */
        return VALUE_OF_INT((int64_t)scope->now_ms);
    case WORD_UNIX_TIMESTAMP:
        *at += 2;
        value = sql_value(scope, at);
        expect(scope, at, ')');
        value.kind = value.kind == VALUE_INT ? VALUE_SECONDS : VALUE_NULL;
        return value;
    case WORD_CAST:
        *at += 2;
        value = sql_value(scope, at);
        *at += 2; /* AS UNSIGNED */
        expect(scope, at, ')');
        return value;
    case WORD_EXISTS:
        *at += 2;
        value = scope->subquery(scope, at);
        expect(scope, at, ')');
        return VALUE_OF_INT(value.kind != VALUE_NULL);
    case WORD_VALUES:
        value = scope->incoming[scope->table->column_of_word[scope->text->tokens[*at + 2].word]];
        *at += 4;
        return value;
    case WORD_SUM:
    case WORD_COUNT:
    case WORD_MAX:
    case WORD_MIN:
        return aggregate(scope, at, word);
    case WORD_GREATEST:
    case WORD_LEAST:
    case WORD_COALESCE:
    case WORD_IF:
        return of_many(scope, at, word);
    default:
        sql_unknown(scope->text, *at, "this function is not known");
    }
}

static value_t primary(const scope_t *scope, unsigned *at)
{
    const sql_text_t *text = scope->text;
    const token_t *token = &text->tokens[*at];
    value_t value;
    if (token->kind == TOKEN_VALUE) {
        ++*at;
        return token->value;
    }
    if (sql_sign(text, *at, '-')) {
        ++*at;
        value = primary(scope, at);
        value.i = -value.i;
        return value;
    }
    if (sql_sign(text, *at, '(')) {
        ++*at;
        value =
            sql_word(text, *at, WORD_SELECT) ? scope->subquery(scope, at) : sql_value(scope, at);
        expect(scope, at, ')');
        return value;
    }
    if (token->kind != TOKEN_WORD)
        sql_unknown(text, *at, "no value begins like this");
    if (token->word == WORD_NULL) {
        ++*at;
        return null_value;
    }
    if (token->word == WORD_TRUE || token->word == WORD_FALSE) {
        ++*at;
        return VALUE_OF_INT(token->word == WORD_TRUE);
    }
    if (token->word == WORD_CASE)
        return of_case(scope, at);
    if (sql_sign(text, *at + 1, '('))
        return function(scope, at);
    if (sql_sign(text, *at + 1, '.')) {
        *at += 3;
        return column(scope, token->word, text->tokens[*at - 1].word, *at - 1);
    }
    ++*at;
    return column(scope, WORD_NONE, token->word, *at - 1);
}

static value_t product(const scope_t *scope, unsigned *at)
{
    value_t left = primary(scope, at);
    while (sql_sign(scope->text, *at, '*')) {
        ++*at;
        value_t right = primary(scope, at);
        if (left.kind == VALUE_SECONDS && right.i == 1000)
            left.kind = VALUE_INT; /* seconds with decimals, times 1000: the ms they are kept in */
        else if (left.kind == VALUE_INT && right.kind == VALUE_INT)
            left.i *= right.i;
        else
            sql_unknown(scope->text, *at, "only numbers are multiplied");
    }
    return left;
}

static value_t sum(const scope_t *scope, unsigned *at)
{
    value_t left = product(scope, at);
    while (sql_sign(scope->text, *at, '+') || sql_sign(scope->text, *at, '-')) {
        bool minus = sql_sign(scope->text, *at, '-');
        ++*at;
        bool interval = sql_word(scope->text, *at, WORD_INTERVAL);
        if (interval)
            ++*at;
        value_t right = interval ? primary(scope, at) : product(scope, at);
        if (interval) {
            bool seconds = sql_word(scope->text, *at, WORD_SECOND);
            if (!seconds && !sql_word(scope->text, *at, WORD_MICROSECOND))
                sql_unknown(scope->text, *at, "this unit of time is not known");
            right.i = seconds ? right.i * 1000 : right.i / 1000;
            ++*at;
        }
        if (left.kind == VALUE_NULL || right.kind == VALUE_NULL)
            left = null_value;
        else if (left.kind != VALUE_INT || right.kind != VALUE_INT)
            sql_unknown(scope->text, *at, "only numbers are added");
        else
            left.i += minus ? -right.i : right.i;
    }
    return left;
}

static value_t of_bool(bool truth)
{
    return VALUE_OF_INT(truth);
}

/* A time in text, beside one that is kept in milliseconds. */
static value_t as_time(const value_t *value)
{
    uint64_t ms;
    if (value->kind != VALUE_BYTES || time_parse_sql(value->p, value->n, &ms) != 0)
        return *value;
    return VALUE_OF_INT((int64_t)ms);
}

static int compare(const scope_t *scope, unsigned at, const value_t *a, const value_t *b)
{
    value_t right = *b;
    if (a->kind == VALUE_INT && b->kind == VALUE_BYTES) {
        right = as_time(b);
        b = &right;
    }
    if (a->kind != b->kind)
        sql_unknown(scope->text, at, "values of two kinds are compared");
    return value_compare(a, b);
}

static value_t in_list(const scope_t *scope, unsigned *at, const value_t *left)
{
    bool found = false;
    ++*at;
    expect(scope, at, '(');
    for (;;) {
        value_t value = sql_value(scope, at);
        if (value.kind != VALUE_NULL && left->kind != VALUE_NULL &&
            compare(scope, *at, left, &value) == 0)
            found = true;
        if (!sql_sign(scope->text, *at, ','))
            break;
        ++*at;
    }
    expect(scope, at, ')');
    return left->kind == VALUE_NULL ? null_value : of_bool(found);
}

static bool holds(unsigned sign, int order)
{
    switch (sign) {
    case '=':
        return order == 0;
    case '<':
        return order < 0;
    case '>':
        return order > 0;
    case SIGN2('<', '='):
        return order <= 0;
    case SIGN2('>', '='):
        return order >= 0;
    default:
        return order != 0;
    }
}

static bool is_comparison(const sql_text_t *text, unsigned at)
{
    unsigned sign = text->tokens[at].word;
    return text->tokens[at].kind == TOKEN_SIGN &&
           (sign == '=' || sign == '<' || sign == '>' || sign > 255);
}

static value_t comparison(const scope_t *scope, unsigned *at)
{
    const sql_text_t *text = scope->text;
    value_t left = sum(scope, at);
    if (sql_word(text, *at, WORD_IN))
        return in_list(scope, at, &left);
    if (sql_word(text, *at, WORD_IS)) {
        bool negated = sql_word(text, *at + 1, WORD_NOT);
        *at += negated ? 3 : 2; /* NULL too */
        return of_bool((left.kind == VALUE_NULL) != negated);
    }
    if (sql_word(text, *at, WORD_BETWEEN)) {
        ++*at;
        value_t low = sum(scope, at);
        ++*at; /* AND */
        value_t high = sum(scope, at);
        if (left.kind == VALUE_NULL || low.kind == VALUE_NULL || high.kind == VALUE_NULL)
            return null_value;
        return of_bool(compare(scope, *at, &left, &low) >= 0 &&
                       compare(scope, *at, &left, &high) <= 0);
    }
    if (!is_comparison(text, *at))
        return left;
    unsigned sign = text->tokens[(*at)++].word;
    value_t right = sum(scope, at);
    if (left.kind == VALUE_NULL || right.kind == VALUE_NULL)
        return null_value;
    return of_bool(holds(sign, compare(scope, *at, &left, &right)));
}

static value_t conjunction(const scope_t *scope, unsigned *at)
{
    bool negated = sql_word(scope->text, *at, WORD_NOT);
    *at += negated;
    value_t left = comparison(scope, at);
    if (negated && left.kind != VALUE_NULL)
        left = of_bool(!sql_is_true(&left));
    while (sql_word(scope->text, *at, WORD_AND)) {
        ++*at;
        value_t right = comparison(scope, at);
        bool is_false = (left.kind != VALUE_NULL && !sql_is_true(&left)) ||
                        (right.kind != VALUE_NULL && !sql_is_true(&right));
        bool unknown = left.kind == VALUE_NULL || right.kind == VALUE_NULL;
        left = is_false ? of_bool(false) : unknown ? null_value : of_bool(true);
    }
    return left;
}

value_t sql_value(const scope_t *scope, unsigned *at)
{
    value_t left = conjunction(scope, at);
    while (sql_word(scope->text, *at, WORD_OR)) {
        ++*at;
        value_t right = conjunction(scope, at);
        bool is_true = sql_is_true(&left) || sql_is_true(&right);
        bool unknown = left.kind == VALUE_NULL || right.kind == VALUE_NULL;
        left = is_true ? of_bool(true) : unknown ? null_value : of_bool(false);
    }
    return left;
}

unsigned sql_skip(const sql_text_t *text, unsigned at)
{
    unsigned depth = 0;
    for (;; ++at) {
        const token_t *token = &text->tokens[at];
        if (token->kind == TOKEN_END)
            return at;
        if (token->kind == TOKEN_SIGN) {
            if (token->word == '(')
                ++depth;
            else if (depth == 0 && (token->word == ')' || token->word == ',' || token->word == ';'))
                return at;
            else if (token->word == ')')
                --depth;
        } else if (token->kind == TOKEN_WORD && depth == 0) {
            switch (token->word) {
            case WORD_FROM:
            case WORD_UNION:
            case WORD_WHERE:
            case WORD_GROUP:
            case WORD_ORDER:
            case WORD_LIMIT:
            case WORD_FOR:
            case WORD_ON:
                return at;
            default:
                break;
            }
        }
    }
}
