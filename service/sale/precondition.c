#include "sale/precondition.h"

static bool is_named(const named_versions_t *named, uint64_t version)
{
    if (version == 0)
        return false;
    for (unsigned i = 0; i < named->count; ++i)
        if (named->versions[i] == version)
            return true;
    return named->any;
}

bool precondition_holds(const precondition_t *precondition, uint64_t version)
{
    const named_versions_t *match = &precondition->match, *none = &precondition->none_match;
    return (!match->present || is_named(match, version)) &&
           (!none->present || !is_named(none, version));
}
