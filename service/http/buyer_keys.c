#include "http/buyer_keys.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "base/alloc.h"
#include "base/base64url.h"

/* RFC 7518, 3.2: a key of HS256 has at least the bytes of the hash. */
#define SECRET_BYTES_MIN 32
#define SECRET_BYTES_MAX 512
#define COORDINATE_BYTES 32

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
static EVP_PKEY *make_public_key(const unsigned char point[1 + 2 * COORDINATE_BYTES])
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

/* Each of the next functions returns the mistake, or NULL. */

static const char *read_secret(const cJSON *json, buyer_key_t *key)
{
    unsigned char secret[SECRET_BYTES_MAX];
    int n = base64url_decode(str_of(member(json, "k")), secret, sizeof(secret));
    if (n < SECRET_BYTES_MIN)
        return "k is not base64url of 32 to 512 bytes";
    key->alg = JWT_ALG_HS256;
    key->secret = (unsigned char *)alloc_copy((const char *)secret, (size_t)n);
    key->secret_bytes = n;
    OPENSSL_cleanse(secret, sizeof(secret));
    return NULL;
}

static bool read_coordinate(const cJSON *json, const char *name, unsigned char *out)
{
    return base64url_decode(str_of(member(json, name)), out, COORDINATE_BYTES) == COORDINATE_BYTES;
}

static const char *read_point(const cJSON *json, buyer_key_t *key)
{
    unsigned char point[1 + 2 * COORDINATE_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    if (!is(member(json, "crv"), "P-256"))
        return "crv is not P-256";
    if (!read_coordinate(json, "x", point + 1) ||
        !read_coordinate(json, "y", point + 1 + COORDINATE_BYTES))
        return "x and y are not base64url of 32 bytes each";
    key->alg = JWT_ALG_ES256;
    key->public_key = make_public_key(point);
    return key->public_key == NULL ? "x and y are no point of P-256" : NULL;
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
        buyer_key_t *key = &keys->all[i];
        if (key->secret != NULL)
            OPENSSL_cleanse(key->secret, (size_t)key->secret_bytes);
        free(key->secret);
        EVP_PKEY_free(key->public_key);
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
