#include "base/log_limiter.h"

#define HELD_BACK_MAX ((1u << 24) - 1)

static void open_again_later(log_limiter_t *state, uint64_t now_ms)
{
    state->next_ms = now_ms + LOG_LIMITER_MS;
    state->held_back = 0;
}

log_verdict_t log_limiter_line(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back)
{
    if (now_ms >= state->next_ms) {
        *held_back = state->held_back;
        open_again_later(state, now_ms);
        return LOG_LINE_WRITE;
    }
    if (state->held_back < HELD_BACK_MAX)
        ++state->held_back;
    return state->held_back == 1 ? LOG_LINE_KEEP : LOG_LINE_COUNT;
}

bool log_limiter_flush(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back)
{
    if (state->held_back == 0 || now_ms < state->next_ms)
        return false;
    *held_back = state->held_back - 1;
    open_again_later(state, now_ms);
    return true;
}
