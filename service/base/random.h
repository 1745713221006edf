/*
 * Random numbers for jitter and ids. random_u64() uses a generator per thread that is seeded from
 * the system; random_bytes() uses OpenSSL's CSPRNG, buffered per thread.
 *
 * Any thread may call; nothing blocks.
 */
#ifndef HOLDFAST_BASE_RANDOM_H
#define HOLDFAST_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n);
uint64_t random_u64(void);
/* Full jitter: uniform in 1..min(cap, base << attempt), in the caller's unit. Source: "Exponential
   Backoff And Jitter", M. Brooker, AWS Architecture Blog, 2015. */
uint32_t random_backoff(uint32_t base, uint32_t cap, unsigned attempt);

#endif
