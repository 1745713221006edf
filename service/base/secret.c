#include "base/secret.h"

#include <openssl/crypto.h>

bool secret_eq(str_t given, str_t secret)
{
    return given.n == secret.n && CRYPTO_memcmp(given.p, secret.p, secret.n) == 0;
}
