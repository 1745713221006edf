#include "engine/node_record.h"

#include <string.h>

/* Between the fields, of which the epochs are one; a space is between epochs. */
#define SEPARATOR '\x1f'

str_t node_record_write(char *out, const node_record_t *record)
{
    char *at = out;
    str_put_u64(&at, record->at_ms);
    *at++ = SEPARATOR;
    str_put(&at, str_of(record->version));
    *at++ = SEPARATOR;
    str_put(&at, str_of(record->name));
    *at++ = SEPARATOR;
    for (unsigned i = 0; i < record->epochs_count; ++i) {
        if (i != 0)
            *at++ = ' ';
        str_put_u64(&at, record->epochs[i]);
    }
    return (str_t){out, (size_t)(at - out)};
}

/* Takes what stands before the first `separator` off the front of `rest`. */
static str_t take(str_t *rest, char separator)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, separator, rest->n);
    str_t taken = {rest->p, end == NULL ? rest->n : (size_t)(end - rest->p)};
    size_t skip = end == NULL ? rest->n : taken.n + 1;
    *rest = (str_t){rest->p + skip, rest->n - skip};
    return taken;
}

static bool read_number(str_t text, uint64_t *out)
{
    uint64_t number = 0;
    if (text.n == 0 || text.n > 19) /* no overflow */
        return false;
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = number;
    return true;
}

/* Of plain characters, which need no escapes in JSON. */
static bool read_word(str_t text, size_t max, char *out)
{
    if (text.n > max)
        return false;
    for (size_t i = 0; i < text.n; ++i)
        if (text.p[i] <= ' ' || text.p[i] > '~' || text.p[i] == '"' || text.p[i] == '\\')
            return false;
    if (text.n != 0)
        memcpy(out, text.p, text.n);
    out[text.n] = '\0';
    return true;
}

bool node_record_read(str_t text, node_record_t *out)
{
    *out = (node_record_t){0};
    str_t rest = text;
    if (!read_number(take(&rest, SEPARATOR), &out->at_ms) ||
        !read_word(take(&rest, SEPARATOR), NODE_VERSION_MAX, out->version) ||
        !read_word(take(&rest, SEPARATOR), NODE_NAME_MAX, out->name))
        return false;
    str_t epochs = take(&rest, SEPARATOR);
    while (epochs.n != 0 && out->epochs_count < NODE_EPOCHS_MAX)
        if (!read_number(take(&epochs, ' '), &out->epochs[out->epochs_count++]))
            return false;
    return true;
}
