#include "jwt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>

char *test_base64url(const void *bytes, size_t n)
{
    char *text = test_bytes(n / 3 * 4 + 5);
    int length = EVP_EncodeBlock((unsigned char *)text, bytes, (int)n);
    while (length != 0 && text[length - 1] == '=')
        text[--length] = '\0';
    for (int i = 0; i < length; ++i)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    return text;
}

static char *signed_part(const char *header, const char *payload)
{
    return test_text("%s.%s", test_base64url(header, strlen(header)),
                     test_base64url(payload, strlen(payload)));
}

char *test_jwt(const char *header, const char *payload, const void *secret, size_t secret_n)
{
    unsigned char mac[32];
    unsigned n = sizeof(mac);
    char *text = signed_part(header, payload);
    EXPECT(HMAC(EVP_sha256(), secret, (int)secret_n, (unsigned char *)text, strlen(text), mac,
                &n) != NULL,
           "no HMAC");
    return test_text("%s.%s", text, test_base64url(mac, n));
}

char *test_jwt_es256(const char *header, const char *payload, EVP_PKEY *key)
{
    unsigned char der[128], raw[64];
    const unsigned char *at = der;
    size_t n = sizeof(der);
    char *text = signed_part(header, payload);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EXPECT(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestSign(context, der, &n, (unsigned char *)text, strlen(text)) == 1,
           "no signature");
    EVP_MD_CTX_free(context);
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)n); /* RFC 7518, 3.4: r, then s */
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32);
    ECDSA_SIG_free(signature);
    return test_text("%s.%s", text, test_base64url(raw, sizeof(raw)));
}

static void free_key(void *key)
{
    EVP_PKEY_free(key);
}

EVP_PKEY *test_jwt_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    EXPECT(key != NULL, "no key");
    test_keep(key, free_key);
    return key;
}

static char *coordinate(EVP_PKEY *key, const char *name)
{
    unsigned char bytes[32];
    BIGNUM *number = NULL;
    EXPECT(EVP_PKEY_get_bn_param(key, name, &number) == 1 &&
               BN_bn2binpad(number, bytes, sizeof(bytes)) == sizeof(bytes),
           "no %s", name);
    BN_free(number);
    return test_base64url(bytes, sizeof(bytes));
}

char *test_jwt_public(EVP_PKEY *key)
{
    return test_text("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"",
                     coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X),
                     coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y));
}
