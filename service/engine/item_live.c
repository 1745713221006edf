#include "engine/item_live.h"

#include <string.h>

bool item_live_count(item_live_t *live, heard_t kind, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    bool first = second != live->second;
    if (first) {
        if (second == live->second + 1)
            memcpy(live->last, live->now, sizeof(live->last));
        else
            memset(live->last, 0, sizeof(live->last));
        memset(live->now, 0, sizeof(live->now));
        live->second = second;
    }
    ++live->now[kind];
    return first;
}

uint32_t item_live_rates(const item_live_t *live, uint64_t now_ms, uint32_t out[HEARD_KINDS])
{
    static const uint32_t none[HEARD_KINDS];
    uint64_t second = now_ms / 1000;
    const uint32_t *counts = second == live->second       ? live->last
                             : second == live->second + 1 ? live->now
                                                          : none;
    uint32_t sum = 0;
    for (unsigned i = 0; i < HEARD_KINDS; ++i)
        sum += out[i] = counts[i];
    return sum;
}

const char *heard_name(heard_t kind)
{
    static const char *const names[HEARD_KINDS] = {
        "held",   "confirmed",   "reserved", "sold_out", "buyer_limit_exceeded",
        "closed", "unavailable", "other"};
    return names[kind];
}
