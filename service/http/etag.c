#include "http/etag.h"

static str_t trim(str_t text)
{
    while (text.n != 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
        text = (str_t){text.p + 1, text.n - 1};
    while (text.n != 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        --text.n;
    return text;
}

/* Takes the first entity tag off the front of `list`, without a `W/`: a comma may be inside its
   quotes. False: there is none. */
static bool next_tag(str_t *list, str_t *tag)
{
    str_t rest = *list;
    while (rest.n != 0 && (rest.p[0] == ' ' || rest.p[0] == '\t' || rest.p[0] == ','))
        rest = (str_t){rest.p + 1, rest.n - 1};
    if (rest.n >= 2 && rest.p[0] == 'W' && rest.p[1] == '/')
        rest = (str_t){rest.p + 2, rest.n - 2};
    const char *end = rest.n < 2 || rest.p[0] != '"' ? NULL : memchr(rest.p + 1, '"', rest.n - 1);
    if (end == NULL)
        return false;
    *tag = (str_t){rest.p, (size_t)(end + 1 - rest.p)};
    *list = (str_t){rest.p + tag->n, rest.n - tag->n};
    return true;
}

bool etag_is_named(str_t value, str_t etag)
{
    str_t tag;
    if (str_eq(trim(value), STR("*")))
        return true;
    while (next_tag(&value, &tag))
        if (str_eq(tag, etag))
            return true;
    return false;
}
