#include "reconcile/outcome.h"

#include <stddef.h>

sync_result_t sync_of_store(result_t result)
{
    static const sync_result_t results[] = {[RESULT_DONE] = SYNC_READY,
                                            [RESULT_RETRY] = SYNC_BUSY,
                                            [RESULT_AWAY] = SYNC_STORE_AWAY,
                                            [RESULT_REFUSED] = SYNC_REFUSED,
                                            [RESULT_UNKNOWN] = SYNC_BUSY};
    return results[result];
}

const char *sync_result_text(sync_result_t result)
{
    static const char *const texts[] = {
        [SYNC_READY] = NULL,
        [SYNC_UNKNOWN_ITEM] = "There is no such item",
        [SYNC_GATE_AWAY] = "Redis is away, or refuses; the log and /readyz say why",
        [SYNC_STORE_AWAY] = "MySQL is away, or refuses; the log and /readyz say why",
        [SYNC_REFUSED] = "MySQL refuses these values; the log has its words",
        [SYNC_BUSY] = "The item keeps changing, or its row is locked; try again"};
    return texts[result];
}
