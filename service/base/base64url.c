#include "base/base64url.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* Writes the same in the alphabet that OpenSSL knows, with padding. */
static bool to_base64(str_t text, char *out)
{
    for (size_t i = 0; i < text.n; ++i) {
        char c = text.p[i], lower = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'z') && c != '-' && c != '_')
            return false;
        out[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    memset(out + text.n, '=', (4 - text.n % 4) % 4);
    return true;
}

int base64url_decode(str_t text, unsigned char *out, size_t room)
{
    char padded[BASE64URL_BYTES_MAX / 3 * 4];
    unsigned char bytes[BASE64URL_BYTES_MAX];
    size_t n = (text.n + 3) / 4 * 4;
    if (text.n == 0 || text.n % 4 == 1 || n > sizeof(padded) || !to_base64(text, padded))
        return -1;
    int count = EVP_DecodeBlock(bytes, (const unsigned char *)padded, (int)n);
    if (count >= 0)
        count -= (int)(n - text.n); /* it counts the padding too */
    bool fits = count >= 0 && (size_t)count <= room;
    if (fits)
        memcpy(out, bytes, (size_t)count);
    OPENSSL_cleanse(padded, sizeof(padded)); /* it may have been a key */
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return fits ? count : -1;
}
