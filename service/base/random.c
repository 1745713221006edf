#include "base/random.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fatal.h"
#include "base/log.h"

/* One RAND_bytes() call costs about as much for 4 KiB as for 16 bytes. */
#define BUFFER_BYTES 4096

static _Thread_local struct {
    size_t left; /* the last `left` bytes of the buffer are unused */
    unsigned char bytes[BUFFER_BYTES];
    bool seeded;
    uint64_t state;
} mine;

static pthread_once_t fork_guard = PTHREAD_ONCE_INIT;

/* A forked child has a copy of the buffer: without this, parent and child would return the same
   bytes. */
static void forget_after_fork(void)
{
    mine.left = 0;
    mine.seeded = false;
}

static void install_fork_guard(void)
{
    pthread_atfork(NULL, NULL, forget_after_fork);
}

static void fill(void *out, size_t n)
{
    pthread_once(&fork_guard, install_fork_guard);
    if (RAND_bytes(out, (int)n) == 1)
        return;
    FATAL("random bytes", 0); /* no service is better than ids that can be guessed */
}

void random_bytes(void *out, size_t n)
{
    unsigned char *to = out;
    while (n != 0) {
        if (mine.left == 0) {
            fill(mine.bytes, sizeof(mine.bytes));
            mine.left = sizeof(mine.bytes);
        }
        size_t part = n < mine.left ? n : mine.left;
        unsigned char *from = mine.bytes + sizeof(mine.bytes) - mine.left;
        memcpy(to, from, part);
        memset(from, 0, part);
        to += part;
        n -= part;
        mine.left -= part;
    }
}

/* SplitMix64. Source: "Fast splittable pseudorandom number generators", Steele et al., 2014. */
uint64_t random_u64(void)
{
    if (!mine.seeded) {
        random_bytes(&mine.state, sizeof(mine.state));
        mine.seeded = true;
    }
    uint64_t z = mine.state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t random_backoff(uint32_t base, uint32_t cap, unsigned attempt)
{
    uint64_t ceiling = attempt < 32 ? (uint64_t)base << attempt : UINT64_MAX;
    if (ceiling > cap)
        ceiling = cap;
    /* The high word of a 32x32 product: uniform enough, and no division. */
    return 1 + (uint32_t)((ceiling * (random_u64() >> 32)) >> 32);
}
