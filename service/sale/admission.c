#include "sale/admission.h"

#include <assert.h>

admission_t admission_decide(const admission_case_t *a)
{
    assert(a->quantity != 0);
    if (a->is_known)
        return ADMISSION_KNOWN;
    if (a->has_first)
        return ADMISSION_REPEAT;
    if (a->now_ms > a->deadline_ms)
        return ADMISSION_LATE;
    if (a->starts_at_ms != 0 && a->now_ms < a->starts_at_ms)
        return ADMISSION_NOT_STARTED;
    if (a->ends_at_ms != 0 && a->now_ms >= a->ends_at_ms)
        return ADMISSION_ENDED;
    if ((int64_t)a->quantity > a->left)
        return ADMISSION_SOLD_OUT;
    if (a->limit != 0 && a->is_unloaded)
        return ADMISSION_NOT_LOADED;
    if (a->limit != 0 && a->owned + a->quantity > a->limit)
        return ADMISSION_BUYER_LIMIT;
    return a->key_is_unchecked ? ADMISSION_CHECK_KEY : ADMISSION_GRANTED;
}

problem_t admission_problem(admission_t admission)
{
    switch (admission) {
    case ADMISSION_LATE:
        return PROBLEM_UNAVAILABLE;
    case ADMISSION_NOT_STARTED:
        return PROBLEM_SALE_NOT_STARTED;
    case ADMISSION_ENDED:
        return PROBLEM_SALE_ENDED;
    case ADMISSION_SOLD_OUT:
        return PROBLEM_SOLD_OUT;
    case ADMISSION_BUYER_LIMIT:
        return PROBLEM_BUYER_LIMIT_EXCEEDED;
    default:
        return PROBLEM_NONE;
    }
}
