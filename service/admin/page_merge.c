#include "admin/page_merge.h"

#include <stdlib.h>

#include "base/alloc.h"

static int by_name(const sku_t *a, const sku_t *b)
{
    return str_compare(sku_str(a), sku_str(b));
}

/* The first name up to which a shard has looked and behind which it has not; length 0: none. */
static sku_t lowest_end(const page_part_t *parts, unsigned count)
{
    sku_t end = {0};
    for (unsigned i = 0; i < count; ++i)
        if (parts[i].up_to.length != 0 && (end.length == 0 || by_name(&parts[i].up_to, &end) < 0))
            end = parts[i].up_to;
    return end;
}

/* The part whose next item comes first, of those up to `end`; `count`: there is none. */
static unsigned first_of(const page_part_t *parts, unsigned count, const unsigned *at,
                         const sku_t *end)
{
    unsigned first = count;
    for (unsigned i = 0; i < count; ++i) {
        if (at[i] == parts[i].count)
            continue;
        const sku_t *sku = &parts[i].skus[at[i]];
        if (end->length != 0 && by_name(sku, end) > 0)
            continue;
        if (first == count || by_name(sku, &parts[first].skus[at[first]]) < 0)
            first = i;
    }
    return first;
}

unsigned page_merge(const page_part_t *parts, unsigned parts_count, unsigned most,
                    page_pick_t *picks, sku_t *next)
{
    sku_t end = lowest_end(parts, parts_count);
    unsigned *at = alloc_zero(parts_count + 1, sizeof(*at)), count = 0, part = 0;
    assert(most != 0);
    while ((part = first_of(parts, parts_count, at, &end)) != parts_count && count < most)
        picks[count++] = (page_pick_t){part, at[part]++};
    *next = end;
    if (part != parts_count) /* the page is full, and there are more */
        *next = parts[picks[count - 1].part].skus[picks[count - 1].index];
    free(at);
    return count;
}

void page_cursor_write(char *out, const sku_t *sku)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < sku->length; ++i) {
        unsigned char byte = (unsigned char)sku->bytes[i];
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
    *out = '\0';
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool page_cursor_read(str_t text, sku_t *out)
{
    if (text.n == 0 || text.n % 2 != 0 || text.n > 2 * SKU_BYTES_MAX)
        return false;
    *out = (sku_t){.length = (uint8_t)(text.n / 2)};
    for (size_t i = 0; i < text.n; i += 2) {
        int high = digit_of(text.p[i]), low = digit_of(text.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[i / 2] = (char)(high * 16 + low);
    }
    return true;
}
