/*
 * What every fuzz target shares: an expectation that ends the process with words, and input taken
 * apart. A target checks more than "does not crash": what comes out must keep the promises of the
 * header of what it calls.
 *
 * One thread. Sizes in bytes.
 */
#ifndef HOLDFAST_FUZZ_H
#define HOLDFAST_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <unistr.h>

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise is a finding as much as a crash is: libFuzzer keeps the input of an abort. */
#define EXPECT(condition_)                                                                         \
    do {                                                                                           \
        if (!(condition_)) {                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition_);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input, or what is left of it. */
typedef struct {
    const uint8_t *at;
    size_t left;
} fuzz_input_t;

static inline uint8_t fuzz_take_byte(fuzz_input_t *input)
{
    if (input->left == 0)
        return 0;
    --input->left;
    return *input->at++;
}

static inline str_t fuzz_take_rest(fuzz_input_t *input)
{
    return (str_t){(const char *)input->at, input->left};
}

static inline bool fuzz_is_utf8(str_t text)
{
    return text.n == 0 || u8_check((const uint8_t *)text.p, text.n) == NULL;
}

static inline bool fuzz_has_control(str_t text)
{
    for (size_t i = 0; i < text.n; ++i)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ||
            ((unsigned char)text.p[i] == 0xc2 && i + 1 < text.n &&
             (unsigned char)text.p[i + 1] < 0xa0))
            return true;
    return false;
}

#endif
