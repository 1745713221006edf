/* Percent-decoding, queries, and the three kinds of names. */
#include "fuzz/fuzz.h"
#include "http/body.h"
#include "http/route.h"

static void check_decoded(str_t in)
{
    char *out = malloc(in.n + 1), *encoded = malloc(3 * in.n + 1), *again = malloc(3 * in.n + 1);
    size_t n = SIZE_MAX, encoded_n = 0, again_n;
    EXPECT(out != NULL && encoded != NULL && again != NULL);
    if (percent_decode(in, out, &n)) {
        EXPECT(n <= in.n);
        /* Every byte written as an escape decodes to the same. */
        for (size_t i = 0; i < n; ++i)
            encoded_n += (size_t)sprintf(encoded + encoded_n, i % 2 == 0 ? "%%%02x" : "%%%02X",
                                         (unsigned char)out[i]);
        EXPECT(percent_decode((str_t){encoded, encoded_n}, again, &again_n));
        EXPECT(again_n == n && memcmp(out, again, n) == 0);
    } else {
        EXPECT(in.n != 0 && memchr(in.p, '%', in.n) != NULL);
    }
    free(out);
    free(encoded);
    free(again);
}

static void check_names(str_t text)
{
    if (is_sku(text))
        EXPECT(text.n >= 1 && text.n <= 64 && is_buyer_id(text) && is_idempotency_key(text));
    if (is_idempotency_key(text))
        EXPECT(text.n >= 1 && text.n <= 255 && !fuzz_has_control(text));
    if (is_buyer_id(text))
        EXPECT(text.n >= 1 && text.n <= 128 && fuzz_is_utf8(text) && !fuzz_has_control(text));
}

/* As it is and as a quoted string, a key is the same. */
static void check_key(str_t text)
{
    char bytes[KEY_BYTES_MAX], other[KEY_BYTES_MAX], quoted[2 * KEY_BYTES_MAX + 2], *at = quoted;
    str_t key, again;
    if (!idempotency_key_read(text, bytes, &key))
        return;
    EXPECT(is_idempotency_key(key));
    str_put(&at, STR("\""));
    for (size_t i = 0; i < key.n; ++i) {
        if (key.p[i] == '"' || key.p[i] == '\\')
            *at++ = '\\';
        *at++ = key.p[i];
    }
    str_put(&at, STR("\""));
    EXPECT(idempotency_key_read((str_t){quoted, (size_t)(at - quoted)}, other, &again));
    EXPECT(str_eq(key, again));
}

/* A value is a piece of the query, and what stands before it is its name. */
static void check_query(str_t query, const char *name)
{
    size_t n = strlen(name);
    str_t value;
    query_value(query, name, &value);
    if (value.n == 0)
        return;
    EXPECT(value.p >= query.p + n + 1 && value.p + value.n <= query.p + query.n);
    EXPECT(memcmp(value.p - n - 1, name, n) == 0 && value.p[-1] == '=');
    EXPECT(value.n == 0 || memchr(value.p, '&', value.n) == NULL);
    EXPECT(value.p - n - 1 == query.p || value.p[-(ptrdiff_t)n - 2] == '&');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str_t text = {(const char *)data, size};
    check_decoded(text);
    check_names(text);
    check_key(text);
    is_media_type(text, "application/json");
    check_query(text, "limit");
    check_query(text, "cursor");
    return 0;
}
