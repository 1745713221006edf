/*
 * What becomes of a call about an item that asks both servers: the kinds of base/result.h, with the
 * server that a failure is of. Pure.
 *
 * The connection that met the failure has logged and counted it.
 */
#ifndef HOLDFAST_RECONCILE_OUTCOME_H
#define HOLDFAST_RECONCILE_OUTCOME_H

#include "base/result.h"

typedef enum {
    SYNC_READY,        /* done */
    SYNC_UNKNOWN_ITEM, /* there is no such row */
    SYNC_GATE_AWAY,    /* Redis does not answer, or refuses */
    SYNC_STORE_AWAY,   /* MySQL does not answer, or takes no such statements now */
    SYNC_REFUSED,      /* MySQL refuses the values of the row, and would do so again */
    SYNC_BUSY          /* retry: another has the row, or it keeps changing */
} sync_result_t;

/* Of a statement about the item's row. A COMMIT of which nobody knows is SYNC_BUSY: the next look
   shows what became of it. */
sync_result_t sync_of_store(result_t result);
/* What is wrong, for people; NULL for SYNC_READY. */
const char *sync_result_text(sync_result_t result);

#endif
