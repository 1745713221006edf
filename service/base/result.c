#include "base/result.h"

const char *result_name(result_t result)
{
    static const char *const names[] = {"done", "retry", "away", "refused", "unknown"};
    return names[result];
}
