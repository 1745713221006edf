#include "http/buyer_keys.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "base/alloc.h"

/* RFC 7518, 3.2: a key of HS256 has at least the bytes of the hash. */
#define SECRET_BYTES_MIN 32
#define SECRET_BYTES_MAX 512
#define COORDINATE_BYTES 32

/* --- base64url, without padding (RFC 7515, 2) --- */

/* Returns the number of bytes, or -1: the text is not that, or longer than `room`. */
static int decode(const char *text, unsigned char *out, size_t room)
{
    char standard[SECRET_BYTES_MAX * 2];
    unsigned char bytes[SECRET_BYTES_MAX * 2];
    size_t n = text == NULL ? 0 : strlen(text);
    size_t padded = (n + 3) / 4 * 4;
    if (n == 0 || n % 4 == 1 || padded > sizeof(standard))
        return -1;
    memset(standard, '=', padded);
    for (size_t i = 0; i < n; ++i) {
        char c = text[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!plain && c != '-' && c != '_')
            return -1;
        standard[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    int got = EVP_DecodeBlock(bytes, (const unsigned char *)standard, (int)padded);
    if (got < 0)
        return -1;
    size_t count = (size_t)got - (padded - n); /* EVP_DecodeBlock() counts the padding too */
    if (count > room)
        return -1;
    memcpy(out, bytes, count);
    return (int)count;
}

/* --- keys --- */

static const char *member(const cJSON *json, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
}

static bool is(const char *value, const char *expected)
{
    return value != NULL && strcmp(value, expected) == 0;
}

/* Returns the public key of a point of P-256, or NULL: it is not on the curve. */
static EVP_PKEY *public_key(const unsigned char point[1 + 2 * COORDINATE_BYTES])
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point,
                                          1 + 2 * COORDINATE_BYTES),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    bool made = context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
                EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(context);
    return made ? key : NULL;
}

static bool write_pem(EVP_PKEY *public, buyer_key_t *key)
{
    char *text = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    bool written = out != NULL && PEM_write_bio_PUBKEY(out, public) == 1;
    long n = written ? BIO_get_mem_data(out, &text) : 0;
    if (written) {
        key->bytes = (unsigned char *)alloc_copy(text, (size_t)n);
        key->bytes_count = (int)n;
    }
    BIO_free(out);
    return written;
}

/* Each of the next functions returns the mistake, or NULL. */

static const char *read_secret(const cJSON *json, buyer_key_t *key)
{
    unsigned char secret[SECRET_BYTES_MAX];
    int n = decode(member(json, "k"), secret, sizeof(secret));
    if (n < SECRET_BYTES_MIN)
        return "k is not base64url of 32 to 512 bytes";
    key->alg = JWT_ALG_HS256;
    key->bytes = (unsigned char *)alloc_copy((const char *)secret, (size_t)n);
    key->bytes_count = n;
    OPENSSL_cleanse(secret, sizeof(secret));
    return NULL;
}

static const char *read_point(const cJSON *json, buyer_key_t *key)
{
    unsigned char point[1 + 2 * COORDINATE_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    if (!is(member(json, "crv"), "P-256"))
        return "crv is not P-256";
    if (decode(member(json, "x"), point + 1, COORDINATE_BYTES) != COORDINATE_BYTES ||
        decode(member(json, "y"), point + 1 + COORDINATE_BYTES, COORDINATE_BYTES) !=
            COORDINATE_BYTES)
        return "x and y are not base64url of 32 bytes each";
    EVP_PKEY *public = public_key(point);
    bool made = public != NULL && write_pem(public, key);
    EVP_PKEY_free(public);
    key->alg = JWT_ALG_ES256;
    return made ? NULL : "x and y are no point of P-256";
}

static bool is_kid(const char *kid)
{
    size_t n = kid == NULL ? 0 : strlen(kid);
    if (n == 0 || n > BUYER_KID_MAX)
        return false;
    for (size_t i = 0; i < n; ++i)
        if (kid[i] < 0x21 || kid[i] > 0x7e)
            return false;
    return true;
}

static const char *read_key(const cJSON *json, buyer_key_t *key)
{
    const char *kid = member(json, "kid"), *kty = member(json, "kty");
    if (!is_kid(kid))
        return "kid is not 1 to 64 visible ASCII characters";
    snprintf(key->kid, sizeof(key->kid), "%s", kid);
    if (!is(kty, "oct") && !is(kty, "EC"))
        return "kty is neither oct nor EC";
    bool secret = is(kty, "oct");
    if (cJSON_GetObjectItemCaseSensitive(json, "alg") != NULL &&
        !is(member(json, "alg"), secret ? "HS256" : "ES256"))
        return "alg is not HS256 of kty oct, or ES256 of kty EC";
    return secret ? read_secret(json, key) : read_point(json, key);
}

static const char *add(buyer_keys_t *keys, const cJSON *json)
{
    buyer_key_t *key = &keys->all[keys->count];
    if (keys->count == BUYER_KEYS_MAX)
        return "there are more than 64 keys";
    const char *mistake = read_key(json, key);
    if (mistake == NULL && buyer_keys_find(keys, key->kid) != NULL)
        mistake = "kid is that of an earlier key";
    ++keys->count; /* buyer_keys_free() frees it, whole or not */
    return mistake;
}

static bool only_space(const char *from, const char *to)
{
    while (from != to && strchr(" \t\r\n", *from) != NULL && *from != '\0')
        ++from;
    return from == to;
}

buyer_keys_t *buyer_keys_parse(str_t text, char reason[BUYER_KEYS_REASON_SIZE])
{
    const char *end = NULL, *mistake = NULL;
    buyer_keys_t *keys = alloc_zero(1, sizeof(*keys));
    cJSON *json = cJSON_ParseWithLengthOpts(text.p, text.n, &end, 0), *one;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "keys");
    if (!cJSON_IsArray(list) || !only_space(end, text.p + text.n))
        mistake = "is not a JSON object with a list \"keys\" (RFC 7517)";
    else if (cJSON_GetArraySize(list) == 0)
        mistake = "has no key";
    if (mistake != NULL)
        snprintf(reason, BUYER_KEYS_REASON_SIZE, "%s", mistake);
    for (one = mistake == NULL ? list->child : NULL; one != NULL && mistake == NULL;
         one = one->next)
        if ((mistake = add(keys, one)) != NULL)
            snprintf(reason, BUYER_KEYS_REASON_SIZE, "keys[%u]: %s", keys->count - 1, mistake);
    cJSON_Delete(json);
    if (mistake == NULL)
        return keys;
    buyer_keys_free(keys);
    return NULL;
}

void buyer_keys_free(buyer_keys_t *keys)
{
    if (keys == NULL)
        return;
    for (unsigned i = 0; i < keys->count; ++i) {
        if (keys->all[i].bytes != NULL)
            OPENSSL_cleanse(keys->all[i].bytes, (size_t)keys->all[i].bytes_count);
        free(keys->all[i].bytes);
    }
    free(keys);
}

const buyer_key_t *buyer_keys_find(const buyer_keys_t *keys, const char *kid)
{
    for (unsigned i = 0; i < keys->count; ++i)
        if (strcmp(keys->all[i].kid, kid) == 0)
            return &keys->all[i];
    return NULL;
}
