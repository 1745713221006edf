/*
 * A second opinion on JSON: the grammar of RFC 8259 and nothing else, written apart from the
 * service's own parser. Pure; nesting beyond `depth` is refused.
 */
#ifndef HOLDFAST_FUZZ_JSON_ORACLE_H
#define HOLDFAST_FUZZ_JSON_ORACLE_H

#include <ctype.h>

#include "base/str.h"

typedef struct {
    const char *at, *end;
    unsigned depth;
} json_cursor_t;

static inline bool json_value(json_cursor_t *c);

static inline void json_space(json_cursor_t *c)
{
    while (c->at != c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        ++c->at;
}

static inline bool json_char(json_cursor_t *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    ++c->at;
    return true;
}

static inline bool json_word(json_cursor_t *c, const char *word)
{
    while (*word != '\0')
        if (!json_char(c, *word++))
            return false;
    return true;
}

static inline bool json_digits(json_cursor_t *c)
{
    const char *from = c->at;
    while (c->at != c->end && *c->at >= '0' && *c->at <= '9')
        ++c->at;
    return c->at != from;
}

static inline bool json_number(json_cursor_t *c)
{
    json_char(c, '-');
    if (!json_char(c, '0') && !json_digits(c))
        return false;
    if (json_char(c, '.') && !json_digits(c))
        return false;
    if (!json_char(c, 'e') && !json_char(c, 'E'))
        return true;
    if (!json_char(c, '+'))
        json_char(c, '-');
    return json_digits(c);
}

static inline bool json_escape(json_cursor_t *c)
{
    if (c->at == c->end)
        return false;
    char kind = *c->at++;
    if (kind != 'u')
        return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL;
    for (int i = 0; i < 4; ++i, ++c->at)
        if (c->at == c->end || !isxdigit((unsigned char)*c->at))
            return false;
    return true;
}

static inline bool json_string(json_cursor_t *c)
{
    if (!json_char(c, '"'))
        return false;
    while (c->at != c->end) {
        unsigned char byte = (unsigned char)*c->at++;
        if (byte == '"')
            return true;
        if (byte < 0x20 || (byte == '\\' && !json_escape(c)))
            return false;
    }
    return false;
}

static inline bool json_member(json_cursor_t *c, bool named)
{
    json_space(c);
    if (named) {
        if (!json_string(c))
            return false;
        json_space(c);
        if (!json_char(c, ':'))
            return false;
    }
    return json_value(c);
}

static inline bool json_members(json_cursor_t *c, char close)
{
    if (c->depth-- == 0)
        return false;
    json_space(c);
    bool ok = json_char(c, close);
    while (!ok) {
        if (!json_member(c, close == '}'))
            return false;
        ok = json_char(c, close);
        if (!ok && !json_char(c, ','))
            return false;
    }
    ++c->depth;
    return true;
}

static inline bool json_value(json_cursor_t *c)
{
    json_space(c);
    bool ok = c->at != c->end;
    if (ok && *c->at == '"')
        ok = json_string(c);
    else if (ok && (*c->at == '{' || *c->at == '['))
        ok = json_members(c, *c->at++ == '{' ? '}' : ']');
    else if (ok && *c->at == 't')
        ok = json_word(c, "true");
    else if (ok && *c->at == 'f')
        ok = json_word(c, "false");
    else if (ok && *c->at == 'n')
        ok = json_word(c, "null");
    else
        ok = ok && json_number(c);
    json_space(c);
    return ok;
}

/* One value and nothing behind it. */
static inline bool json_is_valid(str_t text, unsigned depth)
{
    json_cursor_t c = {text.p, text.p + text.n, depth};
    return text.n != 0 && json_value(&c) && c.at == c.end;
}

#endif
