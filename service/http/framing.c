#include "http/framing.h"

#include <strings.h>

#define LINE_END "Each line of a head ends with CR LF"
#define REQUEST_LINE "The first line is no request of HTTP/1"
#define FOLDED "A header stays on its line"
#define HOST "Host: give one, of a host and perhaps a port"
#define LENGTH "Content-Length: give it once, in digits"
#define CHUNKS "Transfer-Encoding: give \"chunked\" once, or nothing"
#define BOTH "Give either Content-Length or Transfer-Encoding"
#define OLD_CHUNKS "Transfer-Encoding: HTTP/1.0 has none"
#define AUTHORITY "An absolute target names a host, perhaps a port, and no user"

typedef struct {
    unsigned hosts, lengths, encodings;
    bool chunked;
} seen_t;

/* Takes the line off the front of `rest`, without its end. */
static const char *take_line(str_t *rest, str_t *line)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);
    if (end == NULL || end == rest->p || end[-1] != '\r')
        return LINE_END;
    *line = (str_t){rest->p, (size_t)(end - rest->p) - 1};
    *rest = (str_t){end + 1, rest->n - line->n - 2};
    return NULL;
}

/* --- hosts --- */

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What RFC 3986 has in a name or, with ':', in an IP literal; escapes are not looked into. */
static bool is_host_char(char c)
{
    return is_alphanumeric(c) || (c != '\0' && strchr("-._~%!$&'()*+,;=", c) != NULL);
}

/* A host and perhaps ":port". Nothing at all is a host too: see README. */
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

static bool starts_with(str_t text, str_t lower_case)
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
        return NULL; /* the name of nothing here */
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
    return read_target((str_t){space + 1, (size_t)(line.p + line.n - tail - space) - 1}, out);
}

/* --- headers --- */

static bool is_header(str_t line, str_t name, str_t *value)
{
    if (line.n <= name.n || line.p[name.n] != ':' || !starts_with(line, name))
        return false;
    *value = (str_t){line.p + name.n + 1, line.n - name.n - 1};
    while (value->n != 0 && (value->p[0] == ' ' || value->p[0] == '\t'))
        *value = (str_t){value->p + 1, value->n - 1};
    while (value->n != 0 && (value->p[value->n - 1] == ' ' || value->p[value->n - 1] == '\t'))
        --value->n;
    return true;
}

static bool is_digits(str_t text)
{
    for (size_t i = 0; i < text.n; ++i)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return text.n != 0;
}

static const char *read_header(str_t line, seen_t *seen)
{
    str_t value;
    switch (line.p[0] | 0x20) { /* in lower case; of a tab or a space something else */
    case 'h':
        if (is_header(line, STR("host"), &value) && (++seen->hosts > 1 || !is_authority(value)))
            return HOST;
        break;
    case 'c':
        if (is_header(line, STR("content-length"), &value) &&
            (++seen->lengths > 1 || !is_digits(value)))
            return LENGTH;
        break;
    case 't':
        if (is_header(line, STR("transfer-encoding"), &value) &&
            (++seen->encodings > 1 || value.n != 7 || !starts_with(value, STR("chunked"))))
            return CHUNKS;
        break;
    }
    return line.p[0] == ' ' || line.p[0] == '\t' ? FOLDED : NULL;
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
    str_t line = STR_NONE;
    seen_t seen = {0};
    bool is_1_0;
    *out = (framing_t){STR_NONE, STR_NONE, false};
    const char *fault = take_line(&bytes, &line);
    if (fault == NULL && line.n == 0) /* what some clients send after a body (RFC 9112, 2.2) */
        fault = take_line(&bytes, &line);
    if (fault == NULL)
        fault = read_request_line(line, &is_1_0, out);
    while (fault == NULL && (fault = take_line(&bytes, &line)) == NULL) {
        if (line.n == 0) {
            out->chunked = seen.encodings != 0;
            return judge(&seen, is_1_0);
        }
        fault = read_header(line, &seen);
    }
    return fault;
}
