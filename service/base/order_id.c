#include "base/order_id.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"

/* Bytes of an id that the check covers: all bits but its own 16. */
#define CHECKED_BYTES 14

/*
 * The key is hashed into `keyed` once; each thread works on a duplicate, because a MAC context
 * is not shared and the key schedule would cost more than the two blocks that are hashed.
 */
static EVP_MAC_CTX *keyed;
static unsigned keyed_generation;
static pthread_key_t mine_destructor;
static _Thread_local struct {
    EVP_MAC_CTX *mac;
    unsigned generation;
} mine;

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    LOG_ERROR("order ids cannot be keyed", LOG_STR("failed", what));
    abort(); /* an id without its check would be refused everywhere */
}

static void free_mac(void *mac)
{
    EVP_MAC_CTX_free(mac);
}

static void create_destructor(void)
{
    require(pthread_key_create(&mine_destructor, free_mac) == 0, "pthread_key_create");
}

void order_id_set_key(str_t key)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, create_destructor);
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    require(hmac != NULL, "EVP_MAC_fetch");
    EVP_MAC_CTX_free(keyed);
    keyed = EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    require(keyed != NULL, "EVP_MAC_CTX_new");
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0),
                           OSSL_PARAM_construct_end()};
    require(EVP_MAC_init(keyed, (const unsigned char *)key.p, key.n, params) == 1, "EVP_MAC_init");
    keyed_generation++;
}

/* This thread's context, ready for the next message. */
static EVP_MAC_CTX *start_mac(void)
{
    require(keyed != NULL, "order_id_set_key was not called");
    if (mine.mac != NULL && mine.generation == keyed_generation) {
        require(EVP_MAC_init(mine.mac, NULL, 0, NULL) == 1, "EVP_MAC_init");
        return mine.mac;
    }
    EVP_MAC_CTX_free(mine.mac);
    mine.mac = EVP_MAC_CTX_dup(keyed);
    mine.generation = keyed_generation;
    require(mine.mac != NULL, "EVP_MAC_CTX_dup");
    require(pthread_setspecific(mine_destructor, mine.mac) == 0, "pthread_setspecific");
    return mine.mac;
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

    unsigned char digest[32];
    size_t n = 0;
    EVP_MAC_CTX *mac = start_mac();
    require(EVP_MAC_update(mac, message, sizeof(message)) == 1, "EVP_MAC_update");
    require(EVP_MAC_final(mac, digest, &n, sizeof(digest)) == 1, "EVP_MAC_final");
    assert(n == sizeof(digest));
    return (uint16_t)(digest[0] << 8 | digest[1]);
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

order_id_t order_id_issue(uint16_t slot, uint64_t now_ms)
{
    assert(slot < 0x1000);
    order_id_t id;
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(now_ms >> (40 - 8 * i));
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
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id->bytes[i];
    return ms;
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
    for (int i = 0; i < 16; i++) {
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
    for (int i = 0; i < 16; i++) {
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
