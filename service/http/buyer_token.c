#include "http/buyer_token.h"

#include <math.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "http/body.h"

/* Times beyond this are no times: exact as a double, and as milliseconds. */
#define SECONDS_MAX 1e11

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

/* Finds the key that the header names. Without a key libjwt checks no signature, and reads only. */
static const char *find_key(const buyer_keys_t *keys, const char *text, const buyer_key_t **key)
{
    jwt_t *unchecked;
    const char *fault = NULL;
    *key = NULL;
    if (jwt_decode(&unchecked, text, NULL, 0) != 0)
        return "The token is no JWT";
    const char *kid = jwt_get_header(unchecked, "kid"), *alg = jwt_get_header(unchecked, "alg");
    char *critical = jwt_get_headers_json(unchecked, "crit");
    if (critical != NULL)
        fault = "The token has a header \"crit\", of which nothing is understood";
    else if (kid == NULL || (*key = buyer_keys_find(keys, kid)) == NULL)
        fault = "The token's kid names no key";
    else if (alg == NULL || strcmp(alg, (*key)->alg == JWT_ALG_HS256 ? "HS256" : "ES256") != 0)
        fault = "The token's alg is not that of its key";
    free(critical);
    jwt_free(unchecked);
    return fault;
}

/* Returns the payload of a token whose signature is right, or NULL. libjwt's own calls take a text
   for the number 0, so the payload is read with cJSON. The caller frees it. */
static cJSON *verified_payload(const char *text, const buyer_key_t *key)
{
    jwt_t *jwt;
    cJSON *payload = NULL;
    if (jwt_decode(&jwt, text, key->bytes, key->bytes_count) != 0)
        return NULL;
    if (jwt_get_alg(jwt) == key->alg) { /* find_key() has compared it; this is what was used */
        char *json = jwt_get_grants_json(jwt, NULL);
        payload = json == NULL ? NULL : cJSON_Parse(json);
        free(json);
    }
    jwt_free(jwt);
    return payload;
}

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

const char *buyer_token_read(const buyer_keys_t *keys, str_t token, uint64_t now_ms,
                             uint32_t skew_s, buyer_claims_t *out)
{
    char text[BUYER_TOKEN_BYTES_MAX + 1];
    const buyer_key_t *key;
    if (token.n > BUYER_TOKEN_BYTES_MAX)
        return "The token is longer than 4096 bytes";
    if (!is_compact(token))
        return "The token is no JWT";
    memcpy(text, token.p, token.n);
    text[token.n] = '\0';
    const char *fault = find_key(keys, text, &key);
    if (fault != NULL)
        return fault;
    cJSON *payload = verified_payload(text, key);
    if (payload == NULL)
        return "The token's signature is wrong";
    fault = check_times(payload, now_ms, skew_s);
    if (fault == NULL)
        fault = read_claims(payload, out);
    cJSON_Delete(payload);
    return fault;
}
