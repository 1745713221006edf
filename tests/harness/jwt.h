/* JSON Web Tokens and keys as a shop makes them, and as nobody should: by OpenSSL alone. What is
   returned lasts until test_forget(). */
#ifndef HOLDFAST_HARNESS_JWT_H
#define HOLDFAST_HARNESS_JWT_H

#include <openssl/evp.h>

#include "harness/test.h"

char *test_base64url(const void *bytes, size_t n);
/* `header` and `payload` are JSON, or any other text; signed by HMAC-SHA-256 with the secret. */
char *test_jwt(const char *header, const char *payload, const void *secret, size_t secret_n);
/* Signed by a key of P-256. */
char *test_jwt_es256(const char *header, const char *payload, EVP_PKEY *key);
/* A new key of P-256, and its public half as members of a JSON Web Key, without braces. */
EVP_PKEY *test_jwt_key(void);
char *test_jwt_public(EVP_PKEY *key);

#endif
