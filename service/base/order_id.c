#include "base/order_id.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/fatal.h"
#include "base/log.h"
#include "base/random.h"

/* Bytes of an id that the check covers: all bits but its own 16. */
#define CHECKED_BYTES 14

/*
 * SipHash-2-4, keyed with 16 bytes: a keyed hash for short messages. Without the key its tag cannot
 * be distinguished from random bits; it costs a seventh of HMAC here, once for each order. Source:
 * "SipHash: a fast short-input PRF", Aumasson and Bernstein, 2012.
 */
#define KEY_BYTES 16
#define TAG_BYTES 8

static EVP_MAC *siphash;
static unsigned char mac_key[KEY_BYTES];
static pthread_key_t mine_destructor;
static _Thread_local EVP_MAC_CTX *mine; /* threads cannot share a MAC context */

static void require(bool ok, const char *what)
{
    if (!ok)
        FATAL(what, 0); /* an id without a valid check would be refused by every node */
}

static void free_mac(void *mac)
{
    EVP_MAC_CTX_free(mac);
}

static void create_destructor(void)
{
    require(pthread_key_create(&mine_destructor, free_mac) == 0, "pthread_key_create");
}

/* Hashes a key of any length, as the configuration has it, to 16 bytes. */
void order_id_set_key(str_t key)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    pthread_once(&once, create_destructor);
    if (siphash == NULL)
        siphash = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    require(siphash != NULL, "EVP_MAC_fetch");
    require(EVP_Digest(key.p, key.n, digest, &n, EVP_sha256(), NULL) == 1 && n >= KEY_BYTES,
            "EVP_Digest");
    memcpy(mac_key, digest, KEY_BYTES);
}

/* This thread's context, ready for the next message. */
static EVP_MAC_CTX *start_mac(void)
{
    require(siphash != NULL, "order_id_set_key was not called");
    if (mine == NULL) {
        mine = EVP_MAC_CTX_new(siphash);
        require(mine != NULL, "EVP_MAC_CTX_new");
        require(pthread_setspecific(mine_destructor, mine) == 0, "pthread_setspecific");
    }
    size_t size = TAG_BYTES;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                 OSSL_PARAM_construct_end()};
    require(EVP_MAC_init(mine, mac_key, KEY_BYTES, params) == 1, "EVP_MAC_init");
    return mine;
}

/*
 * bytes 0..7: time, version, slot | 8: variant, check 15..10 | 9: check 9..2
 * | 10: check 1..0, random 45..40 | 11..15: random 39..0
 */
static uint16_t check_of(const order_id_t *id)
{
    const uint8_t *b = id->bytes;
    uint8_t message[CHECKED_BYTES];
    memcpy(message, b, 8);
    message[8] = (uint8_t)((b[8] & 0xc0) | (b[10] & 0x3f));
    memcpy(message + 9, b + 11, 5);

    unsigned char tag[TAG_BYTES];
    size_t n = 0;
    EVP_MAC_CTX *mac = start_mac();
    require(EVP_MAC_update(mac, message, sizeof(message)) == 1, "EVP_MAC_update");
    require(EVP_MAC_final(mac, tag, &n, sizeof(tag)) == 1, "EVP_MAC_final");
    assert(n == sizeof(tag));
    return (uint16_t)(tag[0] << 8 | tag[1]);
}

static uint16_t check_read(const order_id_t *id)
{
    const uint8_t *b = id->bytes;
    return (uint16_t)((b[8] & 0x3f) << 10 | b[9] << 2 | b[10] >> 6);
}

static void check_write(order_id_t *id, uint16_t check)
{
    uint8_t *b = id->bytes;
    b[8] = (uint8_t)((b[8] & 0xc0) | check >> 10);
    b[9] = (uint8_t)(check >> 2);
    b[10] = (uint8_t)((check & 3) << 6 | (b[10] & 0x3f));
}

static void write_time(order_id_t *id, uint64_t ms)
{
    for (int i = 0; i < 6; ++i)
        id->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
}

order_id_t order_id_issue(uint16_t slot, uint64_t now_ms)
{
    assert(slot < 0x1000);
    order_id_t id;
    write_time(&id, now_ms);
    id.bytes[6] = (uint8_t)(0x70 | slot >> 8);
    id.bytes[7] = (uint8_t)slot;
    random_bytes(id.bytes + 8, 8);
    id.bytes[8] = 0x80;
    check_write(&id, check_of(&id));
    return id;
}

bool order_id_issued_here(const order_id_t *id)
{
    return check_read(id) == check_of(id);
}

uint16_t order_id_slot(const order_id_t *id)
{
    return (uint16_t)((id->bytes[6] & 0x0f) << 8 | id->bytes[7]);
}

uint64_t order_id_time_ms(const order_id_t *id)
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; ++i)
        ms = ms << 8 | id->bytes[i];
    return ms;
}

order_id_t order_id_first_of(uint64_t ms)
{
    order_id_t first = ORDER_ID_NONE;
    write_time(&first, ms);
    return first;
}

bool order_id_is_none(const order_id_t *id)
{
    return order_id_eq(id, &ORDER_ID_NONE);
}

bool order_id_eq(const order_id_t *a, const order_id_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Hyphens stand before the bytes 4, 6, 8 and 10. */
static bool hyphen_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void order_id_format(char out[ORDER_ID_TEXT + 1], const order_id_t *id)
{
    static const char hex[] = "0123456789abcdef";
    char *at = out;
    for (int i = 0; i < 16; ++i) {
        if (hyphen_before(i))
            *at++ = '-';
        *at++ = hex[id->bytes[i] >> 4];
        *at++ = hex[id->bytes[i] & 15];
    }
    *at = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool order_id_parse(str_t text, order_id_t *out)
{
    if (text.n != ORDER_ID_TEXT)
        return false;
    order_id_t id;
    const char *at = text.p;
    for (int i = 0; i < 16; ++i) {
        if (hyphen_before(i) && *at++ != '-')
            return false;
        int high = hex_value(at[0]), low = hex_value(at[1]);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    bool version_7 = id.bytes[6] >> 4 == 7 && id.bytes[8] >> 6 == 2;
    if (version_7)
        *out = id;
    return version_7;
}
