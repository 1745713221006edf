#include "http/buyer_token.h"

#include <math.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "base/base64url.h"
#include "http/body.h"

/* Times beyond this are no times: exact as a double, and as milliseconds. */
#define SECONDS_MAX 1e11

#define ES256_BYTES 64
#define DER_BYTES_MAX 80

/* Three parts of base64url with dots between them: libjwt is lenient. */
static bool is_compact(str_t token)
{
    unsigned dots = 0;
    for (size_t i = 0; i < token.n; ++i) {
        char c = token.p[i], lower = (char)(c | 0x20);
        dots += c == '.';
        if (c != '.' && c != '-' && c != '_' && !(c >= '0' && c <= '9') &&
            !(lower >= 'a' && lower <= 'z'))
            return false;
    }
    return dots == 2;
}

/* Finds the key that the header names. */
static const char *find_key(const buyer_keys_t *keys, jwt_t *unchecked, const buyer_key_t **key)
{
    const char *kid = jwt_get_header(unchecked, "kid"), *alg = jwt_get_header(unchecked, "alg");
    char *critical = jwt_get_headers_json(unchecked, "crit");
    bool has_critical = critical != NULL;
    free(critical);
    if (has_critical)
        return "The token has a header \"crit\", of which nothing is understood";
    if (kid == NULL || (*key = buyer_keys_find(keys, kid)) == NULL)
        return "The token's kid names no key";
    if (alg == NULL || strcmp(alg, (*key)->alg == JWT_ALG_HS256 ? "HS256" : "ES256") != 0)
        return "The token's alg is not that of its key";
    return NULL;
}

/* --- signatures --- */

/* Turns r and s (RFC 7518, 3.4) into the form of OpenSSL; returns its length in bytes, or -1. */
static int to_der(const unsigned char raw[ES256_BYTES], unsigned char der[DER_BYTES_MAX])
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, ES256_BYTES / 2, NULL);
    BIGNUM *s = BN_bin2bn(raw + ES256_BYTES / 2, ES256_BYTES / 2, NULL);
    int n = -1;
    if (signature != NULL && ECDSA_SIG_set0(signature, r, s) == 1) {
        n = i2d_ECDSA_SIG(signature, &der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(signature);
    return n;
}

/* libjwt would read the key from PEM for each token, which takes ten times as long as the check. */
static bool is_signed_es256(const char *text, EVP_PKEY *key)
{
    unsigned char raw[ES256_BYTES], der[DER_BYTES_MAX];
    const char *dot = strrchr(text, '.');
    if (base64url_decode(str_of(dot + 1), raw, sizeof(raw)) != ES256_BYTES)
        return false;
    int n = to_der(raw, der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = n > 0 && context != NULL &&
                EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(context, der, (size_t)n, (const unsigned char *)text,
                                 (size_t)(dot - text)) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error(); /* of a wrong signature; TLS reads the same queue */
    return good;
}

static bool is_signed_hs256(const char *text, const buyer_key_t *key)
{
    jwt_t *jwt;
    if (jwt_decode(&jwt, text, key->secret, key->secret_bytes) != 0)
        return false;
    bool good = jwt_get_alg(jwt) == JWT_ALG_HS256; /* find_key() has compared it; this was used */
    jwt_free(jwt);
    return good;
}

static bool is_signed(const char *text, const buyer_key_t *key)
{
    return key->alg == JWT_ALG_ES256 ? is_signed_es256(text, key->public_key)
                                     : is_signed_hs256(text, key);
}

/* --- claims --- */

static bool is_seconds(const cJSON *time)
{
    return cJSON_IsNumber(time) && isfinite(time->valuedouble) && time->valuedouble >= 0 &&
           time->valuedouble <= SECONDS_MAX;
}

static const char *check_times(const cJSON *payload, uint64_t now_ms, uint32_t skew_s)
{
    const cJSON *exp = cJSON_GetObjectItemCaseSensitive(payload, "exp"),
                *nbf = cJSON_GetObjectItemCaseSensitive(payload, "nbf");
    double now_s = (double)now_ms / 1000, skew = skew_s;
    if (!is_seconds(exp))
        return "The token has no exp, a number of seconds since 1970";
    if (exp->valuedouble + skew <= now_s)
        return "The token has expired";
    if (nbf != NULL && !is_seconds(nbf))
        return "The token's nbf is no number of seconds since 1970";
    return nbf != NULL && nbf->valuedouble - skew > now_s ? "The token is not valid yet" : NULL;
}

static str_t text_of(const cJSON *payload, const char *name)
{
    return str_of(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(payload, name)));
}

static const char *read_claims(const cJSON *payload, buyer_claims_t *out)
{
    str_t buyer = text_of(payload, "sub"), sku = text_of(payload, "sku");
    const cJSON *most = cJSON_GetObjectItemCaseSensitive(payload, "quantity_max");
    if (!is_buyer_id(buyer))
        return "The token's sub is no buyer_id";
    if (cJSON_GetObjectItemCaseSensitive(payload, "sku") != NULL && !is_sku(sku))
        return "The token's sku is none";
    if (most != NULL &&
        !(cJSON_IsNumber(most) && most->valuedouble >= 1 && most->valuedouble <= UINT32_MAX &&
          most->valuedouble == floor(most->valuedouble)))
        return "The token's quantity_max is no whole number from 1 on";
    buyer_set(&out->buyer, buyer);
    sku_set(&out->sku, sku);
    out->quantity_max = most == NULL ? 0 : (uint32_t)most->valuedouble;
    return NULL;
}

/* libjwt's own calls take a text for the number 0, so the payload is read with cJSON. */
static const char *check_payload(jwt_t *jwt, uint64_t now_ms, uint32_t skew_s, buyer_claims_t *out)
{
    char *json = jwt_get_grants_json(jwt, NULL);
    cJSON *payload = json == NULL ? NULL : cJSON_Parse(json);
    free(json);
    const char *fault = check_times(payload, now_ms, skew_s);
    if (fault == NULL)
        fault = read_claims(payload, out);
    cJSON_Delete(payload);
    return fault;
}

const char *buyer_token_read(const buyer_keys_t *keys, str_t token, uint64_t now_ms,
                             uint32_t skew_s, buyer_claims_t *out)
{
    char text[BUYER_TOKEN_BYTES_MAX + 1];
    const buyer_key_t *key = NULL;
    jwt_t *unchecked; /* decoded without a key, libjwt checks no signature and only reads */
    if (token.n > BUYER_TOKEN_BYTES_MAX)
        return "The token is longer than 4096 bytes";
    if (!is_compact(token))
        return "The token is no JWT";
    memcpy(text, token.p, token.n);
    text[token.n] = '\0';
    if (jwt_decode(&unchecked, text, NULL, 0) != 0)
        return "The token is no JWT";
    const char *fault = find_key(keys, unchecked, &key);
    if (fault == NULL && !is_signed(text, key))
        fault = "The token's signature is wrong";
    if (fault == NULL)
        fault = check_payload(unchecked, now_ms, skew_s, out);
    jwt_free(unchecked);
    return fault;
}
