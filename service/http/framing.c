#include "http/framing.h"

#include <strings.h>

#define LINE_END "Each line of the head must end with CR LF"
#define REQUEST_LINE "The first line must be method, target and version"
#define FOLDED "A header must not continue on the next line"
#define HOST "Host: give one, of a host and perhaps a port"
#define LENGTH "Content-Length: give it once, in digits"
#define CHUNKS "Transfer-Encoding: give \"chunked\" once, or nothing"
#define BOTH "Give either Content-Length or Transfer-Encoding"
#define OLD_CHUNKS "Transfer-Encoding: not in HTTP/1.0"
#define AUTHORITY "An absolute target must have a host, perhaps a port, and no user"

typedef struct {
    unsigned hosts, lengths, encodings;
} seen_t;

/* Returns the LF of the CR LF that ends the line at `at`; NULL: the line ends in another way. */
static inline const char *line_end(const char *at, const char *end)
{
    const char *lf = at == end ? NULL : memchr(at, '\n', (size_t)(end - at));
    return lf == NULL || lf == at || lf[-1] != '\r' ? NULL : lf;
}

static inline str_t line_up_to(const char *at, const char *lf)
{
    return (str_t){at, (size_t)(lf - at) - 1};
}

/* --- hosts --- */

/* The characters of a name in RFC 3986 or, with ':', of an IP literal; escapes are not decoded. A
   table, because every request has a host. */
static const bool host_chars[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true, ['.'] = true,
    ['_'] = true,         ['~'] = true,         ['%'] = true,         ['!'] = true, ['$'] = true,
    ['&'] = true,         ['\''] = true,        ['('] = true,         [')'] = true, ['*'] = true,
    ['+'] = true,         [','] = true,         [';'] = true,         ['='] = true,
};

static bool is_host_char(char c)
{
    return host_chars[(unsigned char)c];
}

/* A host and an optional ":port". An empty text is a host too: see service/API.md. */
static bool is_authority(str_t text)
{
    size_t i = 0;
    if (text.n != 0 && text.p[0] == '[') {
        for (i = 1; i < text.n && (is_host_char(text.p[i]) || text.p[i] == ':'); ++i)
            ;
        if (i == 1 || i == text.n || text.p[i++] != ']')
            return false;
    } else {
        while (i < text.n && is_host_char(text.p[i]))
            ++i;
    }
    if (i == text.n)
        return true;
    if (i == 0 || text.p[i] != ':')
        return false;
    while (++i < text.n)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return true;
}

/* --- the first line --- */

static inline bool starts_with(str_t text, str_t lower_case)
{
    return text.n >= lower_case.n && strncasecmp(text.p, lower_case.p, lower_case.n) == 0;
}

static const char *read_target(str_t target, framing_t *out)
{
    size_t scheme = 0;
    if (target.p[0] == '/')
        return NULL;
    if (starts_with(target, STR("http://")))
        scheme = 7;
    else if (starts_with(target, STR("https://")))
        scheme = 8;
    else
        return NULL; /* no path of this service */
    str_t rest = {target.p + scheme, target.n - scheme};
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        ++n;
    out->authority = (str_t){rest.p, n};
    out->path = (str_t){rest.p + n, rest.n - n};
    return n != 0 && is_authority(out->authority) ? NULL : AUTHORITY;
}

static const char *read_request_line(str_t line, bool *is_1_0, framing_t *out)
{
    static const str_t version = STR(" HTTP/1.");
    const char *space = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
    size_t tail = version.n + 1;
    if (space == NULL || space == line.p || line.n < tail || space + 1 >= line.p + line.n - tail ||
        memcmp(line.p + line.n - tail, version.p, version.n) != 0)
        return REQUEST_LINE;
    *is_1_0 = line.p[line.n - 1] == '0';
    out->method = (str_t){line.p, (size_t)(space - line.p)};
    out->target = (str_t){space + 1, line.n - tail - out->method.n - 1};
    return read_target(out->target, out);
}

/* --- headers --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static str_t value_behind(str_t line, size_t colon)
{
    str_t value = {line.p + colon + 1, line.n - colon - 1};
    while (value.n != 0 && is_blank(value.p[0]))
        value = (str_t){value.p + 1, value.n - 1};
    while (value.n != 0 && is_blank(value.p[value.n - 1]))
        --value.n;
    return value;
}

/* Inline: for most headers the position of the colon already decides. */
static inline bool is_header(str_t line, str_t name, str_t *value)
{
    if (line.n <= name.n || line.p[name.n] != ':' || !starts_with(line, name))
        return false;
    *value = value_behind(line, name.n);
    return true;
}

static bool is_word(str_t value, str_t lower_case)
{
    return value.n == lower_case.n && starts_with(value, lower_case);
}

static bool read_digits(str_t text, size_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text.n; ++i) {
        size_t digit = (size_t)(text.p[i] - '0');
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *number = *number > (SIZE_MAX - digit) / 10 ? SIZE_MAX : 10 * *number + digit;
    }
    return text.n != 0;
}

static const char *read_header(str_t line, seen_t *seen, framing_t *out)
{
    str_t value;
    switch (line.p[0] | 0x20) { /* to lower case; a tab or a space matches no case */
    case 'h':
        if (is_header(line, STR("host"), &value) && (++seen->hosts > 1 || !is_authority(value)))
            return HOST;
        break;
    case 'c':
        if (is_header(line, STR("content-length"), &value) &&
            (++seen->lengths > 1 || !read_digits(value, &out->length)))
            return LENGTH;
        break;
    case 'e':
        if (is_header(line, STR("expect"), &value) && is_word(value, STR("100-continue")))
            out->expects_continue = true;
        break;
    case 't':
        if (is_header(line, STR("transfer-encoding"), &value) &&
            (++seen->encodings > 1 || !is_word(value, STR("chunked"))))
            return CHUNKS;
        break;
    }
    return is_blank(line.p[0]) ? FOLDED : NULL;
}

static const char *judge(const seen_t *seen, bool is_1_0)
{
    if (seen->encodings != 0 && seen->lengths != 0)
        return BOTH;
    if (seen->encodings != 0 && is_1_0)
        return OLD_CHUNKS;
    return seen->hosts == 0 && !is_1_0 ? HOST : NULL;
}

const char *framing_read(str_t bytes, framing_t *out)
{
    const char *at = bytes.p, *end = at + bytes.n, *lf = line_end(at, end), *fault;
    seen_t seen = {0};
    bool is_1_0;
    *out = (framing_t){.length = 0};
    if (lf == at + 1) { /* an empty line, which some clients send after a body (RFC 9112, 2.2) */
        at = lf + 1;
        lf = line_end(at, end);
    }
    if (lf == NULL)
        return LINE_END;
    fault = read_request_line(line_up_to(at, lf), &is_1_0, out);
    out->headers.p = at = lf + 1;
    while (fault == NULL && (lf = line_end(at, end)) != NULL) {
        if (lf == at + 1) {
            out->headers.n = (size_t)(at - out->headers.p);
            out->chunked = seen.encodings != 0;
            out->expects_continue &= !is_1_0;
            return judge(&seen, is_1_0);
        }
        fault = read_header(line_up_to(at, lf), &seen, out);
        at = lf + 1;
    }
    return fault == NULL ? LINE_END : fault;
}

bool framing_next_header(str_t *headers, str_t *name, str_t *value)
{
    const char *end = headers->p + headers->n, *lf = line_end(headers->p, end);
    if (lf == NULL)
        return false;
    str_t line = line_up_to(headers->p, lf);
    const char *colon = line.n == 0 ? NULL : memchr(line.p, ':', line.n);
    size_t n = colon == NULL ? line.n : (size_t)(colon - line.p);
    *name = (str_t){line.p, n};
    *value = colon == NULL ? STR_NONE : value_behind(line, n);
    *headers = (str_t){lf + 1, (size_t)(end - lf) - 1};
    return true;
}
