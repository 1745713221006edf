/*
 * Heads that libh2o's parser takes, and what is made of them: another reader, which goes by that
 * parser's headers, must find no doubt in what was let pass, and one in what was not.
 */
#include <strings.h>

#include "fuzz/fuzz.h"
#include "http/framing.h"

#define HEADERS_MAX 100 /* as libh2o has it */

/* picohttpparser's, which libh2o has in it and gives no header of. */
typedef struct {
    const char *name;
    size_t name_n;
    const char *value;
    size_t value_n;
} header_t;
int phr_parse_request(const char *bytes, size_t n, const char **method, size_t *method_n,
                      const char **path, size_t *path_n, int *minor, header_t *headers,
                      size_t *headers_count, size_t last_n);

typedef struct {
    unsigned hosts, lengths, encodings, folded, odd;
} count_t;

static bool is_named(const header_t *header, str_t name)
{
    return header->name_n == name.n && strncasecmp(header->name, name.p, name.n) == 0;
}

static str_t trimmed(const header_t *header)
{
    str_t value = {header->value, header->value_n};
    while (value.n != 0 && strchr(" \t", value.p[value.n - 1]) != NULL)
        --value.n;
    return value;
}

static bool is_made_of(str_t text, const char *set)
{
    for (size_t i = 0; i < text.n; ++i)
        if (text.p[i] == '\0' || strchr(set, text.p[i]) == NULL)
            return false;
    return true;
}

#define DIGITS "0123456789"
#define AUTHORITY                                                                                  \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-._~%!$&'()*+,;=:[]"

static void count(const header_t *header, count_t *counts)
{
    str_t value = trimmed(header);
    counts->folded += header->name == NULL;
    if (header->name == NULL)
        return;
    if (is_named(header, STR("host"))) {
        ++counts->hosts;
        counts->odd += !is_made_of(value, AUTHORITY);
    } else if (is_named(header, STR("content-length"))) {
        ++counts->lengths;
        counts->odd += value.n == 0 || !is_made_of(value, DIGITS);
    } else if (is_named(header, STR("transfer-encoding"))) {
        ++counts->encodings;
        counts->odd += value.n != 7 || strncasecmp(value.p, "chunked", 7) != 0;
    }
}

static bool has_bare_lf(str_t head)
{
    for (size_t i = 0; i < head.n; ++i)
        if (head.p[i] == '\n' && (i == 0 || head.p[i - 1] != '\r'))
            return true;
    return false;
}

/* Of an authority only its characters are looked at here: it may be refused for their order. */
static bool has_authority(str_t target, const count_t *counts)
{
    return counts->hosts != 0 || memmem(target.p, target.n, "://", 3) != NULL;
}

static void check_absolute(str_t target, const framing_t *framing)
{
    if (framing->authority.p == NULL)
        return;
    EXPECT(framing->authority.n != 0 && is_made_of(framing->authority, AUTHORITY));
    EXPECT(framing->path.n == 0 || framing->path.p[0] == '/' || framing->path.p[0] == '?');
    EXPECT(framing->authority.p >= target.p + 7 &&
           framing->authority.p + framing->authority.n == framing->path.p &&
           framing->path.p + framing->path.n == target.p + target.n);
}

/* One by one they are those that the parser has found. */
static void check_headers(const framing_t *framing, const header_t *headers, size_t count)
{
    str_t rest = framing->headers, name, value;
    for (size_t i = 0; i < count; ++i) {
        EXPECT(framing_next_header(&rest, &name, &value));
        EXPECT(name.p == headers[i].name && name.n == headers[i].name_n);
        EXPECT(str_eq(value, trimmed(&headers[i])));
    }
    EXPECT(rest.n == 0 && !framing_next_header(&rest, &name, &value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str_t bytes = {(const char *)data, size}, method, target;
    header_t headers[HEADERS_MAX];
    size_t headers_count = HEADERS_MAX;
    int minor;
    framing_t framing;
    count_t counts = {0};
    const char *fault = framing_read(bytes, &framing);
    int n = phr_parse_request(bytes.p, bytes.n, &method.p, &method.n, &target.p, &target.n, &minor,
                              headers, &headers_count, 0);
    if (n <= 0)
        return 0;
    for (size_t i = 0; i < headers_count; ++i)
        count(&headers[i], &counts);
    bool doubt = counts.folded != 0 || counts.odd != 0 ||
                 has_bare_lf((str_t){bytes.p, (size_t)n}) || counts.hosts > 1 ||
                 (counts.hosts == 0 && minor != 0) || method.n == 0 || target.n == 0 ||
                 counts.lengths + counts.encodings > 1 || (counts.encodings != 0 && minor == 0);
    if (fault == NULL) {
        EXPECT(!doubt && framing.chunked == (counts.encodings == 1));
        EXPECT(str_eq(framing.method, method) && str_eq(framing.target, target));
        EXPECT(!framing.expects_continue || minor != 0);
        check_absolute(target, &framing);
        check_headers(&framing, headers, headers_count);
    } else {
        EXPECT(doubt || has_authority(target, &counts));
    }
    return 0;
}
