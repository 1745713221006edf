#include "http/etag.h"

static str_t trim(str_t text)
{
    while (text.n != 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
        text = (str_t){text.p + 1, text.n - 1};
    while (text.n != 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        --text.n;
    return text;
}

/* Takes the first entity tag off the front of `list`, without its `W/`: a comma may be inside its
   quotes. False: there is none. */
static bool next_tag(str_t *list, str_t *tag, bool *weak)
{
    str_t rest = *list;
    while (rest.n != 0 && (rest.p[0] == ' ' || rest.p[0] == '\t' || rest.p[0] == ','))
        rest = (str_t){rest.p + 1, rest.n - 1};
    *weak = rest.n >= 2 && rest.p[0] == 'W' && rest.p[1] == '/';
    if (*weak)
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
    bool weak;
    if (str_eq(trim(value), STR("*")))
        return true;
    while (next_tag(&value, &tag, &weak))
        if (str_eq(tag, etag))
            return true;
    return false;
}

/* --- versions --- */

str_t etag_of_version(char *text, uint64_t version)
{
    char *at = text;
    str_put(&at, STR("\"v"));
    str_put_u64(&at, version);
    str_put(&at, STR("\""));
    *at = '\0';
    return (str_t){text, (size_t)(at - text)};
}

/* 0: it is the tag of no version, which begin at 1. */
static uint64_t version_of(str_t tag)
{
    char text[VERSION_ETAG_SIZE];
    uint64_t version = 0;
    if (tag.n < 4 || tag.n >= VERSION_ETAG_SIZE || tag.p[1] != 'v')
        return 0;
    for (size_t i = 2; i < tag.n - 1; ++i) {
        if (tag.p[i] < '0' || tag.p[i] > '9')
            return 0;
        version = version * 10 + (uint64_t)(tag.p[i] - '0');
    }
    /* Tags are compared byte by byte: "v07" is another one than "v7". */
    return str_eq(etag_of_version(text, version), tag) ? version : 0;
}

bool etag_add_versions(str_t value, etag_comparison_t comparison, named_versions_t *named)
{
    str_t tag;
    bool weak;
    named->present = true;
    named->any = named->any || str_eq(trim(value), STR("*"));
    while (next_tag(&value, &tag, &weak)) {
        uint64_t version = weak && comparison == ETAG_STRONG ? 0 : version_of(tag);
        if (version == 0)
            continue;
        if (named->count == PRECONDITION_VERSIONS_MAX)
            return false;
        named->versions[named->count++] = version;
    }
    return true;
}
